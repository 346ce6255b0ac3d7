"""`clara cluster doctor`: what a cluster needs for our jobs, looked at in the order in which it is needed.

Each look ends in findings, never in an error: what we may not see is said to be unknown. Nothing is changed for good:
one Workflow without a pod and one folder in the store come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from clara_argo.errors import ClaraError, TryAgain
from clara_argo.kubernetes.errors import Away
from clara_argo.platform.doctor import accounts, engine, leftovers, network, place, pods, settings, stages, storing
from clara_argo.platform.doctor.findings import Check, Level, fail
from clara_argo.platform.doctor.site import Site

__all__ = ["Check", "Level", "Site", "examine"]

Look = Callable[[Site], Iterator[Check]]
FIRST: tuple[str, Look] = ("api", place.server)
LOOKS: tuple[tuple[str, Look], ...] = (
    ("namespace", place.namespace),
    ("definitions", engine.definitions),
    ("controller", engine.release),
    ("alive", engine.alive),
    ("settings", settings.settings),
    ("accounts", accounts.accounts),
    ("your rights", accounts.ours),
    ("repository", storing.repository),
    ("store", storing.store),
    ("network", network.network),
    ("pods", pods.pods),
    ("images", stages.images),
    ("gpu", stages.gpu),
    ("deletions", leftovers.leftovers),
)


def examine(site: Site) -> Iterator[Check]:
    """Findings as they are made. Without an API server there is one."""
    part, look = FIRST
    try:
        yield from look(site)
    except ClaraError as error:
        yield fail(part, str(error), away=isinstance(error, TryAgain))
        return
    for part, look in LOOKS:
        try:
            yield from look(site)
        except ClaraError as error:
            yield fail(part, str(error), away=isinstance(error, TryAgain))
            if isinstance(error, Away):
                return
