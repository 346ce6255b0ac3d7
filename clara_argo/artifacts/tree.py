"""Folder trees of plain files: check, digest, make durable, copy. All or nothing where a name becomes visible.

Knows no job and no stage. A digest depends on relative names and contents only; never on dates, owners or modes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from clara_argo.errors import ClaraError, JobFailed, TryAgain, UsageError
from clara_driver.driver import one_line

FULL = (errno.ENOSPC, errno.EDQUOT)
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Unusable(JobFailed):
    """A folder holds something that cannot be handed on; the message names it."""


def entries(folder: Path, *, follow: bool = False, skip: Callable[[str], bool] | None = None) -> list[tuple[str, bool]]:
    """(relative name, is it a folder) of everything below, sorted by bytes. Only regular files and folders pass.

    `follow`: links count as what they point to (for folders that people give us); `skip` leaves names out.
    """
    found: list[tuple[str, bool]] = []
    open_ = [("", [_identity(folder)])]  # folders still to read, each with the identities of those above it
    while open_:
        prefix, above = open_.pop()
        for name, is_folder in _here(folder, prefix, follow, skip):
            found.append((name, is_folder))
            if is_folder:
                below = _identity(folder / name) if follow else (0, 0)  # without links there is no way back up
                if follow and below in above:
                    raise Unusable(f"{printable(name)} is a link to a folder above it; remove the link")
                open_.append((name + "/", [*above, below] if follow else above))
    return sorted(found, key=lambda entry: os.fsencode(entry[0]))


def _here(folder: Path, prefix: str, follow: bool, skip: Callable[[str], bool] | None) -> list[tuple[str, bool]]:
    """What lies directly in the folder `prefix` of `folder`."""
    found = []
    try:
        with os.scandir(folder / prefix) as here:
            for entry in here:
                if skip is None or not skip(entry.name):
                    name = prefix + entry.name
                    found.append((name, _is_folder(name, entry.stat(follow_symlinks=follow).st_mode)))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise Unusable(f"{printable(prefix)} lies too deep: paths would be too long; use fewer folders") from None
    return found


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(name: str, mode: int) -> bool:
    if stat.S_ISDIR(mode):
        return True
    if stat.S_ISREG(mode):
        return False
    kind = KINDS.get(stat.S_IFMT(mode), "no regular file")
    raise Unusable(f"{printable(name)} is {kind}; only regular files and folders are handed on")


def printable(name: str) -> str:
    """A name that came from a disk, bounded and without control characters or undecodable bytes."""
    text = repr(os.fsencode(name).decode("utf-8", "backslashreplace"))
    return text if len(text) <= 160 else text[:156] + "...'"


def digest(folder: Path, *, follow: bool = False, skip: Callable[[str], bool] | None = None) -> str:
    """SHA-256 over names and contents, hex."""
    total = hashlib.sha256()
    for name, is_folder in entries(folder, follow=follow, skip=skip):
        _count(total, name, None if is_folder else _file_digest(folder / name))
    return total.hexdigest()


def digest_of(found: Mapping[str, bytes | None]) -> str:
    """What `digest` says of a folder with these names: the SHA-256 of each file, None for each folder."""
    total = hashlib.sha256()
    for name in sorted(found, key=os.fsencode):
        _count(total, name, found[name])
    return total.hexdigest()


def _count(total: hashlib._Hash, name: str, content: bytes | None) -> None:
    total.update(os.fsencode(name) + b"\0" + (b"folder\0" if content is None else content))


def _file_digest(path: Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def has_files(folder: Path) -> bool:
    return any(not is_folder for _, is_folder in entries(folder))


def sync(folder: Path) -> None:
    """Bring every file and folder below, and the folder itself, to the disk."""
    for name, is_folder in entries(folder):
        sync_one(folder / name, is_folder)
    sync_one(folder, True)


def sync_one(path: Path, is_folder: bool) -> None:
    handle = os.open(path, os.O_RDONLY | (os.O_DIRECTORY if is_folder else 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def move(folder: Path, to: Path) -> None:
    """Give a complete folder its final name, durably. `to` must not exist, or be empty. Same file system."""
    folder.rename(to)
    sync_one(to.parent, True)


def copy(folder: Path, into: Path, *, link: bool = False, follow: bool = False) -> None:
    """Copy the files and folders below `folder` into the existing folder `into`; `link` makes hard links if it can."""
    for name, is_folder in entries(folder, follow=follow):
        if is_folder:
            (into / name).mkdir()
        elif not (link and _hard_link(folder / name, into / name)):
            shutil.copyfile(folder / name, into / name)


def _hard_link(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source.resolve())
    except OSError as error:
        if error.errno in FULL:
            raise
        return False  # a file system without hard links: copied instead
    return True


def publish(into: Path, fill: Callable[[Path], None]) -> Path:
    """Make the folder `into` all or nothing: `fill` writes a folder beside it, which is made durable and renamed.

    `into` must not exist, or be empty.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    part = into.with_name(f".{into.name[:100]}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        fill(part)
        sync(part)
        move(part, into)
    except BaseException:
        remove(part)
        raise
    return into


def filled(into: Path) -> bool:
    """Is something there that a result would replace? An empty folder is nothing."""
    return into.exists() and (not into.is_dir() or any(into.iterdir()))


def check_new(into: Path) -> None:
    """Raises UsageError when something is there already."""
    if filled(into):
        raise UsageError(f"{into} exists already and is not empty; name a new folder")


def unwritable(error: OSError, folder: Path, hint: str) -> ClaraError:
    """What to raise when a folder of the user's choice takes no files."""
    if error.errno in FULL:
        return TryAgain(f"{folder}: disk full; make room, or: {hint}")
    return UsageError(f"{folder} cannot be written to: {one_line(error.strerror or str(error))}; {hint}")


def remove(folder: Path) -> None:
    """Remove a folder or file, also where a stage took away its own permissions. Not there is no error.

    Folders are moved up before they are removed, so that no path gets too long and nothing recurses, however deep.
    """
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    prefix, moved, waiting = f".{secrets.token_hex(8)}.", 0, [folder]
    while waiting:
        here = waiting.pop()
        _permit(here)
        with os.scandir(here) as found:
            for entry in list(found):
                if not entry.is_dir(follow_symlinks=False):
                    Path(entry.path).unlink()
                    continue
                below = Path(entry.path)
                if here != folder:
                    _permit(below)
                    below, moved = below.rename(folder / f"{prefix}{moved}"), moved + 1
                waiting.append(below)
        if here != folder:
            here.rmdir()
    folder.rmdir()


def _permit(folder: Path) -> None:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        folder.chmod(0o700)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a small file: a reader finds the old text or the new one, also after a power cut.

    Durable: after a power cut it is the new one.
    """
    part = path.with_name(f".{path.name}.part")
    with open(part, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    if durable:
        sync_one(path.parent, True)
