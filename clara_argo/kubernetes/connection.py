"""One HTTP/1.1 connection to an API server, and what is read from it line by line.

Every wait has an end: `timeout` seconds without a byte. A peer that vanished is noticed by TCP's own keep-alive.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

from clara_argo.kubernetes.access import Access
from clara_argo.kubernetes.credentials import Credential
from clara_argo.kubernetes.errors import Away

MAX_BODY = 64 << 20
BLOCK = 1 << 16
KEEP_ALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))  # a dead peer is noticed after 30 s


class TooLarge(Exception):
    """An answer of more than MAX_BODY bytes."""


def _readable(peer: socket.socket, seconds: float) -> bool:
    """Is there something to read, or an end, within so many seconds? Not `select`: it knows 1024 files."""
    poll = select.poll()
    poll.register(peer, select.POLLIN)
    return bool(poll.poll(max(seconds, 0) * 1000))


class Connection(http.client.HTTPConnection):
    """May be used by one thread at a time, for one credential's TLS context. Closes itself at the end of its life."""

    def __init__(self, access: Access, tls: ssl.SSLContext | None, timeout: float) -> None:
        super().__init__(access.server.host, access.server.port, timeout=timeout)
        self.tls, self._tls_name = tls, access.tls_name or access.server.host

    def connect(self) -> None:
        """Raises OSError, ssl.SSLError among them."""
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEP_ALIVE:
                if hasattr(socket, name):
                    plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            self.sock = self.tls.wrap_socket(plain, server_hostname=self._tls_name) if self.tls else plain
        except BaseException:
            plain.close()
            raise

    def stale(self) -> bool:
        """Did the server close it, or say something unasked, while it lay idle?"""
        return self.sock is not None and _readable(self.sock, 0)

    def ask(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> bool:
        """Send a request. False: it cannot have been accepted, because it did not leave whole."""
        if self.sock is None:
            self.connect()
        try:
            self.request(method, target, body, headers)
        except OSError:
            self._last_words()
            self.close()
            return False
        return True

    def _last_words(self) -> None:
        """What TLS of the server said before it hung up, as for a missing client certificate. Raises ssl.SSLError."""
        with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLEOFError):
            if self.tls is not None and self.sock is not None:
                self.sock.recv(1)

    def __del__(self) -> None:
        self.close()


def headers(credential: Credential, content: str = "") -> dict[str, str]:
    from clara_argo import __version__

    said = {"Accept": "application/json", "User-Agent": f"clara-argo/{__version__}"}
    if content:
        said["Content-Type"] = content
    if credential.authorisation:
        said["Authorization"] = credential.authorisation
    return said


def body(answer: http.client.HTTPResponse) -> bytes:
    """All of an answer. Raises TooLarge, OSError, HTTPException."""
    parts, size = [], 0
    while part := answer.read(BLOCK):
        size += len(part)
        if size > MAX_BODY:
            raise TooLarge
        parts.append(part)
    if answer.length:  # http.client says nothing when a body of known length is cut
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(parts)


class Stream:
    """An answer that has no end of its own, as lines. `close` may be called from any thread: the reader then ends."""

    def __init__(self, connection: Connection, answer: http.client.HTTPResponse, where: str) -> None:
        self._connection, self._answer, self._where = connection, answer, where
        # With "Connection: close" http.client takes the socket away from the connection: the answer's file keeps it.
        self._socket: Any = connection.sock or answer.fp.raw._sock  # type: ignore[attr-defined]
        self._buffer = bytearray()
        self._searched = 0
        self._ended = False

    def patience(self, seconds: float) -> None:
        """How long the stream may be silent while a line is awaited."""
        self._socket.settimeout(seconds)

    def wait(self, seconds: float) -> bool:
        """Is there something to read, or an end, within so many seconds?"""
        if self._ended or b"\n" in self._buffer or self._peek():
            return True
        return _readable(self._socket, seconds)

    def _peek(self) -> bool:
        """Did some of it come together with what was read before, or is the stream at its end?"""
        file = self._answer.fp
        if file is None:
            return True
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            found = len(file.peek(1))
            between = self._answer.chunked and self._answer.chunk_left == 0  # the end of a chunk may lie there unread
            return found > (2 if between else 0) or (self._connection.tls is not None and self._socket.pending() > 0)
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True
        finally:
            with contextlib.suppress(OSError):
                self._socket.settimeout(timeout)

    def line(self, limit: int = MAX_BODY) -> bytes | None:
        """The next line without its end, or the first `limit` bytes of a longer one; None at the end.

        Raises Away when the stream is silent for the connection's timeout, or breaks.
        """
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end < 0 and len(self._buffer) < limit and not self._ended:
                self._searched = len(self._buffer)
                self._more()
                continue
            return self._cut(end, limit)

    def _cut(self, end: int, limit: int) -> bytes | None:
        self._searched = 0
        if 0 <= end <= limit:
            found = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            return found
        found = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return found or None

    def _more(self) -> None:
        try:
            part = self._answer.read1(BLOCK)
        except TimeoutError:
            raise Away(f"{self._where}: the stream was silent for too long; try again") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Away(f"{self._where}: the stream broke ({error or type(error).__name__}); try again") from None
        self._buffer += part
        self._ended = not part

    def lines(self, limit: int) -> Iterator[bytes]:
        while (line := self.line(limit)) is not None:
            yield line

    def interrupt(self) -> None:
        """From another thread: whoever reads meets the end."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # TLS's own would change what the reader uses

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


class Pool:
    """Idle connections. Each is used by one thread at a time; an old one of another TLS context is dropped."""

    def __init__(self, access: Access, timeout: float) -> None:
        self._access, self._timeout = access, timeout
        self._lock = threading.Lock()
        self._idle: list[Connection] = []

    def take(self, tls: ssl.SSLContext | None) -> Connection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else Connection(self._access, tls, self._timeout)
            if connection.tls is tls and not connection.stale():
                return connection
            connection.close()

    def give(self, connection: Connection) -> None:
        with self._lock:
            self._idle.append(connection)

    def new(self, tls: ssl.SSLContext | None, timeout: float) -> Connection:
        return Connection(self._access, tls, timeout)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
