"""What lies in the store and belongs to no job any more: what Argo, which knows only Workflows, cannot clean up.

A payload outlives a failed job whose Workflow its time to live removed, a result one that nobody collected, and both
one whose Workflow was deleted by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from clara_argo.artifacts import Stored
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.kinds import WORKFLOWS
from clara_argo.runners.argo.workflow import head

OURS = ("jobs", "payloads")  # first parts of our keys


class Bucket(Protocol):
    def stored(self, prefix: str = "") -> Iterable[Stored]: ...

    def delete_below(self, prefix: str) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Orphan:
    """Everything below `jobs/<job>` or `payloads/<payload>`."""

    prefix: str
    size: int  # bytes
    modified: datetime  # when its newest object was written


def find(api: Api, bucket: Bucket, older_than: timedelta) -> tuple[Orphan, ...]:
    """Those that no Workflow of the namespace names and nobody has written to for so long; sorted by prefix.

    The bucket is looked at first: a job that begins meanwhile is seen. Workflows that share the bucket from another
    namespace or cluster are not.
    """
    limit = datetime.now(UTC) - older_than
    groups = [group for group in _groups(bucket) if group.modified < limit]
    if not groups:
        return ()
    workflows = [head(made) for made in api.list(WORKFLOWS).items]
    used = {f"jobs/{one.job}" for one in workflows} | {f"payloads/{one.payload}" for one in workflows}
    return tuple(group for group in groups if group.prefix not in used)


def remove(bucket: Bucket, orphans: Iterable[Orphan]) -> Iterator[Orphan]:
    """Each once it is gone."""
    for orphan in orphans:
        bucket.delete_below(orphan.prefix)
        yield orphan


def _groups(bucket: Bucket) -> list[Orphan]:
    found: dict[str, Orphan] = {}
    for top in OURS:
        for stored in bucket.stored(f"{top}/"):
            prefix = "/".join(stored.name.split("/")[:2])
            if prefix == stored.name:
                continue  # a file of somebody else's
            group = found.get(prefix, Orphan(prefix=prefix, size=0, modified=stored.modified))
            newest = max(group.modified, stored.modified)
            found[prefix] = Orphan(prefix=prefix, size=group.size + stored.size, modified=newest)
    return [found[prefix] for prefix in sorted(found)]
