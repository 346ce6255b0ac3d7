"""What holds up a pod that only starts. Argo tells of the stage's container; its own come before, and may hang."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from clara_argo.errors import Refused
from clara_argo.runners.argo import words
from clara_argo.runners.argo.cluster import Cluster
from clara_argo.runners.argo.workflow import Node, Workflow

LATER = 60.0  # seconds that a pod may start before its containers are looked at


def explained(cluster: Cluster, workflow: Workflow, now: datetime) -> Workflow:
    """The same with the reason in the nodes of such pods, where there is one and we may look."""
    slow = [key for key, node in workflow.nodes.items() if _only_starts(node, now)]
    if not slow or workflow.ended:
        return workflow
    try:
        pods = cluster.made_pods(workflow)
    except Refused:
        return workflow
    found = {key: trouble for key in slow if (trouble := _trouble(pods.get(key) or {}))}
    nodes = {key: replace(node, message=found.get(key, node.message)) for key, node in workflow.nodes.items()}
    return replace(workflow, nodes=nodes) if found else workflow


def _only_starts(node: Node, now: datetime) -> bool:
    if node.type != "Pod" or node.phase != "Pending" or words.waits_for(node.message):
        return False
    try:
        return (now - datetime.fromisoformat(node.started)).total_seconds() >= LATER
    except ValueError:
        return False


def _trouble(pod: Mapping[str, Any]) -> str:
    """As Argo would say it; "" when nothing is wrong that we know."""
    for one in (pod.get("status") or {}).get("initContainerStatuses") or ():
        waiting = (one.get("state") or {}).get("waiting") or {}
        said = ": ".join(filter(None, (str(waiting.get("reason") or ""), str(waiting.get("message") or ""))))
        if words.waits_for(said):
            return said
    return ""
