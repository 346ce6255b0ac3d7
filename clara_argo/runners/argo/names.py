"""What our objects on a cluster are called: Workflows, labels, annotations, and the store's keys of a job."""

from __future__ import annotations

from clara_argo.errors import NotFound
from clara_argo.model.job import JOB_ID

MANAGED = "app.kubernetes.io/managed-by=clara-argo"  # a label selector
JOB = "clara.dev/job"  # label: the job
DELIVERED = "clara.dev/delivered"  # label: "true" once the result was collected
ATTEMPTS = "clara.dev/attempts"  # annotation, JSON: what retries before this one used up, see retry.py
PENDING = "clara.dev/pending"  # annotation: seconds that a stage may wait for its place, as whoever submitted it said
ENDED = "clara.dev/ended"  # annotation, JSON: why this program ended the job, see pending.py

COMPLETED, PHASE = "workflows.argoproj.io/completed", "workflows.argoproj.io/phase"  # labels of a Workflow
OF_WORKFLOW, NODE_ID = "workflows.argoproj.io/workflow", "workflows.argoproj.io/node-id"  # of a pod: label, annotation
FINALIZER = "workflows.argoproj.io/artifact-gc"


def workflow(job: str) -> str:
    """The Workflow of a job. Raises NotFound for what is no job id."""
    if not JOB_ID.fullmatch(job):
        raise NotFound(f"no job {job!r}: a job id is 32 hex digits; see 'clara jobs'")
    return f"clara-{job}"


def payload_key(payload: str) -> str:
    return f"payloads/{payload}/input"


def job_prefix(job: str) -> str:
    """Of everything that is stored for a job but its payload."""
    return f"jobs/{job}"


def result_keys(job: str, results: tuple[str, ...]) -> dict[str, str]:
    """Name of a folder of the result (`Graph.results`) -> its key."""
    if len(results) == 1:
        return {results[0]: f"jobs/{job}/result"}
    return {name: f"jobs/{job}/result/{name}" for name in results}
