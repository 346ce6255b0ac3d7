"""Requests and their answers over kept connections: what is tried again here, and what the caller must decide.

A request goes again by itself once, on a new connection, when it cannot have been accepted or does no harm twice;
after 401 when the credentials have changed; after 429 or 503 as the server asks, while there is time. Else: Away.
"""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from clara_argo.errors import Refused
from clara_argo.kubernetes import answers
from clara_argo.kubernetes.access import Access
from clara_argo.kubernetes.connection import Connection, Pool, Stream, TooLarge, body, headers
from clara_argo.kubernetes.credentials import Credential

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
JSON = "application/json"
SAME_CLOCK = 2.0  # seconds; a Date has no fractions and takes its time to come


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content: str = ""
    again: bool = False  # does no harm when it arrives twice

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


class Exchange:
    """Any thread may use it. Times in seconds. `ahead`: of our clock is the server's, by its last answer."""

    def __init__(self, access: Access, timeout: float) -> None:
        self.access, self.timeout, self.ahead = access, timeout, 0.0
        self._pool = Pool(access, timeout)

    def send(self, request: Request) -> dict[str, Any]:
        """The object that the server answers with. Raises what `answers` makes of the trouble."""
        where, end = self.where(request), time.monotonic() + self.timeout
        renewed = False
        while True:
            code, data, pause = self._once(request, where)
            if 200 <= code < 300:
                return answers.parsed(data, where)
            if code == 401 and not renewed and self.access.credentials.refused():
                renewed = True
            elif code in (429, 503) and pause is not None and time.monotonic() + pause < end:
                time.sleep(pause)
            else:
                raise answers.refusal(code, data, request.method, where)

    def stream(self, request: Request, silence: float) -> Stream:
        """An answer to be read line by line, over a connection of its own."""
        where = self.where(request)
        renewed = False
        while True:
            credential = self.access.credentials.now()
            connection = self._pool.new(credential.tls, self.timeout)
            answer = self._answer(connection, request, credential, where, may_fail=False)
            if answer is None:  # a new connection that fails while it is written to
                raise answers.trouble(
                    ConnectionError("connection lost"), request.method, where, self.timeout, sent=False
                )
            if answer.status == 200:
                stream = Stream(connection, answer, where)
                stream.patience(silence)
                return stream
            code, data = answer.status, self._body(connection, answer, request, where)
            connection.close()
            if code != 401 or renewed or not self.access.credentials.refused():
                raise answers.refusal(code, data, request.method, where)
            renewed = True

    def where(self, request: Request) -> str:
        return f"{self.access.server}: {request.method} {request.path}"

    def close(self) -> None:
        self._pool.close()

    def _once(self, request: Request, where: str) -> tuple[int, bytes, float | None]:
        """Status, body, and the seconds that the server asks to wait. A dead connection is replaced once."""
        credential = self.access.credentials.now()
        for last in (False, True):
            connection = self._pool.take(credential.tls)
            try:
                answer = self._answer(connection, request, credential, where, may_fail=not last)
                if answer is None:
                    continue
                data = self._body(connection, answer, request, where)
            except BaseException:
                connection.close()
                raise
            pause = _seconds(answer.getheader("Retry-After"))
            self.ahead = _ahead(answer.getheader("Date"))
            if answer.will_close:
                connection.close()
            else:
                self._pool.give(connection)
            return answer.status, data, pause
        raise answers.trouble(ConnectionError("connection lost"), request.method, where, self.timeout, sent=False)

    def _answer(
        self, connection: Connection, request: Request, credential: Credential, where: str, may_fail: bool = True
    ) -> http.client.HTTPResponse | None:
        """The head of the answer; None when the connection was dead and the request may go again."""
        sent = False
        try:
            target = self.access.server.prefix + request.target
            sent = connection.ask(request.method, target, request.body, headers(credential, request.content))
            return connection.getresponse() if sent else None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            dead = isinstance(error, ConnectionError | http.client.HTTPException)
            if sent and dead and request.again and may_fail:
                return None
            raise answers.trouble(error, request.method, where, self.timeout, sent=sent) from None

    def _body(self, connection: Connection, answer: http.client.HTTPResponse, request: Request, where: str) -> bytes:
        try:
            return body(answer)
        except TooLarge:
            connection.close()
            raise Refused(f"{where}: the answer is larger than 64 MiB; ask for less, by label or by name") from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise answers.trouble(error, request.method, where, self.timeout, sent=True) from None


def _seconds(text: str | None) -> float | None:
    """Of a Retry-After header; dates are not used by Kubernetes."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None


def _ahead(date: str | None) -> float:
    """By how many seconds a clock that says so now is before ours; 0 where it says nothing that we understand."""
    try:
        ahead = parsedate_to_datetime(date or "").timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return ahead if abs(ahead) > SAME_CLOCK else 0.0
