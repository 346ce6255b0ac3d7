"""What is in a packed folder, read from a stream that may be anything: damaged, cut off, or made to do harm.

A member comes out with a relative name of plain parts below the one top folder, as a file or a folder; links, devices
and everything else are refused. Forwards only, and what tarfile may read for one header is bounded, so that memory is.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from clara_argo.artifacts import tree
from clara_argo.artifacts.errors import Damaged

BLOCK = 1 << 20  # bytes that are unpacked at once
HEADER = 1 << 16  # bytes of one member's headers, long names included
NAME = 3000  # bytes of a whole name; PART: of what is between two slashes
PART = 255
KINDS = {
    tarfile.SYMTYPE: "a link", tarfile.LNKTYPE: "a link", tarfile.FIFOTYPE: "a pipe",
    tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    name: str  # relative, without the top folder; the file's own name when it stands alone
    is_folder: bool
    content: Iterator[memoryview]  # to be read to its end before the next member


def members(stream: Iterable[bytes], key: str, limit: int | None) -> Iterator[Member]:
    """Every file and folder but the top one, in the stream's order. `key` is for messages, `limit` bytes of content.

    Raises Damaged, also at the end where the checksum is wrong, and tree.Unusable for links and devices.
    """
    source = _Source(stream, key, limit)
    try:
        yield from _members(source)
        source.finish()
    except zlib.error as error:
        raise Damaged(f"{key}: damaged in the store or on the way ({error}); make it again") from None
    except (tarfile.TarError, ValueError) as error:
        raise Damaged(f"{key}: no packed folder ({error}); make it again") from None


def _members(source: _Source) -> Iterator[Member]:
    top: str | None = None
    alone = False  # the one top entry is a file
    with tarfile.open(fileobj=cast(IO[bytes], source), mode="r:", encoding="utf-8") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would remember every one
            _check(info, source.key)
            first, _, rest = info.name.partition("/")
            if top is None:
                top, alone = first, info.isreg() and not rest
            elif alone or first != top or (info.isreg() and not rest):
                raise Damaged(f"{source.key}: more than one entry at its top; it must be one folder")
            content = source.content(0 if info.isdir() else info.size)
            if rest or alone:
                yield Member(name=rest or first, is_folder=info.isdir(), content=content)
            for _ in content:  # what the caller did not read
                pass
    if top is None:
        raise Damaged(f"{source.key}: nothing is in it, not even a folder; make it again")


def _check(info: tarfile.TarInfo, key: str) -> None:
    """Raises tree.Unusable for what is neither a file nor a folder, Damaged for a name that leads elsewhere."""
    if info.issparse() or not (info.isreg() or info.isdir()):
        kind = KINDS.get(info.type, "no regular file")
        raise tree.Unusable(
            f"{key}: {tree.printable(info.name)} is {kind}; only regular files and folders are handed on"
        )
    parts = [os.fsencode(part) for part in info.name.split("/")]
    if any(part in (b"", b".", b"..") or b"\0" in part for part in parts):
        raise Damaged(f"{key}: {tree.printable(info.name)} is no name inside a folder")
    if sum(map(len, parts)) > NAME or max(map(len, parts)) > PART:
        raise Damaged(f"{key}: {tree.printable(info.name)} is too long a name; use shorter names and fewer folders")


class _Source:
    """The unpacked bytes as tarfile reads them: forwards, headers only; and a member's content for us."""

    def __init__(self, stream: Iterable[bytes], key: str, limit: int | None) -> None:
        self.key = key
        self._stream = _gunzip(stream, key)
        self._have = memoryview(b"")
        self._at = 0
        self._header = HEADER  # bytes that may still be read for this header
        self._last = b""
        self._limit = limit

    def read(self, size: int) -> bytes:
        self._header -= size
        if size < 0 or self._header < 0:
            raise Damaged(f"{self.key}: a header in it is too large; make it again")
        self._last = b"".join(self._blocks(size))
        return self._last

    def tell(self) -> int:
        return self._at

    def seek(self, to: int) -> None:
        for _ in self._blocks(to - self._at):
            pass

    def close(self) -> None:
        pass

    def content(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes. Raises Damaged when there are fewer, or more than the limit in all."""
        if self._limit is not None:
            self._limit -= size
            if self._limit < 0:
                raise Damaged(f"{self.key}: larger than allowed when unpacked; raise the limit if that is right")
        left = size
        for block in self._blocks(size):
            left -= len(block)
            yield block
        if left:
            raise Damaged(f"{self.key}: cut off; make it again")
        self._header = HEADER

    def finish(self) -> None:
        """Read to the end, where the checksum is. A tar ends with zeros; tarfile also ends at what it cannot read."""
        ends = self._last == bytes(tarfile.BLOCKSIZE)
        for block in self._stream:
            ends = ends and not block.strip(b"\0")
        if not ends or bytes(self._have).strip(b"\0"):
            raise Damaged(f"{self.key}: cut off, or something follows its end; make it again")

    def _blocks(self, size: int) -> Iterator[memoryview]:
        """Up to `size` bytes; fewer at the end of the stream."""
        while size > 0:
            if not self._have:
                self._have = memoryview(next(self._stream, b""))
                if not self._have:
                    return
            block, self._have = self._have[:size], self._have[size:]
            size -= len(block)
            self._at += len(block)
            yield block


def _gunzip(stream: Iterable[bytes], key: str) -> Iterator[bytes]:
    """Unpacked, in blocks of at most BLOCK bytes. Raises zlib.error for wrong data, Damaged for an end too early."""
    unzip = zlib.decompressobj(wbits=31)
    for packed in stream:
        while packed:
            if unzip.eof:  # another part may follow the first, as gzip allows
                unzip = zlib.decompressobj(wbits=31)
            if block := unzip.decompress(packed, BLOCK):
                yield block
            packed = unzip.unused_data if unzip.eof else unzip.unconsumed_tail
    while not unzip.eof:
        block = unzip.decompress(b"", BLOCK)
        if not block:
            raise Damaged(f"{key}: cut off; make it again")
        yield block
