"""What a job left in the store: handing it over, and clearing it away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from clara_argo.artifacts import tree
from clara_argo.errors import JobFailed, NotFound
from clara_argo.graph import Read
from clara_argo.runners.argo import names
from clara_argo.runners.argo.store import JobStore
from clara_argo.runners.argo.workflow import Workflow
from clara_argo.runners.protocol import KEPT
from clara_driver import contract


def fetch(store: JobStore, workflow: Workflow, into: Path) -> Path:
    """All or nothing. Raises UsageError, JobFailed when it was collected already, TryAgain when there is no room."""
    tree.check_new(into)
    keys = names.result_keys(workflow.job, workflow.results)
    if not keys:
        raise JobFailed(f"job {workflow.job} does not say which of its stages make its result; compile it again")

    def fill(part: Path) -> None:
        for name, key in keys.items():
            folder = part / name if len(keys) > 1 else part
            store.get_folder(key, folder)
            if not tree.has_files(folder):
                raise JobFailed(_nothing(workflow.job, Read.named(name)))

    try:
        return tree.publish(into, fill)
    except NotFound:
        raise JobFailed(
            f"job {workflow.job} has no result any more: it was collected, or removed from the store; "
            "run the last stage again: clara retry JOB --from STAGE"
        ) from None
    except OSError as error:
        raise tree.unwritable(error, into, KEPT) from None


def _nothing(job: str, read: Read) -> str:
    where = f"the folder '{read.folder}' of its output" if read.folder else "its output folder"
    return (
        f"job {job} has no result: stage '{read.stage}' ended well but wrote nothing into {where}; "
        f"a stage writes into the folder that {contract.OUTPUT} names"
    )


def lies_in(store: JobStore, workflow: Workflow, into: Path) -> bool:
    """Does the folder hold the result? Raises nothing for a result that was collected: then nobody can say no."""
    keys = names.result_keys(workflow.job, workflow.results)
    try:
        if len(keys) == 1:
            return into.is_dir() and store.digest(next(iter(keys.values()))) == tree.digest(into)
        return {path.name for path in into.iterdir()} == set(keys) and all(
            store.digest(key) == tree.digest(into / stage) for stage, key in keys.items()
        )
    except (NotFound, tree.Unusable, NotADirectoryError, FileNotFoundError):
        return False


def forget(store: JobStore, workflow: Workflow, others: Callable[[], Iterable[Workflow]], *, everything: bool) -> None:
    """The result goes; with `everything` all that is stored for the job. The payload goes with its last user.

    `others` is asked just before that: one that is submitted while the rest is removed needs it, or the job itself
    when somebody let it run again.
    """
    if everything:
        store.delete_below(names.job_prefix(workflow.job))
    else:
        for key in names.result_keys(workflow.job, workflow.results).values():
            store.delete(key)
    if workflow.payload and workflow.payload not in {one.payload for one in others() if not one.ended}:
        store.delete(names.payload_key(workflow.payload))
