"""What a server may say that is no Kubernetes API, byte by byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara_argo.errors import ClaraError, Refused
from clara_argo.kubernetes import connection
from clara_argo.kubernetes.access import Access, Address
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.credentials import Credential, Fixed
from clara_argo.kubernetes.errors import Away
from clara_argo.kubernetes.kinds import WORKFLOWS

HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def says(answer: bytes, times: int = 2, *, hold: bool = False) -> Iterator[Access]:
    """A server that answers every connection so and closes it; with `hold` it closes at the end only."""
    done = threading.Event()

    def serve() -> None:
        for _ in range(times):
            try:
                one, _ = listening.accept()
            except OSError:
                return
            with one:
                one.recv(65536)
                try:
                    one.sendall(answer)
                except OSError:
                    continue
                if hold:
                    done.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        try:
            port = listening.getsockname()[1]
            yield Access(server=Address(False, "127.0.0.1", port, ""), credentials=Fixed(None))
        finally:
            done.set()
            listening.shutdown(socket.SHUT_RDWR)
            server.join(10)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Away),
        (b"SSH-2.0-OpenSSH_9\r\n", Away),
        (b"HTTP/1.1 999999 x\r\n\r\n", Away),
        (HEAD + b"Content-Length: 100\r\n\r\n{}", Away),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}", Away),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}", Away),
        (HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n{}", Away),
        (HEAD + b"X: 1\r\n" * 500 + b"\r\n{}", Away),
        (HEAD + b"Content-Length: 15\r\n\r\n<html>Hi</html>", Refused),
        (HEAD + b"Content-Length: 2\r\n\r\n[]", Refused),
        (HEAD + b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000, Refused),
        (HEAD + b"Content-Length: 2\r\n\r\n\xff\xfe", Refused),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://x\r\nContent-Length: 0\r\n\r\n", Refused),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nhey", Away),
        (b"HTTP/1.1 503 x\r\nRetry-After: Fri, 01 Jan 2027 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n", Away),
    ],
)
def test_what_is_no_kubernetes_api(answer: bytes, error: type[ClaraError]) -> None:
    with says(answer) as access, Api(access, "clara", timeout=10) as api, pytest.raises(error) as caught:
        api.get(WORKFLOWS, "one")
    assert str(caught.value).startswith(str(access.server))


def test_an_answer_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_BODY", 1 << 20)
    answer = HEAD + b"Connection: close\r\n\r\n" + b" " * (3 << 20)
    with says(answer) as access, Api(access, "clara", timeout=10) as api, pytest.raises(Refused, match="larger than"):
        api.list(WORKFLOWS)


def test_a_server_that_falls_silent_within_an_answer() -> None:
    with (
        says(HEAD + b"Content-Length: 100\r\n\r\n{", hold=True) as access,
        Api(access, "clara", timeout=0.2) as api,
        pytest.raises(Away, match="no answer within"),
    ):
        api.get(WORKFLOWS, "one")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with (
        Api(Access(server=Address(False, "127.0.0.1", port, ""), credentials=Fixed(None)), "clara") as api,
        pytest.raises(Away, match="cannot be reached") as caught,
    ):
        api.create(WORKFLOWS, {"metadata": {"name": "one"}})
    assert not caught.value.maybe_done


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda data: HEAD + b"\r\n" + data)))
def test_any_bytes_are_an_error_of_ours(answer: bytes) -> None:
    with says(answer) as access, Api(access, "clara", timeout=10) as api:
        try:
            assert isinstance(api.get(WORKFLOWS, "one"), dict)
        except ClaraError as error:
            assert str(access.server) in str(error)


class Renewed:
    """Credentials that are another time good."""

    def __init__(self) -> None:
        self.token = "old"

    def now(self) -> Credential:
        return Credential(None, f"Bearer {self.token}")

    def refused(self) -> bool:
        changed, self.token = self.token != "new", "new"
        return changed


def test_credentials_that_were_refused_are_asked_for_once_more() -> None:
    from unit.kubernetes.stub import Stub

    with Stub() as stub:
        stub.token = "new"
        with Api(stub.access(Renewed())) as api:
            api.create(WORKFLOWS, {"metadata": {"name": "one"}})
        with Api(stub.access(Renewed())) as api, api.watch(WORKFLOWS) as watch:
            assert [next(watch).type, next(watch).type] == ["ADDED", "SYNCED"]
        stub.token = "another"
        count = len(stub.requests)
        with Api(stub.access(Renewed())) as api, pytest.raises(Refused, match="log in again"):
            api.list(WORKFLOWS)
        assert len(stub.requests) == count + 2
