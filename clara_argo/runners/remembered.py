"""Which target has a job that was started from here: one small file a job, so that its id alone is enough later.

Its first line is the target; the second one the digest of the result, once that was fetched: a store gives it once.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from clara_argo.artifacts import tree
from clara_argo.model.job import JOB_ID

FOLDER = "remote"
KEPT = 90 * 86_400.0  # seconds; a cluster forgets its jobs much earlier
LONGEST = 256  # characters of a file that are read


def remember(home: Path, job: str, target: str, fetched: str = "") -> None:
    """`fetched` as before when it is not given. Raises OSError."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _forget_old(folder)
    tree.write_text(folder / job, f"{target}\n{fetched or _line(folder / job, 1)}\n", durable=False)


def _forget_old(folder: Path) -> None:
    oldest = time.time() - KEPT
    for path in folder.iterdir():
        with suppress(FileNotFoundError, IsADirectoryError, PermissionError):  # another was faster, or it is not ours
            if path.stat().st_mtime < oldest:
                path.unlink()


def recall(home: Path, prefix: str = "") -> dict[str, str]:
    """Job -> target, of the jobs whose id begins so."""
    folder = home / FOLDER
    names: list[str] = []
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # nothing to be read is nothing remembered
        names = sorted(path.name for path in folder.iterdir())
    jobs = [name for name in names if name.startswith(prefix) and JOB_ID.fullmatch(name)]
    return {job: target for job in jobs if (target := _line(folder / job, 0))}


def fetched(home: Path, job: str) -> str:
    """The digest of the result; "" when it was not fetched."""
    return _line(home / FOLDER / job, 1)


def _line(path: Path, number: int) -> str:
    try:
        lines = path.read_text(encoding="utf-8")[:LONGEST].splitlines()
    except (OSError, UnicodeDecodeError):  # gone meanwhile, or not ours
        return ""
    return lines[number].strip() if number < len(lines) else ""


def forget(home: Path, job: str) -> None:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # then it stays until it is old
        (home / FOLDER / job).unlink()
