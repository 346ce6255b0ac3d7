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
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from clara_argo.artifacts import tree
from clara_argo.artifacts.errors import Damaged
from clara_argo.artifacts.members import Member, members
from clara_argo.errors import TryAgain

BLOCK = 1 << 20  # bytes read, packed and written at once
TOP = "input"


def pack(folder: Path, *, top: str = TOP, level: int = 0, follow: bool = False, expect: str = "") -> Iterator[bytes]:
    """The packed folder, block by block. `level` 0 (stored) to 9; `follow`: links count as what they point to.

    Raises tree.Unusable for what is neither a file nor a folder, and, before its last block, for what changes meanwhile
    or has another digest than `expect`.
    """
    zipper = zlib.compressobj(level, wbits=31)
    for block in _tar(folder, top, follow, expect):
        if packed := zipper.compress(block):
            yield packed
    yield zipper.flush()


def _tar(folder: Path, top: str, follow: bool, expect: str) -> Iterator[bytes]:
    found: dict[str, bytes | None] = {}
    yield _header(top, None)
    for name, is_folder in tree.entries(folder, follow=follow):
        if is_folder:
            found[name] = None
            yield _header(f"{top}/{name}", None)
        else:
            found[name] = yield from _file(folder / name, f"{top}/{name}", follow)
    if expect and tree.digest_of(found) != expect:
        raise _changed(str(folder))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _file(path: Path, name: str, follow: bool) -> Generator[bytes, None, bytes]:
    """Header and content; returns the content's SHA-256."""
    total = hashlib.sha256()
    handle = os.open(path, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW))
    with open(handle, "rb", buffering=0) as file:
        size = left = os.fstat(handle).st_size
        yield _header(name, size)
        while left and (block := file.read(min(left, BLOCK))):
            left -= len(block)
            total.update(block)
            yield block
        if left or file.read(1):
            raise _changed(name)
    yield bytes(-size % tarfile.BLOCKSIZE)
    return total.digest()


def _changed(name: str) -> tree.Unusable:
    return tree.Unusable(f"{tree.printable(name)} changed while it was packed; pack it when it is complete")


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
        return _digest((_write(member, into, key) for member in members(stream, key, limit)), key)
    except OSError as error:
        if error.errno in tree.FULL:
            raise TryAgain(f"{into}: the disk is full while unpacking {key}; make room") from None
        if error.errno == errno.ENAMETOOLONG:
            raise Damaged(f"{key}: names in it are too long for {into}; use fewer folders") from None
        raise


def digest(stream: Iterable[bytes], *, key: str = "") -> str:
    """What tree.digest says of the folder that is packed in the stream. Nothing is written."""
    return _digest((_read(member) for member in members(stream, key, None)), key)


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
        raise _twice(member.name, key) from None


def _read(member: Member) -> tuple[str, bytes | None]:
    if member.is_folder:
        return member.name, None
    total = hashlib.sha256()
    for block in member.content:
        total.update(block)
    return member.name, total.digest()


def _digest(entries: Iterable[tuple[str, bytes | None]], key: str) -> str:
    """Of names with the SHA-256 of each file, None for a folder; folders that are only implied count too."""
    found: dict[str, bytes | None] = {}
    for name, content in entries:
        if name in found and (content or found[name]):
            raise _twice(name, key)
        found[name] = content
    for name in list(found):
        while name := name.rpartition("/")[0]:
            if found.setdefault(name, None) is not None:
                raise _twice(name, key)
    return tree.digest_of(found)


def _twice(name: str, key: str) -> Damaged:
    return Damaged(f"{key}: {tree.printable(name)} is in it twice; make it again")
