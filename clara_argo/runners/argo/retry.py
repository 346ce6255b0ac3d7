"""A job that has ended goes on: the merge patch that makes Argo run again what did not finish, or all after a stage.

It is what `argo retry` does, without argo-server: https://github.com/argoproj/argo-workflows/blob/v4.1.2/workflow/util/util.go.
What an earlier run used up of a stage's attempts is kept in an annotation, since Argo forgets it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clara_argo.errors import NotFound
from clara_argo.model.job import Job, StageState
from clara_argo.runners.argo import names
from clara_argo.runners.argo.status import attempts_before
from clara_argo.runners.argo.workflow import Node, Workflow

Object = dict[str, Any]


def again(workflow: Workflow, job: Job, from_stage: str | None) -> frozenset[str]:
    """The stages that run again. Raises NotFound for an unknown one."""
    stages = workflow.stages
    if from_stage is not None and from_stage not in stages:
        raise NotFound(f"no stage '{from_stage}'; there are {', '.join(stages)}")
    unfinished = {run.name for run in job.stages if run.state is not StageState.SUCCEEDED}
    chosen = unfinished | ({from_stage} if from_stage is not None else set())
    if workflow.fused:
        return frozenset(stages) if chosen else frozenset()
    return frozenset(stage for stage in stages if _needs_one(workflow, stages[stage], {stages[one] for one in chosen}))


def _needs_one(workflow: Workflow, template: str, chosen: set[str]) -> bool:
    """Is the template one of the chosen, or does it come after one?"""
    seen, open_ = {template}, [template]
    while open_:
        here = open_.pop()
        if here in chosen:
            return True
        new = workflow.needs.get(here, frozenset()) - seen
        seen |= new
        open_ += new
    return False


def dropped(workflow: Workflow, stages: frozenset[str]) -> frozenset[str]:
    """Ids of the nodes that Argo shall forget."""
    if workflow.fused:
        return frozenset(workflow.nodes)
    heads = {f"{workflow.name}.{workflow.stages[stage]}" for stage in stages}
    return frozenset(key for key, node in workflow.nodes.items() if node.name.partition("(")[0] in heads)


def change(
    workflow: Workflow, job: Job, stages: frozenset[str], now: str, packed: Mapping[str, Mapping[str, Any]]
) -> Object:
    """`packed`: all nodes as they are, when Argo had them compressed, else empty. `now` as Argo writes times."""
    gone, begun = dropped(workflow, stages), bool(workflow.templates)
    nodes: dict[str, Object | None] = {key: dict(node) for key, node in packed.items() if key not in gone}
    if not packed:
        nodes |= dict.fromkeys(gone)
    for key, node in workflow.nodes.items():
        if key not in gone:
            nodes[key] = {**(nodes.get(key) or {}), **_kept(node, gone)}
    return {
        "metadata": {
            "resourceVersion": workflow.version,
            "labels": {names.COMPLETED: None, names.PHASE: "Running", names.DELIVERED: None},
            "annotations": {names.ATTEMPTS: _attempts(job, stages, workflow), names.ENDED: None},
        },
        "spec": {"shutdown": None},
        "status": {
            # One that never got as far as to its template begins as if it were new.
            **({"phase": "Running", "storedWorkflowTemplateSpec": {"shutdown": None}} if begun else {"phase": None}),
            "message": None,
            "startedAt": now,  # the job's deadline counts from there
            "finishedAt": None,
            "conditions": [{"type": "Completed", "status": "False"}],
            "compressedNodes": None,
            "nodes": {key: node for key, node in nodes.items() if node is None or node},
            "taskResultsCompletionStatus": dict.fromkeys(gone & workflow.results_seen),
        },
    }


def _kept(node: Node, gone: frozenset[str]) -> Object:
    """What changes of a node that stays."""
    changed: Object = {}
    if gone & set(node.children):
        changed["children"] = [child for child in node.children if child not in gone]
    if node.type == "DAG":
        changed |= {"phase": "Running", "finishedAt": None, "message": None, "outboundNodes": None}
    return changed


def _attempts(job: Job, stages: frozenset[str], workflow: Workflow) -> str:
    before = attempts_before(workflow)
    used = {run.name: run.attempt if run.name in stages else before.get(run.name, 0) for run in job.stages}
    value: Object = {"job": job.attempt, "stages": {name: count for name, count in used.items() if count}}
    if job.started:
        value["started"] = job.started
    return json.dumps(value, ensure_ascii=False)
