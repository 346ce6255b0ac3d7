"""Workflows that cannot leave: Argo cleans up in a pod, and where that pod cannot start a deletion hangs for ever.

After a time their finalizer is taken away, and their objects are removed from here. A Workflow that left nothing to
remove, such as one that was stopped before its first stage, hangs always: Argo 4.1 then makes no pod and waits for one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from clara_argo.errors import ClaraError
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.errors import Conflict, NotHere
from clara_argo.kubernetes.kinds import PODS, WORKFLOWS
from clara_argo.model.job import JOB_ID
from clara_argo.runners.argo import names
from clara_argo.runners.argo.store import JobStore
from clara_argo.runners.argo.workflow import Workflow, head

LOG = logging.getLogger(__name__)
OLDER_THAN = 300.0  # seconds; a clean-up takes five


def sweep(api: Api, store: JobStore, older_than: float = OLDER_THAN) -> tuple[str, ...]:
    """Free the Workflows that were deleted longer ago, in seconds; their names. Raises the errors of a list."""
    return free_all(api, store, _hanging(api, older_than))


def free_all(api: Api, store: JobStore, hanging: Iterable[Workflow]) -> tuple[str, ...]:
    """The names of those that could be freed."""
    freed = []
    for workflow in hanging:
        try:
            free(api, store, workflow)
        except ClaraError as error:
            LOG.warning("Workflow %s cannot be freed: %s", workflow.name, error)
            continue
        freed.append(workflow.name)
    return tuple(freed)


def stuck(api: Api, older_than: float = OLDER_THAN) -> tuple[str, ...]:
    """The names of the Workflows that `sweep` would free."""
    return tuple(workflow.name for workflow in _hanging(api, older_than))


def _hanging(api: Api, older_than: float) -> list[Workflow]:
    found = [head(made) for made in api.list(WORKFLOWS, labels=f"{names.MANAGED},{names.JOB}").items]
    return [one for one in found if hangs(api, one, older_than)]


def hangs(api: Api, workflow: Workflow, older_than: float = OLDER_THAN) -> bool:
    """Was it deleted, and Argo will not clean up after it, or has not within so many seconds?"""
    if names.FINALIZER not in workflow.finalizers or not workflow.deleted:
        return False
    return _age(workflow, api.now()) >= older_than or (workflow.cleaning and not _collectors(api, workflow))


def free(api: Api, store: JobStore, workflow: Workflow) -> None:
    """Objects first: without its finalizer nobody would come back for them. A result that is to be kept stays."""
    LOG.info("Workflow %s is not cleaned up by Argo (%s); it is done from here", workflow.name, _why(api, workflow))
    if JOB_ID.fullmatch(workflow.job):
        kept = set(names.result_keys(workflow.job, workflow.results).values())
        for key in store.list(f"{names.job_prefix(workflow.job)}/"):
            if key not in kept:
                store.delete(key)
        store.delete_below(f"{names.job_prefix(workflow.job)}/logs")
    rest = [one for one in workflow.finalizers if one != names.FINALIZER]
    change = {"metadata": {"resourceVersion": workflow.version, "finalizers": rest}}
    try:
        api.patch(WORKFLOWS, workflow.name, change)
    except (Conflict, NotHere):
        return  # somebody works on it: it goes by itself, or next time


def _age(workflow: Workflow, now: datetime) -> float:
    """Seconds since somebody wanted it gone."""
    return (now - datetime.fromisoformat(workflow.deleted)).total_seconds()


def _why(api: Api, workflow: Workflow) -> str:
    collectors = _collectors(api, workflow)
    if not collectors:
        return "it made no pod for it"
    return ", ".join(f"pod {pod['metadata']['name']}: {(pod.get('status') or {}).get('phase')}" for pod in collectors)


def _collectors(api: Api, workflow: Workflow) -> list[dict[str, Any]]:
    pods = api.list(PODS, labels=f"{names.OF_WORKFLOW}={workflow.name}").items
    return [pod for pod in pods if "-artgc-" in pod["metadata"]["name"]]
