"""The folders of one spool, and moving files between them so that they survive a power cut.

    incoming/                        part files of the receiving side, emptied at start
    payloads/<payload>/input/        instances, named by the SHA-256 of their SOP Instance UID
    aside/<reason>/                  kept, part of no payload
    jobs/                            the local runner's
    results/<job>/                   what is sent back
    state.db, lock, log.key

Folders are 0700, files 0600, received instances 0400. Nothing that a peer or a stage says becomes part of a path. A
folder that was there before is taken only when it is this user's, and empty or a spool. Knows no DICOM.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from clara_argo.errors import Held, TryAgain, UsageError

CONTENTS = frozenset(
    ("incoming", "payloads", "aside", "results", "jobs", "lib", "lock", "log.key", "log.key.new")
    + ("state.db", "state.db-wal", "state.db-shm", "state.db-journal")
)
DISK = "lost+found"  # what the root folder of an empty disk holds
PROBE = ".clara-check-"
SYSTEM = frozenset(  # FHS 3.0, chapter 3: folders of the root that others use as well
    ("bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys")
    + ("tmp", "usr", "var")
)


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
        self.root = Path(os.path.realpath(root))
        self.incoming = self.root / "incoming"
        self.payloads = self.root / "payloads"
        self.asides = self.root / "aside"
        self.results = self.root / "results"
        self.state = self.root / "state.db"
        self._lock: int | None = None

    def make(self) -> None:
        """Make what is missing. Raises UsageError for what can be no spool, TryAgain when it cannot be written."""
        with self._explained():
            try:
                self.root.mkdir(mode=0o700, parents=True)
            except FileExistsError:
                self._must_be_ours()
                self.root.chmod(0o700)
            for folder in (self.incoming, self.payloads, self.asides, self.results):
                folder.mkdir(mode=0o700, exist_ok=True)
            flush_folder(self.root)

    def probe(self) -> None:
        """Raise what `make` would raise, and leave nothing behind."""
        with self._explained():
            if os.path.lexists(self.root):
                self._must_be_ours()
            nearest = self.root
            while not nearest.exists():
                nearest = nearest.parent
            Path(tempfile.mkdtemp(prefix=PROBE, dir=nearest)).rmdir()

    def _must_be_ours(self) -> None:
        """Raises UsageError unless this existing folder may become, or is, our spool."""
        found = self.root.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise UsageError(f"spool {self.root} is not a folder; name a folder, it is made where it is missing")
        problem = ""
        if found.st_uid != os.geteuid():
            problem = f"belongs to user {found.st_uid}, and this is user {os.geteuid()}"
        elif found.st_mode & stat.S_ISVTX:
            problem = "is made to be shared (it is sticky)"
        elif self.root.parent == self.root or self._is_system():
            problem = "is a folder of the system"
        elif not self._is_spool():
            problem = "holds files of others: it is neither empty nor a spool"
        if problem:
            raise UsageError(f"spool {self.root} {problem}; name a folder below it, it is made")

    def _is_system(self) -> bool:
        return self.root.parent == Path(self.root.anchor) and self.root.name in SYSTEM

    def _is_spool(self) -> bool:
        """Whether it is one, also one whose making was cut short, or is empty."""
        names = {path.name for path in self.root.iterdir() if path.name != DISK and not path.name.startswith(PROBE)}
        return not names or (self.incoming.is_dir() and (self.state.is_file() or names <= CONTENTS))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (NotADirectoryError, FileExistsError) as error:
            raise UsageError(f"spool {self.root}: a part of this path is a file; name a folder") from error
        except OSError as error:
            raise TryAgain(f"spool {self.root}: {error.strerror}; name a folder that this user may write") from error

    def hold(self) -> None:
        """One adapter a spool. Raises Held with who holds it; the hold ends with `release` or with the process."""
        with self._explained():
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
