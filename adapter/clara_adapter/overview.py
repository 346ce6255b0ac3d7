"""What an administrator looks at and asks for again: held payloads, jobs, deliveries. Works beside a running adapter.

Knows the state only; who asks for a job or a delivery again changes a row, and the adapter sees it within seconds.
Identifiers of patients and studies are not shown.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from clara_adapter.spool import Spool
from clara_adapter.states import JOB, DeliveryState
from clara_adapter.store import Delivery, Job, Store
from clara_argo.errors import NotFound, UsageError
from clara_argo.model.job import JobState

SCHEMA = 1
AGAIN = (JobState.FAILED, JobState.STOPPED)
ARRIVED = (DeliveryState.SENT, DeliveryState.COMMITTED)


def open_store(folder: str) -> Store:
    """The state of a spool. Raises NotFound where no adapter has been; nothing is made."""
    spool = Spool(Path(folder))
    if not spool.state.is_file():
        raise NotFound(f"{spool.root} is no spool yet; 'clara adapter serve' makes it")
    return Store(spool.state)


def overview(store: Store) -> dict[str, Any]:
    """The contract of `-o json`."""
    held = [{"id": key, "route": route, "message": message} for key, route, message in store.held_payloads()]
    return {
        "schema": SCHEMA,
        "receiving": len(store.receiving()),
        "held": held,
        "jobs": [_job(job) for job in store.jobs()],
        "deliveries": [_delivery(one) for one in store.deliveries()],
    }


def _job(job: Job) -> dict[str, Any]:
    return {key: value for key, value in asdict(job).items() if key not in ("workflow_digest", "crashes")}


def _delivery(one: Delivery) -> dict[str, Any]:
    return {key: value for key, value in asdict(one).items() if key not in ("crashes", "due")}


def lines(found: dict[str, Any]) -> list[str]:
    """For a terminal: how much goes well, and each thing that is held, has failed or is still on its way."""
    ways: dict[str, list[dict[str, Any]]] = {job["id"]: [] for job in found["jobs"]}
    for one in found["deliveries"]:
        ways[one["job"]].append(one)
    left = [job for job in found["jobs"] if not _is_well(job, ways[job["id"]])]
    done = len(found["jobs"]) - len(left)
    rows = [f"{found['receiving']} studies are being received, {done} jobs are done and delivered"]
    rows += [f"payload {one['id']}  held       {one['route']}: {one['message']}" for one in found["held"]]
    for job in left:
        rows.append(f"job {job['id']}  {job['state']:<10} {job['workflow']}" + _after(job["message"]))
        rows += [
            f"  to {one['destination']}  {one['state']}, {one['attempts']} attempts" + _after(one["message"])
            for one in ways[job["id"]]
        ]
    return rows


def _is_well(job: dict[str, Any], deliveries: list[dict[str, Any]]) -> bool:
    return job["state"] == JobState.SUCCEEDED and all(one["state"] in ARRIVED for one in deliveries)


def _after(message: str) -> str:
    return f": {message}" if message else ""


def retry(store: Store, job: str) -> list[str]:
    """Ask again for a failed or stopped job, or for the failed deliveries of one that succeeded; says what it did.

    Raises NotFound, or UsageError when nothing of it has failed.
    """
    try:
        found = store.job(job)
    except KeyError:
        raise NotFound(f"no job {job}; 'clara adapter status -o json' lists them") from None
    if found.state in AGAIN:
        store.move_job(job, "retry")
        return [f"job {job} runs again"]
    failed = [one for one in store.deliveries(job) if one.state == DeliveryState.FAILED]
    for one in failed:
        store.move_delivery(one.id, "retry")
    if not failed:
        still = "has not ended yet" if found.state in JOB.unfinished else "has nothing that failed"
        raise UsageError(f"job {job} is {found.state} and {still}")
    return [f"job {job} goes to {one.destination} again" for one in failed]


def retry_all(store: Store) -> list[str]:
    """Everything that has failed or was stopped."""
    failed = {one.job for one in store.deliveries() if one.state == DeliveryState.FAILED}
    wanted = [job.id for job in store.jobs() if job.state in AGAIN or job.id in failed]
    return [line for job in wanted for line in retry(store, job)]
