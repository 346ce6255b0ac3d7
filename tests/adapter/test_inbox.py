"""The inbox, called as the receiving side calls it: every answer, what is on disk then, when a study is complete.

The clock is handed in; nothing waits.
"""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adapter.hospital import CALLED, CALLING, HOST, Study, configuration, tree
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage, GrayscaleSoftcopyPresentationStateStorage, SecondaryCaptureImageStorage

from clara_adapter import inbox
from clara_adapter.inbox import Inbox
from clara_adapter.peer import Peer, Received
from clara_adapter.routing import Routing
from clara_adapter.spool import Spool, file_name
from clara_adapter.store import NewJob, Payload, Store
from clara_argo.model.route import Configuration, Settle

PEER = Peer(CALLING, CALLED, HOST)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Room:
    """An inbox with its spool; `put` is what the receiving side does with a complete instance."""

    def __init__(self, folder: Path, config: Configuration | None = None) -> None:
        self.folder = folder / "spool"
        self.config = config or configuration(self.folder, {})
        self.clock = Clock()
        self.spool = Spool(self.folder)
        self.spool.make()
        self.open()

    def open(self) -> None:
        self.store = Store(self.spool.state)
        self.inbox = Inbox(self.config, Routing(self.config), self.spool, self.store, self.clock)
        self.inbox.resume()

    def close(self) -> None:
        self.store.close()

    def put(self, image: Dataset, *, peer: Peer = PEER, **command: Any) -> int:
        """Status. What the inbox leaves in the incoming folder is removed, as the receiving side does."""
        path = self.spool.incoming / "one.part"
        image.save_as(path, enforce_file_format=True)
        uid, sop_class = str(image.SOPInstanceUID), str(image.SOPClassUID)
        syntax = str(image.file_meta.TransferSyntaxUID)
        received = Received(path, sop_class, uid, syntax, peer, path.stat().st_size)
        status = self.inbox.store(replace(received, **command))
        path.unlink(missing_ok=True)
        return status

    def payload(self, study: Study, route: str = "ct") -> Payload:
        found = self.store.last_payload(route, study.study)
        assert found is not None
        return found

    def files(self, study: Study) -> list[str]:
        return sorted(path.name for path in self.spool.input(self.payload(study).id).iterdir())


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.close()


def test_success_means_a_file_with_our_name_and_a_row(room: Room) -> None:
    study = Study()
    assert room.put(study.slice(1)) == 0x0000
    assert room.files(study) == [file_name(study.slice(1).SOPInstanceUID)]
    (row,) = room.store.own_instances(room.payload(study).id)
    assert (row.sop_instance, row.series, row.frame_of_reference) == (f"{study.series}.1", study.series, study.frame)
    assert list(room.spool.incoming.iterdir()) == []


def test_the_same_instance_twice_is_stored_once(room: Room) -> None:
    study = Study()
    assert [room.put(study.slice(1)) for _ in range(3)] == [0, 0, 0]
    assert len(room.files(study)) == 1


def test_the_same_uid_with_other_content_is_refused_and_kept_aside(room: Room) -> None:
    study = Study()
    room.put(study.slice(1))
    before = tree(room.spool.payloads)
    assert room.put(study.slice(1, InstanceNumber=7)) == 0x0111
    assert room.put(study.slice(1)) == 0x0000
    assert tree(room.spool.payloads) == before
    assert len(tree(room.spool.aside("conflict"))) == 1


@pytest.mark.parametrize(
    "uid",
    [
        "",
        "1.2.",
        ".1",
        "1..2",
        "01.2",
        "1.02",
        "1.2a",
        "1.2\n",
        "1.2 ",
        "../../etc/x",
        "$(id)",
        "1.2\\3",
        "1." * 40 + "1",
    ]
    + ["1." + "2" * 63, "\x00", "1.2\x003"],
)
def test_hostile_instance_uids_are_refused_by_name(room: Room, uid: str) -> None:
    assert room.put(Study().slice(1), sop_instance=uid) == 0x0117
    assert tree(room.spool.payloads) == {}


def test_a_uid_of_64_characters_is_a_uid(room: Room) -> None:
    study = Study()
    uid = "1." + "2" * 62
    assert room.put(study.slice(1, SOPInstanceUID=uid)) == 0x0000


@pytest.mark.parametrize("command", [{"sop_instance": "1.2.3"}, {"sop_class": "1.2.840.10008.5.1.4.1.1.4"}])
def test_a_data_set_that_is_not_what_the_command_says_is_refused(room: Room, command: dict[str, Any]) -> None:
    assert room.put(Study().slice(1), **command) == 0xA900


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_without_study_or_series_is_refused(room: Room, keyword: str) -> None:
    image = Study().slice(1)
    delattr(image, keyword)
    assert room.put(image) == 0xA900


def test_what_cannot_be_read_is_refused(room: Room) -> None:
    path = room.spool.incoming / "one.part"
    path.write_bytes(bytes(128) + b"DICM" + os.urandom(500))
    received = Received(path, "1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1", PEER, 632)
    assert room.inbox.store(received) == 0xC000


NO_UIDS = ["abc", "../../../tmp/x", "1.2\0.3", "1.2.é", "1.2\\3.4", "1'; drop table", "1 2", "..", "1.2,3", "1" * 65]


@pytest.mark.parametrize("uid", NO_UIDS, ids=ascii)
@pytest.mark.parametrize("level", ["study", "series"])
def test_a_study_or_series_uid_that_is_none_is_refused(room: Room, level: str, uid: str) -> None:
    image = Study().slice(1)
    image.add(DataElement(0x0020000D if level == "study" else 0x0020000E, "UI", uid, already_converted=True))
    assert room.put(image) == 0xA900
    assert tree(room.spool.root / "payloads") == {}


@pytest.mark.parametrize("uid", ["1.02.003", "1.2.840.", "1..2", "1" * 64])
def test_study_and_series_uids_of_real_scanners_are_taken(room: Room, uid: str) -> None:
    study = replace(Study(), study=uid)
    assert room.put(study.slice(1, SeriesInstanceUID=uid)) == 0x0000
    assert [path.parent.parent.parent for path in room.spool.root.rglob("*.dcm")] == [room.spool.payloads]


def test_a_sender_that_no_route_names_is_refused(room: Room) -> None:
    assert room.put(Study().slice(1), peer=Peer("OTHER", CALLED, HOST)) == 0x0124


@pytest.mark.parametrize("issuers, held", [(("A", "B"), True), (("A", ""), False), (("A", "A"), False)])
def test_the_issuer_of_the_patient_id_counts_where_both_name_one(
    room: Room, issuers: tuple[str, str], held: bool
) -> None:
    study = Study()
    for number, issuer in enumerate(issuers, 1):
        assert room.put(study.slice(number, IssuerOfPatientID=issuer)) == 0
    assert (room.payload(study).state == "held") == held


def test_a_late_image_of_another_patient_is_held_and_the_sealed_payload_stays(room: Room) -> None:
    study = Study()
    room.put(study.slice(1))
    first = room.payload(study)
    assert room.inbox.seal(first, [])
    assert room.put(study.slice(2, PatientID="P2")) == 0
    assert room.store.payload(first.id).state == "sealed"
    assert room.payload(study).state == "held"


@pytest.mark.parametrize(
    "sop_class", [SecondaryCaptureImageStorage, EnhancedSRStorage, GrayscaleSoftcopyPresentationStateStorage]
)
def test_derived_objects_start_nothing_and_are_kept(room: Room, sop_class: str) -> None:
    study = Study()
    assert [room.put(study.slice(1, SOPClassUID=sop_class)) for _ in range(2)] == [0, 0]
    assert room.store.last_payload("ct", study.study) is None
    assert len(tree(room.spool.aside("derived"))) == 1


# -- completeness -----------------------------------------------------------------------------------------------


@pytest.fixture
def timed(tmp_path: Path) -> Iterator[Room]:
    config = configuration(tmp_path / "spool", {})
    routes = tuple(replace(route, settle=Settle(quiet=10, max=25)) for route in config.routes)
    room = Room(tmp_path, replace(config, routes=routes))
    yield room
    room.close()


def test_a_study_is_complete_when_it_has_been_quiet(timed: Room) -> None:
    study = Study()
    for number in (1, 2):
        timed.put(study.slice(number))
        timed.clock.now += 9
        assert timed.inbox.due() == []
    assert timed.inbox.next_due() == 1
    timed.clock.now += 1
    assert timed.inbox.due() == [timed.payload(study)]


def test_a_study_that_never_rests_is_complete_at_the_limit(timed: Room) -> None:
    study = Study()
    for number in range(1, 6):
        timed.put(study.slice(number))
        timed.clock.now += 5
    assert timed.inbox.due() == [timed.payload(study)]


def test_an_instance_sent_again_shows_that_the_sender_is_still_there(timed: Room) -> None:
    study = Study()
    timed.put(study.slice(1))
    timed.clock.now += 9
    timed.put(study.slice(1))
    timed.clock.now += 9
    assert timed.inbox.due() == []


def test_after_a_restart_the_window_begins_again(timed: Room) -> None:
    study = Study()
    timed.put(study.slice(1))
    timed.clock.now += 9
    timed.close()
    timed.open()
    timed.clock.now += 9
    assert timed.inbox.due() == []
    timed.clock.now += 1
    assert [payload.study for payload in timed.inbox.due()] == [study.study]


def test_studies_and_patients_in_one_association_are_grouped_apart(timed: Room) -> None:
    one, two = Study(), Study(patient="P2")
    for number in (1, 2, 3):
        assert timed.put(one.slice(number)) == timed.put(two.slice(number)) == 0
    assert (len(timed.files(one)), len(timed.files(two))) == (3, 3)


def test_sealing_removes_what_was_never_acknowledged(timed: Room) -> None:
    """A crash between the rename and the row leaves a file that nobody was promised."""
    study = Study()
    timed.put(study.slice(1))
    payload = timed.payload(study)
    (timed.spool.input(payload.id) / file_name("9.9.9")).write_bytes(b"left over")
    assert timed.inbox.seal(payload, [NewJob("j", "derive", "w")])
    assert len(timed.files(study)) == 1
    assert timed.store.job("j").payload == payload.id
    assert timed.inbox.due() == [] and timed.inbox.next_due() is None


def test_sealing_holds_a_payload_whose_files_somebody_took(timed: Room) -> None:
    study = Study()
    timed.put(study.slice(1))
    payload = timed.payload(study)
    (timed.spool.input(payload.id) / timed.files(study)[0]).unlink()
    assert not timed.inbox.seal(payload, [NewJob("j", "derive", "w")])
    assert timed.payload(study).state == "held"
    assert timed.store.jobs() == []


# -- a full disk ------------------------------------------------------------------------------------------------


def test_no_space_is_answered_and_nothing_is_left(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk says no at the flush of the folder, after the rename: the file goes, and the next one is taken."""
    study = Study()

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    room.put(study.slice(1))
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "flush_folder", full)
        assert room.put(study.slice(2)) == 0xA700
    assert len(room.files(study)) == 1
    assert room.put(study.slice(2)) == 0
    assert len(room.files(study)) == 2


FULL_DISK = """
import sys, resource, signal
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from adapter.test_inbox import Room
from adapter.hospital import Study
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = Room(Path(sys.argv[1]))
study, statuses = Study(), []
statuses.append(room.put(study.slice(1)))
size = max(path.stat().st_size for path in room.spool.root.iterdir() if path.is_file())
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
statuses += [room.put(study.slice(number)) for number in range(2, 200)]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
statuses += [room.put(study.slice(number)) for number in range(2, 200)]
print(len(room.files(study)), [hex(status) for status in statuses])
"""


def test_a_database_that_cannot_grow_refuses_and_recovers(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a full disk: no file of the process may grow beyond what the largest has."""
    assert resource.RLIMIT_FSIZE is not None
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), str(Path(__file__).parent.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    count, _, text = done.stdout.partition(" ")
    statuses = [int(word.strip(" '[]\n"), 16) for word in text.split(",")]
    assert int(count) == 199
    assert 0xA700 in statuses[:199] and set(statuses[:199]) <= {0, 0xA700}
    assert set(statuses[199:]) == {0}
