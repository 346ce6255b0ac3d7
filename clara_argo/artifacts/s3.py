"""An ArtifactStore in a bucket of an S3-compatible store: one packed object, `<key>.tgz`, for each folder.

Argo's executor reads what is put here and writes what is got from here. Objects of ours carry the folder's digest as
metadata, so that a folder is not sent twice and is compared when it comes back.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from clara_argo.artifacts import Stored, errors, pack, tree, wire
from clara_argo.artifacts.folder import checked
from clara_argo.errors import NotFound

ENDING = ".tgz"
DIGEST = "clara-digest"  # metadata of an object: tree.digest of its folder
PART_SIZE = 8 << 20  # bytes sent in one request; S3 takes at least 5 MiB
SENDERS = 3  # requests at once
BLOCK = 1 << 18  # bytes taken from the connection at once
STARTS = 4  # of a download that breaks off
T = TypeVar("T")


class S3Store:
    """Raises the errors of `artifacts/errors.py`; a request is tried again for some 20 seconds first, and a server that
    is silent is given up after a minute.

    May be used by several threads. `authority` is a file of certificates to trust, PEM.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool = False,
        region: str = "",
        authority: str = "",
    ) -> None:
        self.bucket = bucket
        self.where = f"store {'https' if secure else 'http'}://{endpoint}, bucket '{bucket}'"
        self._client = wire.client(
            endpoint, bucket, access_key, secret_key, secure=secure, region=region, authority=authority
        )

    def put_folder(self, key: str, folder: Path, *, follow: bool = False) -> str:
        """Store a copy, all or nothing; replaces what was there. Returns its digest.

        Nothing is sent where the same is already. `follow`: links count as what they point to. Raises tree.Unusable.
        """
        name = _object(key)
        digest = tree.digest(folder, follow=follow)
        if self._kept_digest(key) == digest:
            return digest
        blocks = pack.pack(folder, top=key.rpartition("/")[2], follow=follow, expect=digest)
        try:
            self._send(name, blocks, digest)
        except errors.LostReply:
            if self._kept_digest(key) != digest:
                raise
        return digest

    def get_folder(self, key: str, into: Path, *, limit: int | None = None) -> Path:
        """Copy into a folder that does not exist yet or is empty, all or nothing. Raises NotFound, Damaged.

        `limit`: bytes that its files may have in all.
        """
        return self._whole(lambda: tree.publish(into, lambda part: self._fill(key, part, limit)))

    def exists(self, key: str) -> bool:
        return self._headers(key) is not None

    def digest(self, key: str) -> str:
        """SHA-256 of names and contents, hex. An object of Argo's, which has no digest, is read. Raises NotFound."""
        if kept := self._kept_digest(key):
            return kept
        return self._whole(lambda: self._read_digest(key))

    def list(self, prefix: str = "") -> tuple[str, ...]:
        """Keys that begin with the prefix, sorted."""
        names = (name.removesuffix(ENDING) for name in self.objects(prefix) if name.endswith(ENDING))
        return tuple(sorted(names))

    def delete(self, key: str) -> None:
        """Deleting what is not there is no error."""
        try:
            with self._asking(key):
                self._client.remove_object(self.bucket, _object(key))
        except NotFound:
            pass

    def objects(self, prefix: str = "") -> tuple[str, ...]:
        """Whole names of all objects that begin with the prefix, also those that are no folders of ours, sorted."""
        return tuple(one.name for one in self.stored(prefix))

    def stored(self, prefix: str = "") -> tuple[Stored, ...]:
        """As `objects`, with size and time."""
        with self._asking(prefix):
            found = self._client.list_objects(self.bucket, prefix=prefix, recursive=True)
            now = datetime.now(UTC)  # where a server says no time: nothing is taken for old then
            entries = [
                Stored(name=entry.object_name or "", size=entry.size or 0, modified=entry.last_modified or now)
                for entry in found
                if not entry.is_dir
            ]
        return tuple(sorted(entries, key=lambda one: one.name))

    def read(self, name: str, limit: int = 1 << 20) -> bytes:
        """The first `limit` bytes of an object of that whole name, such as a log of Argo's. Raises NotFound."""
        return self._whole(lambda: self._read(name, limit))

    def delete_below(self, prefix: str) -> None:
        """Delete every object whose name begins with the prefix and a slash."""
        below = checked(prefix.removesuffix("/")) + "/"
        with self._asking(below):
            refused = next(iter(wire.remove(self._client, self.bucket, self.objects(below))), None)
        if refused is not None:
            raise errors.of(refused.code or "", 0, self.where, f"{refused.name}: {refused.message}")

    def check(self) -> None:
        """Raises what is wrong with address, credentials or bucket; WrongKey, WrongSecret, NoBucket, NoRight, …"""
        with self._asking(""):
            next(iter(self._client.list_objects(self.bucket, prefix="clara-check/")), None)

    def _send(self, name: str, blocks: Iterator[bytes], digest: str) -> None:
        """All or nothing. Once a part has failed minio reads the rest, sends none of it, and gives the upload up.

        A process that is killed leaves its parts in the store: the bucket should drop unfinished uploads by a rule.
        """
        with self._asking(name):
            result = self._client.put_object(
                self.bucket, name, cast(BinaryIO, _Stream(blocks)), -1, "application/gzip", {DIGEST: digest},
                part_size=PART_SIZE, num_parallel_uploads=SENDERS,
            )  # fmt: skip
        if not result.etag:  # S3 may say 200 and then that it failed
            raise errors.of("InternalError", 200, self.where, f"{name} was not put together")

    def _kept_digest(self, key: str) -> str:
        """What the metadata says; empty where there is no object, or none of ours."""
        return _digest_in(self._headers(key) or {})

    def _headers(self, key: str) -> Mapping[str, str] | None:
        """None when there is no such object."""
        name = _object(key)
        try:
            with self._asking(key):
                try:
                    return self._client.stat_object(self.bucket, name).metadata
                except wire.S3Error:  # without a body that says why: a wrong key, no bucket, or no object
                    return self._headers_by_get(name)
        except NotFound:
            return None

    def _headers_by_get(self, name: str) -> Mapping[str, str]:
        response = self._client.get_object(self.bucket, name, length=1)
        response.close()
        return response.headers

    def _fill(self, key: str, part: Path, limit: int | None) -> None:
        with self._download(_object(key)) as (stream, headers):
            found = pack.unpack(stream, part, key=key, limit=limit)
        if _digest_in(headers) not in ("", found):
            raise errors.Damaged(f"{self.where}: {key} is not what was stored, its digest differs; store it again")

    def _read_digest(self, key: str) -> str:
        with self._download(_object(key)) as (stream, _):
            return pack.digest(stream, key=key)

    def _read(self, name: str, limit: int) -> bytes:
        found = bytearray()
        with self._download(name) as (stream, _):
            for block in stream:
                found += block
                if len(found) >= limit:
                    break
        return bytes(found[:limit])

    @contextmanager
    def _download(self, name: str) -> Iterator[tuple[Iterator[bytes], Mapping[str, str]]]:
        with self._asking(name):
            response = self._client.get_object(self.bucket, name)
        try:
            with wire.reading(self.where):
                yield response.stream(BLOCK, decode_content=False), response.headers
        finally:
            response.close()
            response.release_conn()

    def _whole(self, download: Callable[[], T]) -> T:
        """From the start again when the stream breaks off."""
        for _ in range(STARTS - 1):
            try:
                return download()
            except errors.Broken:
                continue
        return download()

    def _asking(self, what: str) -> wire.Asking:
        return wire.asking(self.where, what)


class _Stream(io.RawIOBase):
    """Blocks as something to read from: as many bytes as are asked for, fewer only at the end."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        parts, missing = [], size
        while missing > 0 and (block := self._rest or next(self._blocks, b"")):
            parts.append(block[:missing])
            self._rest = block[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)


def _object(key: str) -> str:
    return checked(key) + ENDING


def _digest_in(headers: Mapping[str, str]) -> str:
    return headers.get(f"x-amz-meta-{DIGEST}", "")
