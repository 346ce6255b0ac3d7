"""The bounds of the receiving side under attack: memory, threads, waits. A legal echo works throughout.

Sizes are small by default; CLARA_LONG=1 takes the long form. What is asserted are counts and kilobytes, never times.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pynetdicom
import pytest
from adapter.wire import ABORTED, ACCEPTED, RawPeer, receiver, receiver_process

from adapter import wire
from clara_adapter.guard import Limits, Slots, disk_is_full

LONG = bool(os.environ.get("CLARA_LONG"))
GROWTH = 16 * 1024  # KiB


@contextlib.contextmanager
def many(address: tuple[str, int], count: int, first: bytes = b"", source: str = wire.HOST) -> Iterator[list[RawPeer]]:
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(address, source=source)) for _ in range(count)]
        for peer in peers:
            with contextlib.suppress(ConnectionError):
                peer.send(first)
        yield peers


def is_closed(peer: RawPeer) -> bool:
    """Whether the other side has closed within the patience of a test."""
    with contextlib.suppress(ConnectionError):
        while peer.socket.recv(4096):
            pass
    return True


def send_until_refused(peer: RawPeer, chunk: bytes, count: int) -> int:
    """How many chunks were taken."""
    for number in range(count):
        try:
            peer.send(chunk)
        except ConnectionError:
            return number
    return count


def test_an_announced_gigabyte_is_not_read(tmp_path: Path) -> None:
    """E1: an A-ASSOCIATE-RQ of 4 GiB, before any AE title is known."""
    with receiver_process(tmp_path) as made:
        assert wire.echo(made.address) == 0
        before = made.status("VmRSS")
        with RawPeer(made.address) as peer:
            peer.send(struct.pack(">BBL", 1, 0, 0xFFFFFFF0))
            assert send_until_refused(peer, bytes(1 << 20), 256 if LONG else 64) < 32
        assert wire.echo(made.address) == 0
        assert made.status("VmRSS") - before < GROWTH


def test_an_endless_object_stays_out_of_memory_and_off_the_disk(tmp_path: Path) -> None:
    """E5: data set without an end, oversize PDU, a peer that vanishes in an object."""
    size = (256 if LONG else 24) << 20
    with receiver_process(tmp_path, object_bytes=size, drain_bytes=1 << 20) as made:
        assert wire.echo(made.address) == 0
        before = made.status("VmRSS")
        with RawPeer(made.address) as peer:
            assert peer.associate()[0] == ACCEPTED
            peer.send(wire.p_data(wire.store_rq("1.2.3.4.5"), 3))
            chunk = wire.p_data(bytes(250_000), 0)
            taken = send_until_refused(peer, chunk, 4 * size // len(chunk)) * len(chunk)
            assert size < taken < 4 * size - len(chunk)
        with RawPeer(made.address) as peer:
            peer.associate()
            peer.send(wire.p_data(wire.store_rq("1.2.3.4.6"), 3), struct.pack(">BBL", 4, 0, 8 << 20))
            assert send_until_refused(peer, bytes(1 << 20), 64) < 32
        with RawPeer(made.address) as peer:
            peer.associate()
            peer.send(wire.p_data(wire.store_rq("1.2.3.4.7"), 3), wire.p_data(bytes(8000), 0))
        assert wire.echo(made.address) == 0
        assert made.status("VmRSS") - before < GROWTH
    assert list((tmp_path / "incoming").iterdir()) == []
    assert list((tmp_path / "objects").iterdir()) == []


def test_silent_connections_cost_no_thread_and_no_slot(tmp_path: Path) -> None:
    """E8: more silent connections than there are slots."""
    with receiver_process(tmp_path, pending=100, pending_per_address=100) as made:
        assert wire.echo(made.address) == 0
        threads, before = made.status("Threads"), made.status("VmRSS")
        with many(made.address, 256 if LONG else 120) as peers:
            assert wire.echo(made.address) == 0
            assert wire.echo(made.address, "127.0.0.2") == 0
            assert made.status("Threads") <= threads + 4
            assert made.status("VmRSS") - before < GROWTH
            assert is_closed(peers[0])  # who waited longest made room


def test_a_silent_connection_is_dropped(tmp_path: Path) -> None:
    limits = Limits(handshake_seconds=0.5)
    with receiver(tmp_path, limits=limits) as made, many(made.address, 5) as silent:
        with many(made.address, 5, b"\1\0\0\0") as slow:
            assert wire.echo(made.address) == 0
            assert all(is_closed(peer) for peer in [*silent, *slow])
        assert wire.echo(made.address) == 0


def dribble(peer: RawPeer, stop: threading.Event, pause: float = 0.05) -> None:
    with contextlib.suppress(OSError):
        while not stop.wait(pause):
            peer.send(b"\0")


def test_connections_that_dribble_are_dropped(tmp_path: Path) -> None:
    """A byte now and then keeps no request open: the deadline is for the whole of it."""
    with receiver(tmp_path, limits=Limits(handshake_seconds=1)) as made:
        with many(made.address, 12, struct.pack(">BBL", 1, 0, 100_000)) as peers:
            stop = threading.Event()
            threads = [threading.Thread(target=dribble, args=(peer, stop)) for peer in peers]
            for thread in threads:
                thread.start()
            assert wire.echo(made.address) == 0
            assert all(is_closed(peer) for peer in peers)
            stop.set()
            for thread in threads:
                thread.join()
        assert wire.echo(made.address) == 0


OVERDUE = {
    "a PDU that dribbles": (Limits(pdu_seconds=0.5), struct.pack(">BBL", 4, 0, 100_000), b"\0"),
    "a PDU that stops": (Limits(pdu_seconds=0.5), struct.pack(">BBL", 4, 0, 100_000), b""),
    "a header that stops": (Limits(pdu_seconds=0.5), b"\4\0\0", b""),
    "an object that dribbles": (
        Limits(object_seconds=0.5),
        wire.p_data(wire.store_rq("1.2.3"), 3),
        wire.p_data(b"12345678", 0),
    ),
    "an object that stops": (Limits(object_seconds=0.5), wire.p_data(wire.store_rq("1.2.3"), 3), b""),
    "silence": (Limits(idle_seconds=0.5), b"", b""),
    "empty fragments": (Limits(object_seconds=0.5), wire.p_data(wire.store_rq("1.2.3"), 3), wire.p_data(b"", 0)),
}


@pytest.mark.parametrize("name", OVERDUE)
def test_what_takes_too_long_is_aborted(tmp_path: Path, name: str) -> None:
    limits, first, more = OVERDUE[name]
    with receiver(tmp_path, limits=limits) as made, RawPeer(made.address) as peer:
        assert peer.associate()[0] == ACCEPTED
        peer.send(first)
        stop = threading.Event()
        thread = threading.Thread(target=lambda: _repeat(peer, more, stop))
        thread.start()
        assert peer.answer()[0] == ABORTED
        stop.set()
        thread.join()
        assert made.wait_ended() == [True]
        assert made.parts() == []


def _repeat(peer: RawPeer, more: bytes, stop: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while more and not stop.wait(0.02):
            peer.send(more)


def test_work_within_the_deadlines_is_not_disturbed(tmp_path: Path) -> None:
    """Deadlines are for one PDU, one object, one silence; many of them may take longer together."""
    limits = Limits(pdu_seconds=2, object_seconds=2, idle_seconds=2)
    with receiver(tmp_path, limits=limits) as made, RawPeer(made.address) as peer:
        peer.associate()
        for number in range(30 if LONG else 12):
            assert peer.store(f"1.2.{number}", bytes(5000)) == 0
            time.sleep(0.25)
        peer.release()
    assert made.wait_ended() == [False]


def test_a_peer_that_does_not_take_its_answers_is_dropped(tmp_path: Path) -> None:
    with receiver(tmp_path, limits=Limits(send_seconds=0.5)) as made:
        with socket.socket() as quiet:
            quiet.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            quiet.settimeout(20)
            quiet.connect(made.address)
            quiet.sendall(wire.associate_rq())
            echoes = wire.p_data(wire.echo_rq(), 3, 3) * 1000
            with pytest.raises(ConnectionError):
                for _ in range(1000):
                    quiet.sendall(echoes)
        assert made.wait_ended() == [True]
        assert wire.echo(made.address) == 0


def test_slots_are_shared_by_address(tmp_path: Path) -> None:
    with receiver(tmp_path, limits=Limits(associations=6, per_address=4)) as made, contextlib.ExitStack() as stack:
        kinds = []
        for source in ("127.0.0.1", "127.0.0.2"):
            for _ in range(5):
                peer = stack.enter_context(RawPeer(made.address, source=source))
                kinds.append(peer.associate()[0])
        assert kinds == [2, 2, 2, 2, 3, 2, 2, 3, 3, 3]
        assert made.scp.associations == 6


def test_slots_count() -> None:
    slots = Slots(Limits(associations=3, per_address=2))
    assert [slots.take("a"), slots.take("a"), slots.take("a"), slots.take("b"), slots.take("c")] == [
        True, True, False, True, False,
    ]  # fmt: skip
    slots.give_back("a")
    assert len(slots) == 2 and slots.take("c") and not slots.take("b")


def test_watermark(tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    share = 1 - usage.free / usage.total
    assert disk_is_full(tmp_path, Limits(disk_used=share / 2, disk_free=usage.total))
    assert not disk_is_full(tmp_path, Limits(disk_used=min(1.0, share + 0.1), disk_free=usage.total))
    assert not disk_is_full(tmp_path, Limits(disk_used=0.0, disk_free=0))


def test_refused_callers_do_not_pile_up(tmp_path: Path) -> None:
    """Peers that do not close after a refusal are closed by us."""
    with receiver(tmp_path, limits=Limits(linger_seconds=0.3)) as made:
        with many(made.address, 20, wire.associate_rq(called=b"OTHER")) as peers:
            for peer in peers:
                assert peer.answer()[0] == wire.REJECTED
            assert all(is_closed(peer) for peer in peers)
        assert wire.echo(made.address) == 0


# -- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes the certificate of this test")
    paths = (tmp_path / "certificate.pem", tmp_path / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    subprocess.run([*command.split(), "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


def test_silent_tls_connections_block_nobody(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    client = ssl.create_default_context(cafile=str(certificate[0]))
    client.check_hostname = False
    node = pynetdicom.AE(ae_title=wire.CALLING)
    node.add_requested_context(wire.VERIFICATION)
    limits = Limits(handshake_seconds=3)
    with receiver(tmp_path / "spool", limits=limits, options={"tls": server}) as made:
        with many(made.address, 10) as silent, many(made.address, 3, wire.associate_rq()) as plain:
            association = node.associate(*made.address, ae_title=wire.CALLED, tls_args=(client, None))
            assert association.is_established
            assert association.send_c_echo().Status == 0
            association.release()
            assert association.is_released
            assert all(is_closed(peer) for peer in [*plain, *silent])
        assert made.wait_ended() == [False]
