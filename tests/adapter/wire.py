"""Raw DICOM Upper Layer for the receiving side's tests, and a receiver that keeps what it was given.

The raw peer is needed because a well-behaved library refuses to send what these tests send.
Run as a program it is the receiver in a process of its own, so that its memory can be measured.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from clara_adapter.scp import UNKNOWN_CALLED, UNKNOWN_CALLING, Limits, Peer, Received, Refusal, Scp

HOST, CALLED, CALLING = "127.0.0.1", "CLARA", "SENDER"
CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
ACCEPTED, REJECTED, DATA, RELEASED, ABORTED = 2, 3, 4, 6, 7
DATA_SET = b"\x08\x00\x60\x00CS\x02\x00CT"


# -- PDUs -------------------------------------------------------------------------------------------------------


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body)) + body


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def context(number: int, abstract: str, *syntaxes: str) -> bytes:
    names = item(0x30, abstract.encode()) + b"".join(item(0x40, syntax.encode()) for syntax in syntaxes)
    return item(0x20, struct.pack(">BBBB", number, 0, 0, 0) + names)


def associate_rq(
    contexts: bytes | None = None,
    *,
    called: bytes = CALLED.encode(),
    calling: bytes = CALLING.encode(),
    max_length: int = 0,
    user: bytes = b"",
    version: int = 1,
    application: bytes = b"1.2.840.10008.3.1.1.1",
) -> bytes:
    if contexts is None:
        contexts = context(1, CT, EXPLICIT_LE) + context(3, VERIFICATION, IMPLICIT_LE)
    information = item(0x51, struct.pack(">L", max_length)) + item(0x52, b"1.2.3.4") + user
    titles = called.ljust(16)[:16] + calling.ljust(16)[:16]
    body = struct.pack(">HH", version, 0) + titles + bytes(32) + item(0x10, application) + contexts
    return pdu(1, body + item(0x50, information))


def pdv(data: bytes, control: int, number: int = 1) -> bytes:
    """control: 1 command, 3 last of a command, 0 data set, 2 last of a data set."""
    return struct.pack(">LBB", len(data) + 2, number, control) + data


def p_data(data: bytes, control: int, number: int = 1) -> bytes:
    return pdu(4, pdv(data, control, number))


def command(*elements: tuple[int, bytes]) -> bytes:
    parts = []
    for element, value in elements:
        value += b"\0" * (len(value) % 2)
        parts.append(struct.pack("<HHL", 0, element, len(value)) + value)
    body = b"".join(parts)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def u16(value: int) -> bytes:
    return struct.pack("<H", value)


def store_rq(uid: bytes | str, sop_class: str = CT, message: int = 1) -> bytes:
    raw = uid.encode() if isinstance(uid, str) else uid
    return command(
        (0x0002, sop_class.encode()), (0x0100, u16(1)), (0x0110, u16(message)), (0x0700, u16(2)), (0x0800, u16(1)),
        (0x1000, raw),
    )  # fmt: skip


def echo_rq(message: int = 1) -> bytes:
    return command((0x0002, VERIFICATION.encode()), (0x0100, u16(0x30)), (0x0110, u16(message)), (0x0800, u16(0x101)))


def whole_store(uid: str, data: bytes, chunk: int = 16000, number: int = 1, sop_class: str = CT) -> bytes:
    """A C-STORE request as a stream of PDUs."""
    out = [p_data(store_rq(uid, sop_class), 3, number)]
    starts = range(0, len(data), chunk)
    out += [p_data(data[at : at + chunk], 2 if at + chunk >= len(data) else 0, number) for at in starts]
    return b"".join(out)


RELEASE = pdu(5, bytes(4))


class RawPeer:
    """A connection that sends whatever it is told to."""

    def __init__(self, address: tuple[str, int], *, source: str = HOST, timeout: float = 20) -> None:
        self.socket = socket.create_connection(address, timeout=timeout, source_address=(source, 0))

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def exactly(self, size: int) -> bytes:
        out = b""
        while len(out) < size and (part := self.socket.recv(size - len(out))):
            out += part
        return out

    def answer(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, b"") when the connection is closed or reset."""
        try:
            head = self.exactly(6)
            return (head[0], self.exactly(struct.unpack(">L", head[2:])[0])) if len(head) == 6 else (0, b"")
        except ConnectionError:
            return 0, b""

    def associate(self, request: bytes | None = None) -> tuple[int, bytes]:
        self.send(associate_rq() if request is None else request)
        return self.answer()

    def status(self) -> int:
        """Status of the next DIMSE response, which may come in several PDUs; -1 when something else came."""
        whole = b""
        while True:
            kind, body = self.answer()
            if kind != DATA:
                return -1
            whole += body[6:]
            if body[5] & 2:
                break
        at = whole.find(struct.pack("<HHL", 0, 0x0900, 2))
        return int(struct.unpack_from("<H", whole, at + 8)[0]) if at >= 0 else -1

    def store(self, uid: bytes | str, data: bytes = DATA_SET, *, number: int = 1, sop_class: str = CT) -> int:
        self.send(p_data(store_rq(uid, sop_class), 3, number), p_data(data, 2, number))
        return self.status()

    def echo(self) -> int:
        self.send(p_data(echo_rq(), 3, 3))
        return self.status()

    def release(self) -> int:
        self.send(RELEASE)
        return self.answer()[0]

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def echo(address: tuple[str, int], source: str = HOST) -> int:
    """Status of a C-ECHO on an association of its own."""
    with RawPeer(address, source=source) as peer:
        assert peer.associate()[0] == ACCEPTED
        status = peer.echo()
        assert peer.release() == RELEASED
        return status


# -- receiver ---------------------------------------------------------------------------------------------------


def only_clara(peer: Peer) -> Refusal | None:
    if peer.called != CALLED:
        return UNKNOWN_CALLED
    return None if peer.calling == CALLING else UNKNOWN_CALLING


@dataclass
class Receiver:
    """A Scp whose `store` moves each instance to `objects/<number>.dcm` and answers `status`."""

    folder: Path
    limits: Limits = field(default_factory=Limits)
    admit: Callable[[Peer], Refusal | None] = only_clara
    answer: Callable[[Received], int] = lambda received: 0
    options: dict[str, Any] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    ended: list[tuple[Peer, bool]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        (self.folder / "objects").mkdir(parents=True, exist_ok=True)
        self.scp = Scp(
            host=HOST,
            port=0,
            incoming=self.incoming,
            admit=self.admit,
            store=self._store,
            closed=self._closed,
            limits=self.limits,
            **self.options,
        )

    @property
    def incoming(self) -> Path:
        return self.folder / "incoming"

    @property
    def address(self) -> tuple[str, int]:
        return self.scp.address

    def file(self, number: int) -> Path:
        return self.folder / "objects" / f"{number}.dcm"

    def _store(self, received: Received) -> int:
        assert received.path.parent == self.incoming
        assert received.path.stat().st_size == received.size
        status = self.answer(received)
        if status == 0:
            received.path.rename(self.file(len(self.received)))
            self.received.append(received)
        return status

    def _closed(self, peer: Peer, aborted: bool) -> None:
        with self.changed:
            self.ended.append((peer, aborted))
            self.changed.notify_all()

    def wait_ended(self, count: int = 1) -> list[bool]:
        """Until so many associations have ended; whether each was aborted."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ended) >= count, 20)
        return [aborted for _, aborted in self.ended]

    def parts(self) -> list[str]:
        return sorted(path.name for path in self.incoming.iterdir())


@contextlib.contextmanager
def receiver(folder: Path, **options: Any) -> Iterator[Receiver]:
    made = Receiver(folder, **options)
    with made.scp:
        yield made


# -- receiver in a process --------------------------------------------------------------------------------------


@dataclass
class Process:
    process: subprocess.Popen[str]
    address: tuple[str, int]

    def status(self, key: str) -> int:
        """A number of /proc/<pid>/status; memory in KiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise KeyError(key)


@contextlib.contextmanager
def receiver_process(folder: Path, **limits: float) -> Iterator[Process]:
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder), json.dumps(limits)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        yield Process(process, (HOST, int(process.stdout.readline())))
        process.stdin.close()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def main() -> None:
    with receiver(Path(sys.argv[1]), limits=Limits(**json.loads(sys.argv[2]))) as made:
        print(made.address[1], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
