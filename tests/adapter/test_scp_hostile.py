"""The storage SCP with peers that mean harm, or have bugs: what they say is data, what they break ends their own
association, and the next peer is served."""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import struct
from pathlib import Path

import pytest
from adapter.wire import ABORTED, ACCEPTED, CT, DATA_SET, REJECTED, RawPeer, receiver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import examples

from adapter import wire
from clara_adapter import dimse, log
from clara_adapter.guard import Limits
from clara_adapter.pdu import Malformed, read_request
from clara_adapter.scp import Peer
from clara_adapter.stream import Stream

BAD_UIDS = [
    b"../../../evil", b"/etc/passwd", b"1.2.3\0../x", b"1.2." + b"3" * 200, b"", b".", b"..", b"1..2", b"1.02.3",
    b"1.2.3.", b".1.2", b"1.2.3;touch x", b"1.2.3`id`", b"1.2.3$(id)", b"1.2.3\n4", b"1.2.3\n", b"1.2.3\r\nX: y",
    b"%2e%2e%2f", b"1.2.3/4", b"1.2.3\\4", b"C:\\x", b"-1.2", b"1.2.3 4", b" 1.2.3", b"\xd9\xa1.2.3",
    b"{{workflow.name}}", b"1.2." + b"3" * 61,
]  # fmt: skip
BAD_TITLES = [b"../../etc/x", b"A/B", b"a;rm -rf", b"\xff\xfe\x01", b"$(id)", b"", b"..", b"CLARA\n", b"A\\B", b"{{x}}"]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_bad_uids_are_refused_and_nothing_leaves_the_spool(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = tmp_path / "a" / "b" / "spool"
    (tmp_path / "canary").write_text("x")
    before = files_below(tmp_path)
    with receiver(spool) as made, RawPeer(made.address) as peer:
        peer.associate()
        for uid in BAD_UIDS:
            assert peer.store(uid) == dimse.INVALID_INSTANCE, uid
        assert files_below(tmp_path) == before
        assert peer.store(b"1.2.826.0.1.3680043.8.498.7") == 0
    assert files_below(tmp_path) - before == {"a/b/spool/objects/0.dcm"}
    assert "evil" not in caplog.text and "passwd" not in caplog.text


def test_titles_are_only_looked_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = files_below(tmp_path)
    with receiver(tmp_path) as made:
        for raw in BAD_TITLES:
            with RawPeer(made.address) as peer:
                kind, body = peer.associate(wire.associate_rq(calling=raw))
                assert (kind, body[3]) == (REJECTED, 3), raw
            with RawPeer(made.address) as peer:
                kind, body = peer.associate(wire.associate_rq(called=raw))
                assert (kind, body[3]) == (REJECTED, 7), raw
        assert wire.echo(made.address) == 0
    assert files_below(tmp_path) == before
    refused = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(refused) == 2 * len(BAD_TITLES)
    assert all(text.isprintable() and text.isascii() for text in refused)


def store_with(data_type: int = 1, **changes: bytes) -> bytes:
    elements = {"sop_class": CT.encode(), "field": wire.u16(1), "message": wire.u16(1), "uid": b"1.2.3"} | changes
    return wire.command(
        (0x0002, elements["sop_class"]), (0x0100, elements["field"]), (0x0110, elements["message"]),
        (0x0800, wire.u16(data_type)), (0x1000, elements["uid"]),
    )  # fmt: skip


OTHER_REQUESTS = [
    ("C-FIND", store_with(field=wire.u16(0x20)), dimse.UNRECOGNIZED_OPERATION),
    ("C-MOVE", store_with(field=wire.u16(0x21)), dimse.UNRECOGNIZED_OPERATION),
    ("C-GET", store_with(field=wire.u16(0x10)), dimse.UNRECOGNIZED_OPERATION),
    ("N-ACTION", store_with(field=wire.u16(0x130)), dimse.UNRECOGNIZED_OPERATION),
    ("N-EVENT-REPORT", store_with(field=wire.u16(0x100)), dimse.UNRECOGNIZED_OPERATION),
    ("unheard of", store_with(field=wire.u16(0x7777)), dimse.UNRECOGNIZED_OPERATION),
    ("other class", store_with(sop_class=b"1.2.840.10008.5.1.4.1.1.4"), dimse.CLASS_NOT_SUPPORTED),
    ("two classes", store_with(sop_class=CT.encode() + b"\\1.2"), dimse.CLASS_NOT_SUPPORTED),
]


@pytest.mark.parametrize(("request_", "status"), [r[1:] for r in OTHER_REQUESTS], ids=[r[0] for r in OTHER_REQUESTS])
def test_other_requests_are_refused_and_the_association_goes_on(tmp_path: Path, request_: bytes, status: int) -> None:
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        peer.associate()
        peer.send(wire.p_data(request_, 3), wire.p_data(DATA_SET * 100, 2))
        assert peer.status() == status
        assert peer.store("1.2.3") == 0
        assert len(made.received) == 1


def test_an_instance_without_data_is_refused(tmp_path: Path) -> None:
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        peer.associate()
        peer.send(wire.p_data(store_with(data_type=0x101), 3))
        assert peer.status() == dimse.CANNOT_UNDERSTAND
        peer.send(wire.p_data(wire.command((0x0100, wire.u16(0x0FFF)), (0x0120, b"\1\0"), (0x0800, b"\1\1")), 3))
        assert peer.store("1.2.3") == 0  # a cancel request has no answer


def pdv_of(length: int, data: bytes, control: int = 3, number: int = 1) -> bytes:
    return struct.pack(">LBB", length, number, control) + data


STORE = wire.store_rq("1.2.3")
BROKEN = {
    "P-DATA over the maximum": struct.pack(">BBL", 4, 0, 8 << 20) + bytes(100),
    "P-DATA of 4 GiB": struct.pack(">BBL", 4, 0, 0xFFFFFFFF),
    "P-DATA without a PDV": wire.pdu(4, b""),
    "P-DATA of 3 bytes": wire.pdu(4, b"abc"),
    "PDV longer than its PDU": wire.pdu(4, pdv_of(5000, STORE)),
    "PDV of 4 GiB": wire.pdu(4, pdv_of(0xFFFFFFFF, STORE)),
    "PDV of length 1": wire.pdu(4, pdv_of(1, STORE)),
    "PDV of length 0": wire.pdu(4, pdv_of(0, STORE)),
    "bytes behind a PDV": wire.pdu(4, wire.pdv(STORE, 3) + b"xyz"),
    "context never proposed": wire.p_data(STORE, 3, 99),
    "even context": wire.p_data(STORE, 3, 2),
    "data without a command": wire.p_data(DATA_SET, 2),
    "command inside a data set": wire.p_data(STORE, 3) + wire.p_data(STORE, 3),
    "context changes in a message": wire.p_data(STORE, 3, 1) + wire.p_data(DATA_SET, 2, 3),
    "context changes in a command": wire.p_data(STORE[:20], 1, 1) + wire.p_data(STORE[20:], 3, 3),
    "empty command": wire.p_data(b"", 3),
    "garbage as command": wire.p_data(bytes(range(64)), 3),
    "command cut short": wire.p_data(STORE[:-3], 3),
    "command over its limit": wire.p_data(wire.command((0x0100, b"\1\0"), (0x1000, bytes(200_000))), 3),
    "endless command": wire.p_data(bytes(15000), 1) * 3,
    "command without a field": wire.p_data(wire.command((0x0002, b"1.2")), 3),
    "field of four bytes": wire.p_data(wire.command((0x0100, b"\1\0\0\0"), (0x0110, b"\1\0"), (0x0800, b"\1\0")), 3),
    "element of another group": wire.p_data(struct.pack("<HHL", 8, 0x16, 2) + b"AB", 3),
    "a response": wire.p_data(store_with(data_type=0x101, field=wire.u16(0x8001)), 3),
    "second A-ASSOCIATE-RQ": wire.associate_rq(),
    "A-ASSOCIATE-AC": wire.pdu(2, bytes(68)),
    "A-RELEASE-RP": wire.pdu(6, bytes(4)),
    "release of wrong length": wire.pdu(5, bytes(400)),
    "release inside a message": wire.p_data(STORE, 3) + wire.RELEASE,
    "unknown PDU": wire.pdu(9, b"x"),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_rules_is_aborted(tmp_path: Path, name: str) -> None:
    with receiver(tmp_path) as made:
        with RawPeer(made.address) as peer:
            assert peer.associate()[0] == ACCEPTED
            peer.send(BROKEN[name])
            kind, body = peer.answer()
            assert (kind, body[2]) == (ABORTED, 2)
            assert peer.answer() == (0, b"")
        assert made.wait_ended() == [True]
        assert made.received == [] and made.parts() == []
        assert wire.echo(made.address) == 0


RQ = wire.associate_rq()
BROKEN_REQUESTS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "P-DATA": wire.p_data(STORE, 3),
    "4 GiB": struct.pack(">BBL", 1, 0, 0xFFFFFFF0),
    "no items": wire.pdu(1, b"\0\1"),
    "item longer than the PDU": wire.pdu(1, RQ[6:74] + struct.pack(">BBH", 0x10, 0, 9999) + b"1.2"),
    "item header cut": wire.pdu(1, RQ[6:] + b"\x20\0"),
    "context twice": wire.associate_rq(wire.context(1, CT, "1.2") * 2),
    "even context": wire.associate_rq(wire.context(2, CT, "1.2")),
    "context without a class": wire.associate_rq(wire.item(0x20, b"\1\0\0\0" + wire.item(0x40, b"1.2"))),
    "context of one byte": wire.associate_rq(wire.item(0x20, b"\1")),
    "class longer than its context": wire.associate_rq(wire.item(0x20, b"\1\0\0\0\x30\0\xff\xff1.2")),
    "context without bytes": wire.associate_rq(wire.item(0x20, b"")),
    "role of wrong length": wire.associate_rq(user=wire.item(0x54, b"\xff\xff1.2\1\0")),
}


@pytest.mark.parametrize("name", BROKEN_REQUESTS)
def test_a_broken_request_is_aborted_before_anybody_is_asked(tmp_path: Path, name: str) -> None:
    asked: list[Peer] = []
    with receiver(tmp_path, admit=asked.append) as made, RawPeer(made.address) as peer:
        peer.send(BROKEN_REQUESTS[name])
        assert peer.answer()[0] in (ABORTED, 0)
        assert asked == []


@pytest.mark.parametrize(
    ("request_", "numbers"),
    [(wire.associate_rq(version=2), (1, 2, 2)), (wire.associate_rq(application=b"1.2.3"), (1, 1, 2))],
)
def test_a_request_of_another_protocol_is_rejected(tmp_path: Path, request_: bytes, numbers: tuple[int, ...]) -> None:
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        kind, body = peer.associate(request_)
        assert kind == REJECTED
        assert tuple(body[1:4]) == numbers


def test_odd_proposals_are_answered(tmp_path: Path) -> None:
    huge = wire.item(0x20, b"\1\0\0\0" + wire.item(0x30, b"\xff" * 30_000) + wire.item(0x40, b"\xfe" * 30_000))
    roles = wire.item(0x54, b"\0\5" + b"1.2.3" + b"\1\0") * 2000
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        kind, body = peer.associate(wire.associate_rq(huge + wire.context(3, wire.VERIFICATION, "1.2.840.10008.1.2")))
        assert kind == ACCEPTED and len(body) < 500
        assert peer.echo() == 0
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        kind, body = peer.associate(wire.associate_rq(user=roles))
        assert kind == ACCEPTED and len(body) < 500


def test_an_object_over_its_limit_is_answered_and_an_endless_one_aborted(tmp_path: Path) -> None:
    limits = Limits(object_bytes=100_000, drain_bytes=200_000)
    with receiver(tmp_path, limits=limits) as made:
        with RawPeer(made.address) as peer:
            peer.associate()
            peer.send(wire.whole_store("1.2.1", bytes(100_000)))
            assert peer.status() == 0
            peer.send(wire.whole_store("1.2.2", bytes(100_001)))
            assert peer.status() == dimse.OUT_OF_RESOURCES
            assert made.parts() == []
            assert peer.store("1.2.3") == 0
            peer.send(wire.p_data(STORE, 3))
            with pytest.raises(ConnectionError):
                for _ in range(10_000):
                    peer.send(wire.p_data(bytes(16_000), 0))
        assert made.wait_ended() == [True]
        assert made.parts() == [] and len(made.received) == 2


def test_a_full_disk_is_answered_and_recovers(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        peer.associate()
        resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, hard))
        try:
            peer.send(wire.whole_store("1.2.1", bytes(500_000)))
            assert peer.status() == dimse.OUT_OF_RESOURCES
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert made.parts() == []
        peer.send(wire.whole_store("1.2.1", bytes(500_000)))
        assert peer.status() == 0


def test_a_spool_that_is_gone_is_answered(tmp_path: Path) -> None:
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        peer.associate()
        made.incoming.rmdir()
        assert peer.store("1.2.1") == dimse.OUT_OF_RESOURCES
        made.incoming.mkdir()
        assert peer.store("1.2.1") == 0


# -- the same with random input ---------------------------------------------------------------------------------


class Recorder:
    """Keeps what a Stream tells."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes]] = []

    def command(self, context: int, raw: bytes) -> bool:
        self.told.append((f"command {context}", raw))
        return raw[-1:] == b"+"

    def data(self, fragments: list[memoryview]) -> None:
        whole = b"".join(fragments)
        if self.told[-1][0] == "data":
            whole = self.told.pop()[1] + whole
        self.told.append(("data", whole))

    def data_end(self) -> None:
        self.told.append(("end", b""))

    def control(self, kind: int) -> None:
        self.told.append((f"control {kind}", b""))


def feed(chunks: list[bytes]) -> list[tuple[str, bytes]]:
    recorder = Recorder()
    stream = Stream(recorder, Limits())
    rest = b""
    for chunk in chunks:
        rest += chunk
        rest = rest[stream.feed(memoryview(rest)) :]
        assert len(rest) < 10 or stream.ended
    return recorder.told


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Messages, cut into PDVs and PDUs in any way that PS3.8 allows; and what they are."""
    pdvs, told = [], []
    for number in draw(st.lists(st.integers(0, 127).map(lambda n: 2 * n + 1), max_size=4)):
        has_data = draw(st.booleans())
        command = draw(st.binary(max_size=40)) + (b"+" if has_data else b"-")
        told.append((f"command {number}", command))
        pdvs += fragments(draw, command, 1, number)
        if has_data:
            data = draw(st.binary(max_size=200))
            told += [("data", data)] * bool(data) + [("end", b"")]
            pdvs += fragments(draw, data, 0, number)
    out, at = b"", 0
    while at < len(pdvs):
        count = draw(st.integers(1, 4))
        out += wire.pdu(4, b"".join(pdvs[at : at + count]))
        at += count
    return out + wire.RELEASE, [*told, ("control 5", b"")]


def fragments(draw: st.DrawFn, data: bytes, kind: int, number: int) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    edges = list(zip([0, *cuts], [*cuts, len(data)], strict=True))
    return [wire.pdv(data[a:b], kind | (2 if n == len(edges) - 1 else 0), number) for n, (a, b) in enumerate(edges)]


@settings(max_examples=examples(200), deadline=None)
@given(conversations(), st.data())
def test_a_stream_means_the_same_however_it_arrives(
    conversation: tuple[bytes, list[tuple[str, bytes]]], data: st.DataObject
) -> None:
    raw, told = conversation
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=20)))
    chunks = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert feed(chunks) == told
    assert feed([raw[n : n + 1] for n in range(len(raw))]) == told


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_a_stream_of_anything_raises_nothing_but_malformed(raw: bytes, as_data: bool) -> None:
    try:
        feed([wire.pdu(4, raw) if as_data else raw])
    except Malformed as error:
        assert 0 <= error.reason <= 6


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(RQ)))
def test_a_request_of_anything_raises_nothing_but_malformed(raw: bytes, keep: int) -> None:
    with contextlib.suppress(Malformed):
        read_request(RQ[6:keep] + raw)
    with contextlib.suppress(Malformed):
        dimse.read_command(STORE[:keep] + raw)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=4), st.booleans())
def test_random_bytes_harm_nobody_else(tmp_path: Path, chunks: list[bytes], inside: bool) -> None:
    with receiver(tmp_path, limits=Limits(linger_seconds=0.1)) as made:
        with RawPeer(made.address) as peer:
            if inside:
                peer.associate()
            with contextlib.suppress(ConnectionError):
                for chunk in chunks:
                    peer.send(chunk)
        assert wire.echo(made.address) == 0
        assert made.received == []


# -- logs -------------------------------------------------------------------------------------------------------


def test_one_event_is_one_line_of_json() -> None:
    record = logging.LogRecord("clara_adapter.x", logging.INFO, "f", 1, "from %s", ("A\nB\u2028\x1b[31m",), None)
    record.clara = {"calling": "X\n", "message": "not this"}
    text = log.JsonLines().format(record)
    assert text.isprintable() and text.isascii()
    line = json.loads(text)
    assert (line["message"], line["calling"], line["level"]) == ("from A\nB\u2028\x1b[31m", "X\n", "info")
    assert log.Lines().format(record).isprintable()


def test_pseudonyms_are_stable_for_a_key_and_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_key", b"a" * 32)
    first = log.pseudonym("1.2.3")
    assert first == log.pseudonym("1.2.3") != log.pseudonym("1.2.4")
    assert len(first) == 16 and "1.2.3" not in first
    log.use_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    monkeypatch.setattr(log, "_key", b"b" * 32)
    assert log.pseudonym("1.2.3") != first
    log.use_key(tmp_path / "key")
    assert log.pseudonym("1.2.3") == first
