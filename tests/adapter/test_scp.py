"""The storage SCP with peers that mean well: what is accepted, what ends up on disk, what is answered."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

import pydicom
import pydicom.data
import pynetdicom
import pytest
from adapter.wire import ACCEPTED, CT, DATA_SET, EXPLICIT_LE, IMPLICIT_LE, REJECTED, RELEASED, RawPeer, receiver

from adapter import wire
from clara_adapter import contexts
from clara_adapter.guard import GIB, Limits
from clara_adapter.scp import BUSY, UNKNOWN_CALLED, UNKNOWN_CALLING, Peer, Received, Scp
from clara_argo.errors import TryAgain, UsageError

SAMPLES = Path(pydicom.data.__file__).parent / "test_files"
FILES = {
    "explicit": "CT_small.dcm",
    "implicit": "rtdose_1frame.dcm",
    "big endian": "MR_small_bigendian.dcm",
    "JPEG 2000": "MR_small_jp2klossless.dcm",
    "JPEG-LS": "MR_small_jpeg_ls_lossless.dcm",
    "RLE": "MR_small_RLE.dcm",
    "JPEG extended": "JPGExtended.dcm",
    "segmentation": "liver_1frame.dcm",
}


def parts_of(path: Path) -> tuple[str, str, str, bytes]:
    """SOP class, SOP instance, transfer syntax, and the bytes behind the file meta."""
    raw = path.read_bytes()
    meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
    start = 132 + 12 + int(meta.FileMetaInformationGroupLength)
    return meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID, raw[start:]


@pytest.mark.parametrize("name", FILES)
def test_the_bytes_that_were_sent_are_the_bytes_that_are_kept(tmp_path: Path, name: str) -> None:
    sop_class, uid, syntax, data = parts_of(SAMPLES / FILES[name])
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        assert peer.associate(wire.associate_rq(wire.context(5, sop_class, syntax)))[0] == ACCEPTED
        peer.send(wire.whole_store(uid, data, 5000, 5, sop_class))
        assert peer.status() == 0
        assert peer.release() == RELEASED
    (received,) = made.received
    assert parts_of(made.file(0)) == (sop_class, uid, syntax, data)
    assert received.size == made.file(0).stat().st_size
    assert (received.sop_class, received.sop_instance, received.transfer_syntax) == (sop_class, uid, syntax)
    assert received.peer == Peer(wire.CALLING, wire.CALLED, wire.HOST)
    assert made.wait_ended() == [False] and made.parts() == []


def test_preamble_and_file_meta_are_ours(tmp_path: Path) -> None:
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        peer.associate()
        assert peer.store("1.2.3") == 0
        peer.release()
    raw = made.file(0).read_bytes()
    assert raw[:132] == bytes(128) + b"DICM"
    meta = pydicom.dcmread(made.file(0)).file_meta
    assert meta.ImplementationClassUID == contexts.IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == contexts.IMPLEMENTATION_VERSION_NAME
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert not contexts.IMPLEMENTATION_CLASS_UID.startswith(pydicom.uid.PYDICOM_ROOT_UID)
    assert made.file(0).stat().st_mode & 0o077 == 0
    assert not hasattr(meta, "SourceApplicationEntityTitle")


def test_who_may_ask_for_an_association(tmp_path: Path) -> None:
    cases = [
        (wire.associate_rq(called=b"OTHER"), UNKNOWN_CALLED),
        (wire.associate_rq(called=b"clara"), UNKNOWN_CALLED),
        (wire.associate_rq(calling=b"STRANGER"), UNKNOWN_CALLING),
        (wire.associate_rq(called=b" CLARA"), None),
    ]
    with receiver(tmp_path) as made:
        for request, refused in cases:
            with RawPeer(made.address) as peer:
                kind, body = peer.associate(request)
                if refused is None:
                    assert kind == ACCEPTED
                    continue
                assert kind == REJECTED
                assert tuple(body[1:4]) == (refused.result, refused.source, refused.reason)
                # nothing is taken after a refusal
                peer.send(wire.p_data(wire.echo_rq(), 3, 3))
                assert peer.answer() == (0, b"")
    assert made.received == []


def test_address_and_titles_reach_the_decision(tmp_path: Path) -> None:
    seen: list[Peer] = []

    def admit(peer: Peer) -> None:
        seen.append(peer)

    with receiver(tmp_path, admit=admit) as made, RawPeer(made.address, source="127.0.0.7") as peer:
        assert peer.associate(wire.associate_rq(called=b"A B ", calling=b" X"))[0] == ACCEPTED
    assert seen == [Peer("X", "A B", "127.0.0.7")]


def test_a_decision_that_fails_is_a_refusal(tmp_path: Path) -> None:
    def admit(peer: Peer) -> None:
        raise RuntimeError("no table")

    with receiver(tmp_path, admit=admit) as made, RawPeer(made.address) as peer:
        kind, body = peer.associate()
        assert (kind, body[1]) == (REJECTED, 2)


def test_over_the_cap_and_on_a_full_disk_the_refusal_is_transient(tmp_path: Path) -> None:
    with receiver(tmp_path, limits=Limits(associations=1)) as made:
        with RawPeer(made.address) as first, RawPeer(made.address) as second:
            assert first.associate()[0] == ACCEPTED
            kind, body = second.associate()
            assert kind == REJECTED
            assert tuple(body[1:4]) == (BUSY.result, BUSY.source, BUSY.reason)
            assert first.echo() == 0
            first.release()
        made.wait_ended()
    full = Limits(disk_used=0.0, disk_free=1 << 60)
    with receiver(tmp_path, limits=full) as made, RawPeer(made.address) as peer:
        kind, body = peer.associate()
        assert kind == REJECTED
        assert tuple(body[1:4]) == (BUSY.result, BUSY.source, BUSY.reason)


def test_a_slot_comes_back(tmp_path: Path) -> None:
    with receiver(tmp_path, limits=Limits(associations=1, linger_seconds=0.2)) as made:
        for number in range(5):
            with RawPeer(made.address) as peer:
                kind, _ = peer.associate()
                assert kind == ACCEPTED
                if number % 2:
                    peer.release()
            made.wait_ended(number + 1)
            while made.scp.associations:
                threading.Event().wait(0.01)


def test_status_of_the_store_is_the_answer(tmp_path: Path) -> None:
    answers = iter([0x0111, 0xB000, 0xA900])
    with receiver(tmp_path, answer=lambda received: next(answers)) as made, RawPeer(made.address) as peer:
        peer.associate()
        assert [peer.store(f"1.2.{n}") for n in range(3)] == [0x0111, 0xB000, 0xA900]
        assert made.parts() == []


@pytest.mark.parametrize(("error", "status"), [(OSError(28, "no space"), 0xA700), (ValueError("x"), 0xC000)])
def test_an_error_in_the_store_is_answered(
    tmp_path: Path, error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    failing = [True]

    def answer(received: Received) -> int:
        if failing.pop():
            raise error
        return 0

    with receiver(tmp_path, answer=answer) as made, RawPeer(made.address) as peer:
        peer.associate()
        assert peer.store("1.2.3.4.5.6.7") == status
        assert made.parts() == []
        failing.append(False)
        assert peer.store("1.2.4") == 0
    assert "cannot store instance" in caplog.text
    assert "1.2.3.4.5.6.7" not in caplog.text


def test_answer_follows_the_store(tmp_path: Path) -> None:
    go, asked = threading.Event(), threading.Event()

    def answer(received: Received) -> int:
        asked.set()
        assert go.wait(10)
        return 0

    with receiver(tmp_path, answer=answer) as made, RawPeer(made.address) as peer:
        peer.associate()
        peer.send(wire.whole_store("1.2.3", DATA_SET))
        assert asked.wait(10)
        peer.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.socket.recv(1)
        go.set()
        peer.socket.settimeout(20)
        assert peer.status() == 0


def test_several_instances_and_echo_on_one_association(tmp_path: Path) -> None:
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        peer.associate()
        for number in range(4):
            assert peer.store(f"1.2.{number}", DATA_SET * (number + 1)) == 0
            assert peer.echo() == 0
        peer.release()
    assert [received.sop_instance for received in made.received] == [f"1.2.{number}" for number in range(4)]


def test_requests_that_are_sent_before_their_turn_are_answered_in_order(tmp_path: Path) -> None:
    """Nothing was negotiated that would allow it; a peer that does not wait is served one by one all the same."""
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        peer.send(wire.associate_rq(), *(wire.whole_store(f"1.2.{n}", DATA_SET) for n in range(3)), wire.RELEASE)
        assert peer.answer()[0] == ACCEPTED
        assert [peer.status() for _ in range(3)] == [0, 0, 0]
        assert peer.answer()[0] == RELEASED


def test_an_answer_fits_into_the_maximum_of_the_peer(tmp_path: Path) -> None:
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        peer.associate(wire.associate_rq(max_length=40))
        peer.send(wire.whole_store("1.2.3", DATA_SET))
        sizes, whole = [], b""
        while True:
            _, body = peer.answer()
            sizes.append(len(body))
            whole += body[6:]
            if body[5] & 2:
                break
        assert max(sizes) <= 40 and len(sizes) > 1
        assert whole.endswith(b"\0\0\0\x10\x06\0\0\x001.2.3\0")


# -- negotiation ------------------------------------------------------------------------------------------------


def negotiated(body: bytes) -> dict[int, tuple[int, str]]:
    """Result and transfer syntax of each context of an A-ASSOCIATE-AC."""
    found, at = {}, 68
    while at < len(body):
        kind, length = body[at], int.from_bytes(body[at + 2 : at + 4], "big")
        if kind == 0x21:
            found[body[at + 4]] = (body[at + 6], body[at + 12 : at + 4 + length].decode())
        at += 4 + length
    return found


def test_every_storage_class_is_accepted_with_every_syntax_but_deflated(tmp_path: Path) -> None:
    classes = sorted({str(one.abstract_syntax) for one in pynetdicom.AllStoragePresentationContexts})
    syntaxes = sorted(str(uid) for uid in pynetdicom.ALL_TRANSFER_SYNTAXES)
    with receiver(tmp_path) as made:
        for start in range(0, len(classes), 100):
            part = classes[start : start + 100]
            offered = b"".join(wire.context(2 * n + 1, name, IMPLICIT_LE) for n, name in enumerate(part))
            with RawPeer(made.address) as peer:
                _, body = peer.associate(wire.associate_rq(offered))
            assert negotiated(body) == {2 * n + 1: (0, IMPLICIT_LE) for n in range(len(part))}
        offered = b"".join(wire.context(2 * n + 1, CT, name) for n, name in enumerate(syntaxes))
        with RawPeer(made.address) as peer:
            _, body = peer.associate(wire.associate_rq(offered))
    accepted = {syntaxes[number // 2] for number, (result, _) in negotiated(body).items() if result == 0}
    assert accepted == contexts.TRANSFER_SYNTAXES & set(syntaxes)
    assert "1.2.840.10008.1.2.1.99" not in accepted
    assert {result for result, _ in negotiated(body).values()} == {0, 4}


DEFLATED = "1.2.840.10008.1.2.1.99"
CHOICES = [
    ("class unknown", "1.2.840.10008.5.1.4.1.2.2.1", (EXPLICIT_LE,), 3, ""),
    ("private class", "1.3.12.2.1107.5.9.1", (EXPLICIT_LE,), 3, ""),
    ("commitment", "1.2.840.10008.1.20.1", (EXPLICIT_LE,), 3, ""),
    ("deflated alone", CT, (DEFLATED,), 4, ""),
    ("nothing", CT, (), 4, ""),
    ("deflated first", CT, (DEFLATED, IMPLICIT_LE), 0, IMPLICIT_LE),
    ("explicit rather than implicit", CT, (IMPLICIT_LE, EXPLICIT_LE), 0, EXPLICIT_LE),
    ("explicit rather than big endian", CT, ("1.2.840.10008.1.2.2", EXPLICIT_LE), 0, EXPLICIT_LE),
    ("compressed first", CT, ("1.2.840.10008.1.2.4.90", EXPLICIT_LE), 0, "1.2.840.10008.1.2.4.90"),
    ("echo", wire.VERIFICATION, (IMPLICIT_LE,), 0, IMPLICIT_LE),
    ("echo in JPEG", wire.VERIFICATION, ("1.2.840.10008.1.2.4.50",), 4, ""),
]


@pytest.mark.parametrize(
    ("abstract", "offered", "result", "chosen"), [c[1:] for c in CHOICES], ids=[c[0] for c in CHOICES]
)
def test_choice_of_one_context(abstract: str, offered: tuple[str, ...], result: int, chosen: str) -> None:
    found = contexts.choose(abstract, offered)
    assert found[0] == result
    assert not chosen or found[1] == chosen


def test_label_map_segmentation_is_a_storage_class() -> None:
    assert "1.2.840.10008.5.1.4.1.1.66.7" in contexts.STORAGE_CLASSES
    assert not any("1.20." in uid for uid in contexts.STORAGE_CLASSES)


def test_roles_and_titles_are_answered(tmp_path: Path) -> None:
    name = CT.encode()
    role = wire.item(0x54, len(name).to_bytes(2, "big") + name + b"\1\1")
    with receiver(tmp_path) as made, RawPeer(made.address) as peer:
        _, body = peer.associate(wire.associate_rq(user=role))
        assert body[4:36] == b"CLARA".ljust(16) + b"SENDER".ljust(16)
        assert wire.item(0x54, len(name).to_bytes(2, "big") + name + b"\1\0") in body
        assert wire.item(0x51, Limits().pdu_bytes.to_bytes(4, "big")) in body
        assert wire.item(0x52, contexts.IMPLEMENTATION_CLASS_UID.encode()) in body


# -- start and stop ---------------------------------------------------------------------------------------------


def test_start_says_why_not(tmp_path: Path) -> None:
    with receiver(tmp_path / "a") as made:
        other = Scp(
            host=wire.HOST, port=made.address[1], incoming=tmp_path / "b", admit=lambda peer: None, store=lambda r: 0
        )
        with pytest.raises(TryAgain, match=r"in use; stop the program"):
            other.start()
    elsewhere = Scp(host="192.0.2.1", port=0, incoming=tmp_path / "c", admit=lambda p: None, store=lambda r: 0)
    with pytest.raises(UsageError, match=r"no such address"):
        elsewhere.start()


def test_start_says_that_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    blocked = Scp(
        host=wire.HOST, port=0, incoming=tmp_path / "file" / "in", admit=lambda peer: None, store=lambda received: 0
    )
    with pytest.raises(TryAgain, match="name a spool"):
        blocked.start()


def test_start_clears_what_was_half_received(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / ("ab" * 16 + ".part")).write_bytes(b"half")
    with receiver(tmp_path) as made:
        assert made.parts() == []


def test_stop_ends_threads_and_connections_and_can_start_again(tmp_path: Path) -> None:
    before = threading.active_count()
    made = wire.Receiver(tmp_path)
    for _ in range(2):
        made.scp.start()
        idle, busy, silent = (RawPeer(made.address) for _ in range(3))
        idle.associate()
        busy.associate()
        busy.send(wire.p_data(wire.store_rq("1.2.3"), 3), wire.p_data(DATA_SET, 0))
        assert idle.echo() == 0
        made.scp.stop()
        assert idle.answer()[0] == wire.ABORTED
        for peer in (idle, busy, silent):
            peer.close()
        assert threading.active_count() == before
        assert made.parts() == []
    assert made.received == []


def test_a_peer_that_vanishes_leaves_nothing_and_takes_nothing_with_it(tmp_path: Path) -> None:
    with receiver(tmp_path) as made:
        with RawPeer(made.address) as peer:
            peer.associate()
            assert peer.store("1.2.1") == 0
            peer.send(wire.p_data(wire.store_rq("1.2.2"), 3), wire.p_data(DATA_SET, 0))
        assert made.wait_ended() == [True]
        assert made.parts() == []
        assert [received.sop_instance for received in made.received] == ["1.2.1"]
        assert made.file(0).exists()
        with RawPeer(made.address) as peer:
            peer.associate()
            peer.send(wire.p_data(wire.store_rq("1.2.3"), 3), wire.p_data(DATA_SET, 0), wire.pdu(7, bytes(4)))
        assert made.wait_ended(2) == [True, True]
        assert made.parts() == []


# -- other implementations --------------------------------------------------------------------------------------


def test_pynetdicom_sends(tmp_path: Path) -> None:
    node = pynetdicom.AE(ae_title=wire.CALLING)
    node.requested_contexts = pynetdicom.StoragePresentationContexts[:120]
    node.add_requested_context(wire.VERIFICATION)
    image = pydicom.dcmread(SAMPLES / "CT_small.dcm")
    with receiver(tmp_path) as made:
        association = node.associate(*made.address, ae_title=wire.CALLED)
        assert association.is_established
        assert association.send_c_echo().Status == 0
        assert association.send_c_store(image).Status == 0
        association.release()
        assert association.is_released
    assert pydicom.dcmread(made.file(0)) == image


DCMTK = {
    "echoscu": ["-aet", wire.CALLING, "-aec", wire.CALLED],
    "storescu": ["-aet", wire.CALLING, "-aec", wire.CALLED, "-R"],
    "dcmsend": ["-aet", wire.CALLING, "-aec", wire.CALLED],
}


@pytest.mark.parametrize("program", DCMTK)
def test_dcmtk_sends(tmp_path: Path, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: apt-get install dcmtk)")
    files = [] if program == "echoscu" else [str(SAMPLES / "CT_small.dcm"), str(SAMPLES / "MR_small.dcm")]
    with receiver(tmp_path) as made:
        address = [wire.HOST, str(made.address[1])]
        command = [program, *DCMTK[program], *address, *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert made.wait_ended() == [False]
        refused = subprocess.run(
            [program, "-aec", "OTHER", *address, *files], capture_output=True, text=True, timeout=60, check=False
        )
        assert refused.returncode != 0
    assert len(made.received) == len(files)
    for number, file in enumerate(files):
        assert parts_of(made.file(number))[:3] == parts_of(Path(file))[:3]
        # dcmtk writes its data sets anew, without trailing padding
        assert pydicom.dcmread(made.file(number)).PixelData == pydicom.dcmread(file).PixelData


def test_default_limits_are_those_of_the_documentation() -> None:
    limits = Limits()
    assert (limits.object_bytes, limits.pdu_bytes, limits.associations, limits.per_address) == (4 * GIB, 262144, 64, 32)
