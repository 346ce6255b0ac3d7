"""Destinations that take the connection and then misbehave: bounded, within the deadlines, and said as it was."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from adapter.hospital import HOST, Pacs, Study
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from adapter import wire
from clara_adapter import transport
from clara_adapter.pdu import negotiate, read_request
from clara_adapter.scu import Deadlines, Outgoing, Scu, Unreachable
from clara_argo.model.route import Destination

MIB = 1 << 20
FLOOD = 400 * MIB  # what a destination sends at most; and what it gets rid of when nobody reads: two socket buffers
BUFFERS = 64 * MIB
HUGE = b"\0\x7f\xff\xff\xf0"  # of a header: reserved, 2 GiB
QUICK = Deadlines(connect=5, associate=2, answer=2, stall=2, instance=5)


@dataclass
class Caller:
    """The destination's end of one connection."""

    connection: socket.socket
    sent: int = 0

    def read(self) -> tuple[int, bytes]:
        """One PDU."""
        head = self._exactly(6)
        return head[0], self._exactly(int.from_bytes(head[2:], "big"))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.connection.recv(size - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def say(self, data: bytes) -> None:
        self.connection.sendall(data)
        self.sent += len(data)

    def flood(self, data: bytes) -> None:
        while self.sent < FLOOD:
            self.say(data)

    def accept(self) -> None:
        """Read the A-ASSOCIATE-RQ, accept all of it."""
        _, body = self.read()
        _, answer = negotiate(read_request(body), 16384)
        self.say(answer)

    def take_instance(self) -> None:
        """Command and data set."""
        self.accept()
        ended = 0
        while ended < 2:
            _, body = self.read()
            while body:
                length = int.from_bytes(body[:4], "big")
                ended += bool(body[5] & 2)
                body = body[4 + length :]


Behaviour = Callable[[Caller], None]


@contextlib.contextmanager
def destination(behave: Behaviour) -> Iterator[tuple[int, list[Caller]]]:
    """Its port, and its callers."""
    callers: list[Caller] = []
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the caller has hung up, or there was none
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(30)
                    callers.append(Caller(connection))
                    behave(callers[0])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(server.getsockname()[1]), callers
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join()


def scu(port: int) -> Scu:
    return Scu("CT_AI", Destination(name="PACS", ae_title="PACS", host=HOST, port=port), QUICK)


@pytest.fixture
def file(tmp_path: Path) -> Outgoing:
    image = Study().slice(1)
    path = tmp_path / "1.dcm"
    image.save_as(path, enforce_file_format=True)
    return Outgoing(1, path, CTImageStorage, str(image.SOPInstanceUID), ExplicitVRLittleEndian)


def failure(port: int, file: Outgoing) -> tuple[str, list[int | None]]:
    """What is said of a send that fails, and the statuses that were told."""
    told: list[int | None] = []
    with pytest.raises(Unreachable) as raised:
        scu(port).send([file], lambda file, status: told.append(status))
    assert "cannot be reached" not in str(raised.value)
    return raised.value.why, told


def until_hung_up(caller: Caller) -> None:
    while caller.connection.recv(65536):
        pass


def silent(caller: Caller) -> None:
    until_hung_up(caller)


def closes(caller: Caller) -> None:
    caller.read()


def aborts(caller: Caller) -> None:
    caller.read()
    caller.say(wire.pdu(wire.ABORTED, bytes(4)))
    until_hung_up(caller)


def speaks_http(caller: Caller) -> None:
    caller.read()
    caller.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    until_hung_up(caller)


def answers_half(caller: Caller) -> None:
    caller.read()
    caller.say(b"\2\0\0\0\1\0" + bytes(17))


def answers_something_else(caller: Caller) -> None:
    caller.read()
    caller.say(wire.pdu(wire.RELEASED, bytes(4)))
    until_hung_up(caller)


def answers_by_the_byte(caller: Caller) -> None:
    caller.read()
    caller.say(b"\2\0\0\1\0\0")
    while True:
        caller.say(b"\0")
        time.sleep(0.1)


def announces_two_gibibytes(caller: Caller) -> None:
    caller.read()
    caller.say(b"\2" + HUGE)
    caller.flood(bytes(MIB))


ASSOCIATING: dict[Behaviour, str] = {
    silent: "did not answer in 2 s",
    closes: "closed the connection",
    aborts: "aborted the association",
    speaks_http: "sent something that is no DICOM",
    answers_half: "closed the connection in the middle of an answer",
    answers_something_else: "sent something else than an answer",
    answers_by_the_byte: "did not answer in 2 s",
    announces_two_gibibytes: "sent or announced 2147483638 bytes where an answer has some hundred",
}


@pytest.mark.parametrize("behave", ASSOCIATING, ids=lambda behave: behave.__name__)
def test_asked_for_an_association(file: Outgoing, behave: Behaviour) -> None:
    with destination(behave) as (port, callers):
        why, told = failure(port, file)
    assert why.startswith(ASSOCIATING[behave]) and why.endswith("when it was asked for an association")
    assert told == []
    assert callers[0].sent < BUFFERS


def store_silent(caller: Caller) -> None:
    caller.take_instance()
    until_hung_up(caller)


def store_closes(caller: Caller) -> None:
    caller.take_instance()


def store_aborts(caller: Caller) -> None:
    caller.take_instance()
    caller.say(wire.pdu(wire.ABORTED, bytes(4)))
    until_hung_up(caller)


def store_garbage(caller: Caller) -> None:
    caller.take_instance()
    caller.say(b"\xff" * 100)
    until_hung_up(caller)


def store_two_gibibytes(caller: Caller) -> None:
    caller.take_instance()
    caller.say(b"\4" + HUGE)
    caller.flood(bytes(MIB))


def store_endless_command(caller: Caller) -> None:
    """Each PDU is small and right; the command set never ends."""
    caller.take_instance()
    caller.flood(wire.p_data(bytes(8000), 1))


STORING: dict[Behaviour, str] = {
    store_silent: "did not answer within the time limit",
    store_closes: "closed the connection",
    store_aborts: "aborted the association",
    store_garbage: "sent something that is no DICOM",
    store_two_gibibytes: "sent or announced 2147483638 bytes",
    store_endless_command: "sent or announced 26",  # 256 KiB and a little
}


@pytest.mark.parametrize("behave", STORING, ids=lambda behave: behave.__name__)
def test_asked_to_store(file: Outgoing, behave: Behaviour) -> None:
    with destination(behave) as (port, callers):
        why, told = failure(port, file)
    assert why.startswith(STORING[behave]) and why.endswith("at instance 1")
    assert told == [None]
    assert callers[0].sent < BUFFERS


def test_asked_for_an_echo() -> None:
    def accepts(caller: Caller) -> None:
        caller.accept()
        caller.read()

    with destination(accepts) as (port, _), pytest.raises(Unreachable, match="closed the connection when it was asked"):
        scu(port).echo()


def test_the_bound_is_of_one_answer_and_many_are_no_flood(file: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER", 1000)
    told: list[int | None] = []
    with Pacs() as pacs:
        scu(pacs.port).send([file] * 20, lambda file, status: told.append(status))
    assert told == [0] * 20
