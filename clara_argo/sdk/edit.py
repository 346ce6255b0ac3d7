"""One change of a file, whole or not at all: whoever looks sees the old text or the new one, also after a crash.

Two of us wait for nobody: the second is told that the file is held. An editor's own save between our reading and our
writing is seen, and the change is made to what it saved. (Between the last look and the exchange remains the time of
one system call.)
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

from clara_argo import source
from clara_argo.errors import Held, NotFound, TryAgain, UsageError

TIMES = 5  # how often a change is made anew because somebody saved meanwhile


def edit(path: Path, change: Callable[[str], str], shown: str = "") -> None:
    """Put `change` of a file's text in its place. The text has its line ends and byte order mark.

    `shown`: how messages name the file.
    Raises Held, TryAgain, UsageError for a file or folder that is read-only, NotFound, and what `change` raises;
    then the file is as before.
    """
    target, shown = Path(os.path.realpath(path)), shown or str(path)
    try:
        for _ in range(TIMES):
            with _held(target, shown) as before:
                after = change(_text(before, shown)).encode("utf-8")
                _check_size(after, shown)
                if after == before or _exchange(target, before, after):
                    return
    except OSError as error:
        raise _cannot(error, shown) from None
    raise TryAgain(f"{shown} is being saved again and again by another program; close it there and try again")


def _text(data: bytes, shown: str) -> str:
    """As in the file, once it is known to be text. Raises DefinitionError."""
    source.decode(data, shown)
    return data.decode("utf-8")


def _check_size(after: bytes, shown: str) -> None:
    if len(after) > source.MAX_BYTES:
        message = f"{shown} would be larger than 1 MiB, and could not be read any more"
        raise UsageError(f"{message}; it is as before. Make room in it first")


@contextmanager
def _held(target: Path, shown: str) -> Iterator[bytes]:
    """What the file holds, while no other of us changes it. The lock is the file's own: nothing is left beside it."""
    while True:
        file = _open(target, shown)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise Held(f"{shown} is being changed by another clara-wf; try again when that has ended") from None
        except BaseException:
            file.close()
            raise
        if _is_there(file.fileno(), target):
            break
        file.close()  # it was exchanged between opening and locking
    with file:
        yield file.read(source.MAX_BYTES + 1)


def _open(target: Path, shown: str) -> BufferedRandom:
    try:
        file = open(target, "r+b")  # noqa: SIM115
    except FileNotFoundError:
        raise NotFound(f"{shown}: no such file") from None
    if not os.fstat(file.fileno()).st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        file.close()  # the administrator may write everything, and is not meant to
        raise UsageError(f"{shown} is read-only; if it may be changed: chmod u+w {shown}")
    return file


def _is_there(number: int, target: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(number), target.stat())
    return False


def _exchange(target: Path, before: bytes, after: bytes) -> bool:
    """False when the file does not hold `before` any more."""
    new = target.with_name(f".{target.name}.new")  # of one that was killed: overwritten, under the lock
    new.unlink(missing_ok=True)
    known = target.stat()
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IMODE(known.st_mode) & 0o600)
        with open(handle, "wb") as file:
            with suppress(PermissionError):
                os.fchown(file.fileno(), known.st_uid, known.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(known.st_mode))
            file.write(after)
            file.flush()
            os.fsync(file.fileno())
        if target.read_bytes() != before:
            new.unlink()
            return False
        new.replace(target)  # from here on the next one of us may hold the file, and `new` is theirs
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _sync(target.parent)
    return True


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot(error: OSError, shown: str) -> UsageError | TryAgain:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TryAgain(f"{shown}: disk full, nothing was changed; make room and try again")
    return UsageError(f"{shown} cannot be changed: {error.strerror}; it is as before. Make file and folder writable")
