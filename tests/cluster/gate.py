"""A small HTTP server in the test that stages ask: may I go on, is it my first time?

Pods of the one-node cluster share the host's network. On another cluster CLARA_TEST_ADDRESS names this machine as its
pods see it.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

WAITS = 120.0  # seconds that a stage waits at the gate


class Gate:
    """`GET /go` is answered once `open` was called, `GET /first/NAME` with "yes" once and then "no"."""

    def __init__(self, *, closed: bool) -> None:
        self._go = threading.Event()
        self._asked: Counter[str] = Counter()
        if not closed:
            self._go.set()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gate._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        address = os.environ.get("CLARA_TEST_ADDRESS", "127.0.0.1")
        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{address}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def open(self) -> None:
        self._go.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._go.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self._asked[request.path] += 1
        text = "yes" if self._asked[request.path] == 1 else "no"
        if request.path == "/go":
            self._go.wait(WAITS)
        try:
            request.send_response(200)
            request.end_headers()
            request.wfile.write(text.encode())
        except OSError:
            return  # the stage was stopped while it waited
