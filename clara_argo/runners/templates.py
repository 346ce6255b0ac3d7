"""The template of a workflow on a cluster: compiled, compared with the one that is there, and put there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clara_argo.compile.changes import Change, between
from clara_argo.errors import Finding, Refused
from clara_argo.graph import Graph
from clara_argo.model.target import Target
from clara_argo.runners.argo.submission import renewed, settings, template

if TYPE_CHECKING:
    from clara_argo.kubernetes.client import Api

CREATED, CHANGED, UNCHANGED = "created", "changed", "unchanged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What happened to a template, or would have with `dry_run`."""

    target: str
    namespace: str
    template: str
    state: str
    changes: tuple[Change, ...] = ()
    dry_run: bool = False
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        value = asdict(self) | {"changes": [asdict(change) for change in self.changes]}
        del value["findings"]
        return value


def apply(graph: Graph, target: Target, api: Api, *, fused: bool = False, dry_run: bool = False) -> Applied:
    """Raises what compiling raises, NotInstalled without hera, and Refused or TryAgain of the cluster.

    With `dry_run` the cluster judges the template and keeps nothing. A template that somebody edited there becomes the
    compiled one again; one that Helm put there stays, and is Refused where it differs.
    """
    from clara_argo.compile import compile_graph

    made = compile_graph(graph, settings(target), fused=fused or target.fused)
    there = template(api, made.name)
    state, changes = _compared(there, made.template)
    if there is not None and changes and (how := renewed(there)):
        where = f"template {made.name} in namespace {target.namespace} differs"
        raise Refused("\n  ".join([f"{where}, and {how}; or set its values as you want them", *map(str, changes)]))
    if state != UNCHANGED:
        api.apply(made.template, dry_run=dry_run)
    return Applied(
        target=target.name,
        namespace=target.namespace,
        template=made.name,
        state=state,
        changes=changes,
        dry_run=dry_run,
        findings=made.findings,
    )


def _compared(there: dict[str, Any] | None, made: dict[str, Any]) -> tuple[str, tuple[Change, ...]]:
    if there is None:
        return CREATED, ()
    changes = between(there, made)
    return (CHANGED if changes else UNCHANGED), changes
