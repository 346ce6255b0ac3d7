"""A folder as one gzip-ed tar with one top folder, the form in which Argo Workflows moves artifacts; and back.

Streams both ways: what is in memory is one block, not a study. The same folder gives the same bytes. What comes from a
store is data: names are checked, only plain files and folders come out, and nothing replaces anything.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from clara_argo.artifacts import tree
from clara_argo.artifacts.errors import Damaged
from clara_argo.artifacts.members import Member, members
from clara_argo.errors import TryAgain

BLOCK = 1 << 20  # bytes read, packed and written at once
TOP = "input"


def pack(folder: Path, *, top: str = TOP, level: int = 0, follow: bool = False) -> Iterator[bytes]:
    """The packed folder, block by block. `level` 0 (stored) to 9; `follow`: links count as what they point to.

    Raises tree.Unusable for what is neither a file nor a folder, and for a file that changes meanwhile.
    """
    zipper = zlib.compressobj(level, wbits=31)
    for block in _tar(folder, top, follow):
        if packed := zipper.compress(block):
            yield packed
    yield zipper.flush()


def _tar(folder: Path, top: str, follow: bool) -> Iterator[bytes]:
    yield _header(top, None)
    for name, is_folder in tree.entries(folder, follow=follow):
        if is_folder:
            yield _header(f"{top}/{name}", None)
        else:
            yield from _file(folder / name, f"{top}/{name}", follow)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _file(path: Path, name: str, follow: bool) -> Iterator[bytes]:
    handle = os.open(path, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW))
    with open(handle, "rb", buffering=0) as file:
        size = left = os.fstat(handle).st_size
        yield _header(name, size)
        while left:
            block = file.read(min(left, BLOCK))
            if not block:
                break
            left -= len(block)
            yield block
        if left or file.read(1):
            raise tree.Unusable(f"{tree.printable(name)} changed while it was packed; pack it when it is complete")
    yield bytes(-size % tarfile.BLOCKSIZE)


def _header(name: str, size: int | None) -> bytes:
    """Of a file, or of a folder where there is no size."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = (tarfile.DIRTYPE, 0o755) if size is None else (tarfile.REGTYPE, 0o644)
    info.size = size or 0
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def unpack(stream: Iterable[bytes], into: Path, *, key: str = "", limit: int | None = None) -> str:
    """Write what is in the packed folder into the existing, empty folder `into`; returns its digest as tree.digest.

    The top folder is left out; a file that stands alone keeps its name. `limit`: bytes of all files together. `key`
    is for messages. Raises Damaged, tree.Unusable, or TryAgain when the disk is full. The caller removes `into` then.
    """
    try:
        return _digest(_write(member, into, key) for member in members(stream, key, limit))
    except OSError as error:
        if error.errno in tree.FULL:
            raise TryAgain(f"{into}: the disk is full while unpacking {key}; make room") from None
        if error.errno == errno.ENAMETOOLONG:
            raise Damaged(f"{key}: names in it are too long for {into}; use fewer folders") from None
        raise


def digest(stream: Iterable[bytes], *, key: str = "") -> str:
    """What tree.digest says of the folder that is packed in the stream. Nothing is written."""
    seen: set[str] = set()
    return _digest(_read(member, seen, key) for member in members(stream, key, None))


def _write(member: Member, into: Path, key: str) -> tuple[str, bytes | None]:
    path = into / member.name
    try:
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            return member.name, None
        path.parent.mkdir(parents=True, exist_ok=True)
        total = hashlib.sha256()
        with open(path, "xb") as file:
            for block in member.content:
                total.update(block)
                file.write(block)
        return member.name, total.digest()
    except (FileExistsError, NotADirectoryError):
        raise Damaged(f"{key}: {tree.printable(member.name)} is in it twice") from None


def _read(member: Member, seen: set[str], key: str) -> tuple[str, bytes | None]:
    if member.is_folder:
        return member.name, None
    if member.name in seen:
        raise Damaged(f"{key}: {tree.printable(member.name)} is in it twice")
    seen.add(member.name)
    total = hashlib.sha256()
    for block in member.content:
        total.update(block)
    return member.name, total.digest()


def _digest(entries: Iterable[tuple[str, bytes | None]]) -> str:
    """Of names with the SHA-256 of each file, None for a folder; folders that are only implied count too."""
    found = dict(entries)
    for name in list(found):
        while (name := name.rpartition("/")[0]) and name not in found:
            found[name] = None
    return tree.digest_of(found)
