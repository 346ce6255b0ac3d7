"""Which target has a job that was started from here: one small file a job, so that its id alone is enough later."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from clara_argo.artifacts import tree
from clara_argo.model.job import JOB_ID

FOLDER = "remote"
KEPT = 90 * 86_400.0  # seconds; a cluster forgets its jobs much earlier
LONGEST = 256  # characters of a target's name that are read


def remember(home: Path, job: str, target: str) -> None:
    """Raises OSError."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _forget_old(folder)
    tree.write_text(folder / job, target + "\n", durable=False)


def _forget_old(folder: Path) -> None:
    oldest = time.time() - KEPT
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process was faster
            if path.stat().st_mtime < oldest:
                path.unlink()


def recall(home: Path, prefix: str = "") -> dict[str, str]:
    """Job -> target, of the jobs whose id begins so."""
    folder = home / FOLDER
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(prefix) and JOB_ID.fullmatch(path.name):
            with suppress(OSError, UnicodeDecodeError):  # gone meanwhile, or not ours
                found[path.name] = path.read_text(encoding="utf-8")[:LONGEST].strip()
    return found


def forget(home: Path, job: str) -> None:
    (home / FOLDER / job).unlink(missing_ok=True)
