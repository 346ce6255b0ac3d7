"""A limit on waiting: Argo's own never fires beside a retry, so a stage that finds no place is ended from here.

What is counted is a pod that Kubernetes cannot place or whose image it cannot get; one that only starts is left alone.
From the moment at which Argo made the pod; `now` is by the cluster's clock, since ours may be another.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, NamedTuple

from clara_argo.runners.argo import attempts, names, words
from clara_argo.runners.argo.workflow import Node, Workflow

HOPELESS = 30  # seconds: an image that may not be fetched, or has no name, will not come


class Waiting(NamedTuple):
    stage: str
    reason: str  # what it waits for, in plain words
    left: float  # seconds until it has waited for too long; below 0: it has


def allowed(workflow: Workflow, otherwise: int) -> int:
    """Seconds. Whoever looks may end a job, and goes by what its submitter said, not by settings of his own."""
    text = workflow.annotations.get(names.PENDING, "")
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else otherwise


def first(workflow: Workflow, limit: int, now: datetime) -> Waiting | None:
    """The stage that will have waited for too long first. `limit` in seconds."""
    found = [one for stage, node in _pending(workflow) if (one := _waiting(stage, node, limit, now)) is not None]
    return min(found, key=lambda one: one.left, default=None)


def _pending(workflow: Workflow) -> list[tuple[str, Node]]:
    """Pods that were made and do not run; the pod of all stages stands for the first of them."""
    if workflow.ended or workflow.shutdown:
        return []
    if workflow.fused:
        pod = next(iter(attempts.pods(workflow)[-1:]), None)
        return [(next(iter(workflow.stages), ""), pod)] if pod is not None and pod.phase == "Pending" else []
    last = [(one.stage, one.attempts[-1].node) for one in attempts.of(workflow) if one.attempts]
    return [(stage, node) for stage, node in last if node.phase == "Pending"]


def _waiting(stage: str, node: Node, limit: int, now: datetime) -> Waiting | None:
    reason = words.waits_for(node.message)
    try:
        since = datetime.fromisoformat(node.started)
    except ValueError:
        return None
    if not reason or reason.startswith(words.TURN):
        return None
    limit = min(limit, HOPELESS) if words.hopeless(node.message) else limit
    return Waiting(stage, reason, limit - (now - since).total_seconds())


def change(workflow: Workflow, waiting: Waiting, limit: int) -> dict[str, Any]:
    """The merge patch that ends the job and says why; refused by the server when the job has moved meanwhile."""
    said = f"it did not start: {waiting.reason}"
    if waiting.reason.startswith("waits for"):
        said = f"it did not start within {limit} s: it {waiting.reason}"
    ended = json.dumps({"stage": waiting.stage, "message": said}, ensure_ascii=False)
    return {
        "metadata": {"resourceVersion": workflow.version, "annotations": {names.ENDED: ended}},
        "spec": {"shutdown": "Terminate"},
    }
