"""The connection to an S3-compatible store: the only module that knows minio and urllib3.

Every request has a deadline and is tried again for a short while, and what goes wrong comes out as one of the errors of
`artifacts/errors.py`. Knows no folders. Importing it takes half a second of CPU, so import it where a store is opened;
it raises NotInstalled where the client is missing.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self
from xml.etree.ElementTree import ParseError

from clara_argo.artifacts import errors
from clara_argo.errors import ClaraError, NotFound, NotInstalled, UsageError

try:
    import urllib3
    from minio import Minio
    from minio.deleteobjects import DeleteError, DeleteObject
    from minio.error import InvalidResponseError, MinioException, S3Error
    from urllib3.exceptions import HTTPError, MaxRetryError, SSLError
except ModuleNotFoundError as error:
    raise NotInstalled(f"an S3 store needs {error.name}: pip install 'clara-argo[argo]'") from error

CONNECT = 5.0  # seconds until a connection stands
SILENCE = 30.0  # seconds without a byte
PATIENCE = 20.0  # seconds, from its first failure, in which a request is tried again
FIRST = 0.2  # seconds before the second time it is tried again; the first is at once
LONGEST = 3.0  # seconds between two tries
AWAY = (408, 429, 500, 502, 503, 504)  # answers that may be another one soon
CONNECTIONS = 8
ENDPOINT = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
MISSING = ("NoSuchKey", "NoSuchObject", "NoSuchVersion", "ResourceNotFound")


class _Patience(urllib3.Retry):
    """Tries again, more and more slowly, until PATIENCE seconds have passed since the first failure."""

    until: float | None = None

    def increment(self, *args: Any, **more: Any) -> Self:
        after = super().increment(*args, **more)
        cause = more.get("error")
        after.until = self.until or time.monotonic() + PATIENCE
        if _for_good(cause) or time.monotonic() > after.until:
            raise MaxRetryError(more["_pool"], "", cause)
        return after


def client(
    endpoint: str, bucket: str, access_key: str, secret_key: str, *, secure: bool, region: str = "", authority: str = ""
) -> Minio:
    """A client with a pool of its own. `region` empty: the usual one; `authority`: a PEM file in place of the system's.

    Raises UsageError for an endpoint that is no `host:port`, an impossible bucket, an authority that cannot be read.
    """
    if not ENDPOINT.fullmatch(endpoint):
        raise UsageError(f"store {endpoint!r}: give host:port, without http:// and without a path")
    if not BUCKET.fullmatch(bucket):
        raise UsageError(f"store {endpoint}: {bucket!r} is no name of a bucket: 3 to 63 of a-z, 0-9, '.' and '-'")
    if not access_key or not secret_key:
        raise UsageError(f"store {endpoint}: access key and secret key are needed; see 'credentials' of the target")
    patience = _Patience(
        total=100, redirect=False, status_forcelist=AWAY, allowed_methods=None, backoff_factor=FIRST,
        backoff_max=LONGEST, raise_on_status=False, respect_retry_after_header=False,
    )  # fmt: skip
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT, read=SILENCE),
        maxsize=CONNECTIONS,
        retries=patience,
        ssl_context=_trust(authority) if secure else None,
    )
    region = region or ("" if endpoint.partition(":")[0].endswith(".amazonaws.com") else "us-east-1")
    try:
        return Minio(endpoint, access_key, secret_key, secure=secure, region=region or None, http_client=pool)
    except ValueError as error:
        raise UsageError(f"store {endpoint!r}: {error}; give host:port") from None


def _trust(authority: str) -> ssl.SSLContext:
    if authority and not Path(authority).is_file():
        raise UsageError(f"{authority}: no such file; it must hold the certificates to trust, in PEM form")
    try:
        return ssl.create_default_context(cafile=authority or None)
    except ssl.SSLError as error:
        raise UsageError(f"{authority}: no certificates in PEM form ({error.reason})") from None


Asking = AbstractContextManager[None]


@contextmanager
def asking(where: str, what: str) -> Iterator[None]:
    """Turn what goes wrong inside into our errors. `where` names the store and bucket, `what` the object."""
    try:
        yield
    except S3Error as error:
        raise _of_answer(error, where, what) from None
    except InvalidResponseError as error:  # an answer that is no XML: a proxy's, or no S3 at all
        said = str(error)
        code, status = re.search(r"<Code>(\w+)</Code>", said), re.search(r"Response code: (\d+)", said)
        raise errors.of(code[1] if code else "", int(status[1]) if status else 0, where, said) from None
    except MinioException as error:  # a server's failure without a body
        raise errors.of("", int(getattr(error, "status_code", 0)), where, str(error)) from None
    except HTTPError as error:
        raise _of_wire(error, where) from None
    except (ParseError, ValueError) as error:  # what minio raises when it does not understand an answer
        raise errors.of("", 0, where, f"its answer is not S3's: {error}") from None


@contextmanager
def reading(where: str) -> Iterator[None]:
    """The same for a stream that has begun."""
    try:
        yield
    except HTTPError as error:
        raise _of_wire(error, where) from None


def _of_answer(error: S3Error, where: str, what: str) -> ClaraError:
    if error.code in MISSING:
        return NotFound(f"{where}: nothing is stored under {what!r}")
    return errors.of(error.code or "", error.response.status, where, error.message or "")


def _of_wire(error: HTTPError, where: str) -> ClaraError:
    cause = error.reason if isinstance(error, MaxRetryError) else error
    kind = _for_good(cause) or (errors.StoreAway if isinstance(error, MaxRetryError) else errors.Broken)
    return kind(f"{where}: {kind.hint} ({_short(cause)})")


def _for_good(cause: object) -> type[errors.NotTrusted | errors.WrongAddress] | None:
    """What no waiting mends."""
    if not isinstance(cause, SSLError):
        return None
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return errors.NotTrusted
    return errors.WrongAddress if re.search("WRONG_VERSION_NUMBER|RECORD_LAYER|HTTP_REQUEST", str(cause)) else None


def remove(client: Minio, bucket: str, names: Iterable[str]) -> Iterator[DeleteError]:
    """Delete objects, many with one request; yields those that the store does not delete."""
    return client.remove_objects(bucket, (DeleteObject(name) for name in names))


def _short(cause: object) -> str:
    """urllib3's reason without the object it begins with."""
    return re.sub(r"^.*?<?urllib3\.[\w.]+ object at 0x\w+>?[:,]? ?", "", str(cause))[:200]


__all__ = ["Asking", "S3Error", "asking", "client", "reading", "remove"]
