"""A pretended S3 server that answers what a test wants: the codes and broken streams that no real one gives on demand.

    with Stub() as stub:
        stub.say(503, code="SlowDown")               # for one request; then the next of what was said
        stub.say(200, body=b"half", length=8)        # ends the connection in the middle
    assert stub.asked == ["HEAD /clara/k.tgz", …]

What was not said is answered as an empty bucket would.
"""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

EMPTY = b"""<?xml version="1.0"?>
<ListBucketResult><Name>clara</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # said, when it is not that of the body
    wait: Callable[[], object] = bool  # before the answer


class Stub:
    """Listens on 127.0.0.1 between `with` and its end; with TLS where a context is given."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        self.always: Answer | None = None  # when nothing more specific was said
        self._said: deque[Answer] = deque()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.endpoint = f"127.0.0.1:{self._server.server_address[1]}"

    def say(self, status: int, *, code: str = "", times: int = 1, body: bytes = b"", **more: object) -> None:
        answer = Answer(status=status, body=_error(code) if code else body, **more)  # type: ignore[arg-type]
        self._said.extend([answer] * times)

    def say_always(self, status: int, *, code: str = "", body: bytes = b"", **headers: str) -> None:
        self.always = Answer(status=status, body=_error(code) if code else body, headers=headers)

    def answer(self, method: str, path: str) -> Answer:
        self.asked.append(f"{method} {path}")
        if self._said:
            return self._said.popleft()
        if self.always is not None:
            return self.always
        if method == "GET" and "list-type=2" in path:
            return Answer(status=200, body=EMPTY)
        if method in ("HEAD", "GET"):
            return Answer(status=404, body=_error("NoSuchKey"))
        return Answer(status=200, headers={"ETag": '"1"'})

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said {code}</Message></Error>".encode()


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = stub.answer(self.command, self.path)
            answer.wait()
            self.send_response(answer.status)
            if answer.body.startswith(b"<?xml"):
                self.send_header("Content-Type", "application/xml")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            if answer.length is not None:
                self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler
