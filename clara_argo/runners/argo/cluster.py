"""Finding, following and changing the Workflows of jobs: what every verb of the runner begins with."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from clara_argo.errors import NotFound, Refused
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.errors import Conflict, NoSuchKind, NotHere
from clara_argo.kubernetes.kinds import PODS, WORKFLOWS
from clara_argo.kubernetes.watch import AWAY, DELETED, SYNCED, TICK
from clara_argo.runners.argo import names
from clara_argo.runners.argo.workflow import Workflow, read

LOG = logging.getLogger(__name__)
Object = dict[str, Any]


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """That Argo is not there is no missing job or template: whoever waits for it should go on waiting."""
    try:
        yield
    except NoSuchKind as error:
        raise Refused(f"{error}; Argo Workflows is not installed there: see 'clara cluster doctor'") from None


class Pod(NamedTuple):
    name: str
    uid: str


class Cluster:
    """`where` names it in messages."""

    def __init__(self, api: Api, target: str) -> None:
        self.api = api
        self.where = f"namespace {api.namespace!r} of target {target!r}"

    def made(self, job: str) -> Object:
        """The Workflow of a job as it is. One submitted by hand has a name of its own. Raises NotFound, Refused."""
        name = names.workflow(job)
        with installed():
            try:
                found = self.api.get(WORKFLOWS, name)
            except NoSuchKind:
                raise
            except NotHere:
                others = self.api.list(WORKFLOWS, labels=f"{names.JOB}={job}").items
                found = max(others, key=lambda made: str(made["metadata"].get("creationTimestamp")), default={})
        if not found:
            raise NotFound(f"no job {job} in {self.where}; see 'clara jobs'")
        if found["metadata"].get("deletionTimestamp"):
            raise NotFound(f"job {job} was deleted: its Workflow is on its way out of {self.where}")
        return found

    def find(self, job: str) -> Workflow:
        return read(self.made(job))

    def all(self) -> tuple[Object, ...]:
        """Every Workflow that carries a job, also those that are being deleted."""
        with installed():
            return self.api.list(WORKFLOWS, labels=f"{names.MANAGED},{names.JOB}").items

    def unfinished(self) -> tuple[Object, ...]:
        """The few of them that Argo has not ended yet: a busy cluster keeps hundreds that it has."""
        with installed():
            return self.api.list(WORKFLOWS, labels=f"{names.MANAGED},{names.JOB},{names.COMPLETED}!=true").items

    def follow(self, workflow: Workflow, tick: float) -> Iterator[Workflow]:
        """The Workflow now and after each change, and again when nothing happened for `tick` seconds; without end.

        Raises NotFound when it is deleted meanwhile.
        """
        last: Workflow | None = None
        with self.api.watch(WORKFLOWS, fields=f"metadata.name={workflow.name}", tick=tick) as events:
            for event in events:
                if event.type == AWAY:
                    LOG.warning(
                        "%s; job %s goes on, and is looked at when it is back", event.object["message"], workflow.job
                    )
                if event.type not in (SYNCED, TICK, DELETED) and event.object.get("metadata"):
                    last = read(event.object)
                gone = event.type == DELETED or (event.type == SYNCED and last is None)
                if gone or (last is not None and last.deleted):
                    raise NotFound(
                        f"job {workflow.job}: its Workflow {workflow.name} was deleted from {self.where}; "
                        "submit it again if its result is still wanted"
                    )
                if last is not None and event.type != SYNCED:
                    yield last

    def change(self, workflow: Workflow, change: Mapping[str, Any]) -> Workflow | None:
        """None when it has changed or gone meanwhile: look again."""
        try:
            return read(self.api.patch(WORKFLOWS, workflow.name, change))
        except (Conflict, NotHere):
            return None

    def pods(self, workflow: Workflow) -> dict[str, Pod]:
        """Node -> pod, of those that are still there."""
        found = {node: made["metadata"] for node, made in self.made_pods(workflow).items()}
        return {node: Pod(str(meta["name"]), str(meta["uid"])) for node, meta in found.items()}

    def made_pods(self, workflow: Workflow) -> dict[str, Object]:
        """The same, as they are."""
        found = self.api.list(PODS, labels=f"{names.OF_WORKFLOW}={workflow.name}").items
        pods = {(made["metadata"].get("annotations") or {}).get(names.NODE_ID): made for made in found}
        return {str(node): made for node, made in pods.items() if node}
