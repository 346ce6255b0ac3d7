"""What runs in the namespace for as long as it is there: whether each part works, and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass

from clara_argo.kubernetes.client import Api, Object
from clara_argo.kubernetes.kinds import PODS, Kind

JOBS = Kind("batch/v1", "jobs", name="Job")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Something that takes its time until it works; `selector` finds its pods."""

    kind: Kind
    name: str
    selector: str

    def ready(self, api: Api) -> bool:
        """Raises NotHere, Refused."""
        found = api.get(self.kind, self.name)
        status = found.get("status") or {}
        if self.kind == JOBS:
            return bool(status.get("succeeded"))
        wanted = found["spec"].get("replicas", 1)
        seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 1)
        # A pod from before a change says nothing about the one that takes its place.
        number, new = (status.get(name) or 0 for name in ("replicas", "updatedReplicas"))
        return bool(seen and number <= new and min(new, status.get("readyReplicas") or 0) >= wanted)

    def why(self, api: Api) -> str:
        """What its pods wait for, in Kubernetes' words."""
        if self.kind == JOBS and (said := self._failed(api)):
            return said
        for pod in api.list(PODS, labels=self.selector).items:
            if said := _waiting(pod.get("status") or {}):
                return said
        return "not ready yet"

    def _failed(self, api: Api) -> str:
        """A job is not begun again by applying it."""
        for condition in (api.get(self.kind, self.name).get("status") or {}).get("conditions") or ():
            if condition.get("type") == "Failed" and condition.get("status") == "True":
                again = f"kubectl -n {api.namespace} delete job {self.name}, and install again"
                return f"failed: {condition.get('message')}; {again}"
        return ""


def _waiting(status: Object) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason')}: {condition.get('message')}"
    for container in status.get("containerStatuses") or ():
        state = (container.get("state") or {}).get("waiting") or {}
        if state:
            return ": ".join(filter(None, (state.get("reason"), state.get("message"))))
    return ""
