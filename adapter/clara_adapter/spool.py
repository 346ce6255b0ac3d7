"""The folders of one spool, and moving files between them so that they survive a power cut.

    incoming/                        part files of the receiving side, emptied at start
    payloads/<payload>/input/        instances, named by the SHA-256 of their SOP Instance UID
    aside/<reason>/                  kept, part of no payload
    jobs/                            the local runner's
    results/<job>/                   what is sent back
    state.db, lock, log.key

Folders are 0700, files 0600. Nothing that a peer or a stage says becomes part of a path. Knows no DICOM.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
from pathlib import Path

from clara_argo.errors import Held, TryAgain


def flush_folder(folder: Path) -> None:
    """Force the folder's names to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_name(uid: str) -> str:
    """A name of ours for the instance with this UID."""
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest() + ".dcm"


class Spool:
    """Makes the folders; `hold` takes the spool for this process."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.incoming = self.root / "incoming"
        self.payloads = self.root / "payloads"
        self.asides = self.root / "aside"
        self.results = self.root / "results"
        self.state = self.root / "state.db"
        self._lock: int | None = None

    def make(self) -> None:
        """Make what is missing. Raises TryAgain when the place cannot be written."""
        try:
            for folder in (self.root, self.incoming, self.payloads, self.asides, self.results):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
            flush_folder(self.root)
        except OSError as error:
            raise TryAgain(f"spool {self.root}: {error.strerror}; name a folder that this user may write") from error

    def hold(self) -> None:
        """One adapter a spool. Raises Held with who holds it; the hold ends with `release` or with the process."""
        handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 200, 0).decode("ascii", "replace").strip() or "another process"
            os.close(handle)
            raise Held(f"spool {self.root} is held by {holder}; one adapter a spool") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode("ascii", "replace"), 0)
        self._lock = handle

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def input(self, payload: str) -> Path:
        return self.payloads / payload / "input"

    def instance(self, payload: str, uid: str) -> Path:
        """Where a payload has the instance with this UID."""
        return self.input(payload) / file_name(uid)

    def aside(self, reason: str) -> Path:
        return self.asides / reason

    def result(self, job: str) -> Path:
        return self.results / job

    def make_folder(self, folder: Path) -> None:
        """Make a folder below the spool, durably."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(mode=0o700, exist_ok=True)
            flush_folder(new.parent)


def place(source: Path, target: Path, *, keep: bool) -> None:
    """Give a complete file its final name, replacing what has it; with `keep` the source stays as well."""
    if not keep:
        source.rename(target)
        return
    link = target.with_name(target.name + ".new")
    link.unlink(missing_ok=True)
    os.link(source, link)
    link.rename(target)


def remove(path: Path) -> None:
    """Delete a file of ours; that it is gone already, or cannot go now, changes nothing that was promised."""
    with contextlib.suppress(OSError):
        path.unlink()
