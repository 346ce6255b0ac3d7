"""Workflow -> the attempts at each of its stages, whichever way it runs them: a pod a stage, or all in one pod."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from clara_argo.runners.argo.workflow import MAIN, Node, Workflow


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    stage: str
    number: int  # from 1 since the last `retry`
    node: Node  # the pod's; in a pod of all stages the container's
    pod: Node
    container: str  # of the pod, whose log is the stage's

    @property
    def log_key(self) -> str:
        return self.pod.logs.get(self.container, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageNodes:
    """`whole` speaks for all attempts: it goes on between two of them, and says when there are no more."""

    stage: str
    template: str
    whole: Node | None
    attempts: tuple[Attempt, ...] = ()


def of(workflow: Workflow) -> tuple[StageNodes, ...]:
    """In the order of the graph."""
    by_name = {node.name: node for node in workflow.nodes.values()}
    if workflow.fused:
        return _fused(workflow, by_name)
    found = []
    for stage, template in workflow.stages.items():
        whole = by_name.get(f"{workflow.name}.{template}")
        pods = _tries(workflow, whole)
        attempts = tuple(
            Attempt(stage=stage, number=number, node=pod, pod=pod, container=MAIN) for number, pod in enumerate(pods, 1)
        )
        found.append(StageNodes(stage=stage, template=template, whole=whole, attempts=attempts))
    return tuple(found)


def _fused(workflow: Workflow, by_name: dict[str, Node]) -> tuple[StageNodes, ...]:
    """All containers of a pod run from its start: a stage's own begins when those before it have ended well."""
    whole = by_name.get(workflow.name)
    found = []
    for stage, container in workflow.stages.items():
        attempts: list[Attempt] = []
        for pod in pods(workflow):
            node = by_name.get(f"{pod.name}.{container}")
            before = [by_name.get(f"{pod.name}.{other}") for other in workflow.needs.get(container, ())]
            if node is None or node.phase == "Pending" or not all(other and other.well for other in before):
                continue
            started = max([node.started, *(other.finished for other in before if other)])
            node = replace(node, started=started)
            attempts.append(Attempt(stage=stage, number=len(attempts) + 1, node=node, pod=pod, container=container))
        found.append(StageNodes(stage=stage, template=container, whole=whole, attempts=tuple(attempts)))
    return tuple(found)


def pods(workflow: Workflow) -> list[Node]:
    """The pods of a fused job, one an attempt."""
    return _tries(workflow, next((node for node in workflow.nodes.values() if node.name == workflow.name), None))


def _tries(workflow: Workflow, whole: Node | None) -> list[Node]:
    """The pods behind a node: itself, or those that its retries made, in order."""
    if whole is None:
        return []
    if whole.type == "Pod":
        return [whole]
    if whole.type != "Retry":
        return []
    pattern = re.compile(re.escape(whole.name) + r"\((\d+)\)")
    found = [(int(match[1]), node) for node in workflow.nodes.values() if (match := pattern.fullmatch(node.name))]
    return [node for _, node in sorted(found, key=lambda pair: pair[0])]
