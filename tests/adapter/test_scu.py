"""Sending: what a destination answers, what it means, and that nothing waits for ever or is lost.

Against storage SCPs of pynetdicom always, against dcmtk's `storescp` with its faults where it is installed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pynetdicom
import pytest
from adapter.hospital import HOST, Pacs, Study, free_port, wait_until
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AllStoragePresentationContexts

from clara_adapter import reactor
from clara_adapter.scu import Deadlines, Outgoing, Scu, Unreachable, Verdict, verdict
from clara_argo.model.route import Destination

QUICK = Deadlines(connect=5, associate=5, answer=2, stall=2, instance=6)
STORESCP = next(
    (path for path in ("/usr/bin/storescp", shutil.which("storescp")) if path and Path(path).exists()), None
)
LONG = bool(os.environ.get("CLARA_LONG"))


def scu(port: int, deadlines: Deadlines = QUICK) -> Scu:
    return Scu("CT_AI", Destination(name="PACS", ae_title="PACS", host=HOST, port=port), deadlines)


@pytest.fixture
def files(tmp_path: Path) -> list[Outgoing]:
    return outgoing(tmp_path / "files", 4)


def outgoing(folder: Path, count: int, sop_class: str = CTImageStorage) -> list[Outgoing]:
    folder.mkdir(exist_ok=True)
    study, found = Study(), []
    for number in range(1, count + 1):
        image = study.slice(number, SOPClassUID=sop_class)
        path = folder / f"{study.series}-{number}.dcm"
        image.save_as(path, enforce_file_format=True)
        found.append(Outgoing(number, path, sop_class, str(image.SOPInstanceUID), ExplicitVRLittleEndian))
    return found


class Answers(list[tuple[int, int | None]]):
    """What `send` reports: (key, status)."""

    def __call__(self, file: Outgoing, status: int | None) -> None:
        self.append((file.key, status))


@pytest.mark.parametrize(
    "status, tried, means",
    [
        (0x0000, False, Verdict.STORED),
        (0xB000, False, Verdict.STORED),
        (0xB006, False, Verdict.STORED),
        (0xB007, False, Verdict.STORED),
        (0xB001, False, Verdict.STORED),
        (0xBFFF, False, Verdict.STORED),
        (0x0001, False, Verdict.STORED),
        (0x0107, False, Verdict.STORED),
        (0x0116, False, Verdict.STORED),
        (0x0106, False, Verdict.REFUSED),
        (0x0117, False, Verdict.REFUSED),
        (None, False, Verdict.AGAIN),
        (0x0110, False, Verdict.AGAIN),
        (0xA700, False, Verdict.AGAIN),
        (0xA7FF, False, Verdict.AGAIN),
        (0xA900, False, Verdict.REFUSED),
        (0xA9FF, False, Verdict.REFUSED),
        (0xC000, False, Verdict.REFUSED),
        (0xCFFF, False, Verdict.REFUSED),
        (0x0122, False, Verdict.REFUSED),
        (0x0124, False, Verdict.REFUSED),
        (0x0111, False, Verdict.REFUSED),
        (0x0111, True, Verdict.STORED),
    ],
)
def test_what_a_status_means(status: int | None, tried: bool, means: Verdict) -> None:
    assert verdict(status, tried_before=tried) == means


def test_the_bytes_arrive_as_they_are_over_one_association(files: list[Outgoing]) -> None:
    answers = Answers()
    with Pacs() as pacs:
        scu(pacs.port).send(files, answers)
        assert pacs.associations == 1
    assert answers == [(file.key, 0) for file in files]
    for file in files:
        assert file.path.read_bytes().endswith(pacs.kept[file.sop_instance])


def test_every_answer_is_told_as_it_was(files: list[Outgoing]) -> None:
    statuses = {1: 0x0000, 2: 0xB007, 3: 0xC123, 4: 0xA700}
    answers = Answers()
    with Pacs(lambda number, uid: statuses[number]) as pacs:
        scu(pacs.port).send(files, answers)
    assert answers == list(statuses.items())


def test_a_class_the_destination_does_not_take_is_refused_and_the_others_are_sent(
    tmp_path: Path, files: list[Outgoing]
) -> None:
    answers = Answers()
    other = outgoing(tmp_path / "files", 1, MRImageStorage)
    with Pacs(contexts=[CTImageStorage]) as pacs:
        scu(pacs.port).send([*other, *files], answers)
    assert answers == [(1, 0x0122), *((file.key, 0) for file in files)]


def test_a_destination_that_takes_nothing_of_it_has_answered(files: list[Outgoing]) -> None:
    answers = Answers()
    with Pacs(contexts=[MRImageStorage]) as pacs:
        scu(pacs.port).send(files, answers)
    assert answers == [(file.key, 0x0122) for file in files]


def test_an_abort_in_the_middle_is_unknown_and_ends_the_attempt(files: list[Outgoing]) -> None:
    answers = Answers()
    with Pacs(lambda number, uid: 0 if number < 3 else None) as pacs, pytest.raises(Unreachable, match="instance 3"):
        scu(pacs.port).send(files, answers)
    assert answers == [(1, 0), (2, 0), (3, None)]


def test_a_destination_that_is_away_is_said(files: list[Outgoing]) -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        scu(free_port()).send(files, Answers())


def test_a_name_that_nobody_knows_is_said(files: list[Outgoing]) -> None:
    nobody = Scu("CT_AI", Destination(name="PACS", ae_title="PACS", host="no-such-host.invalid", port=104), QUICK)
    with pytest.raises(Unreachable, match="cannot be reached"):
        nobody.send(files, Answers())


@contextlib.contextmanager
def mute(*, accept: bool) -> Iterator[int]:
    """A port that takes connections, or not even that, and never says or reads anything."""
    with socket.create_server((HOST, 0), backlog=16) as server:
        taken: list[socket.socket] = []
        if accept:
            server.settimeout(0.2)
            stop = threading.Event()

            def take() -> None:
                while not stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        taken.append(server.accept()[0])

            thread = threading.Thread(target=take)
            thread.start()
        yield int(server.getsockname()[1])
        if accept:
            stop.set()
            thread.join()
        for connection in taken:
            connection.close()


@pytest.mark.parametrize("accept", [True, False])
def test_a_destination_that_says_nothing_does_not_hold_us(files: list[Outgoing], accept: bool) -> None:
    deadlines = Deadlines(connect=1, associate=1, answer=1, stall=1, instance=1)
    with mute(accept=accept) as port, pytest.raises(Unreachable):
        scu(port, deadlines).send(files, Answers())


def test_a_destination_that_never_answers_an_instance_does_not_hold_us(files: list[Outgoing]) -> None:
    release = threading.Event()
    answers = Answers()
    with Pacs(lambda number, uid: 0 if number == 1 else (release.wait(20), 0)[1]) as pacs:
        with pytest.raises(Unreachable):
            scu(pacs.port).send(files, answers)
        release.set()
    assert answers == [(1, 0), (2, None)]


def test_cut_from_another_thread_ends_a_send(files: list[Outgoing]) -> None:
    release, asked = threading.Event(), threading.Event()

    def slow(number: int, uid: str) -> int:
        asked.set()
        release.wait(30)
        return 0

    sender = None
    with Pacs(slow) as pacs:
        one = scu(pacs.port, Deadlines(answer=60))
        failed: list[str] = []

        def send() -> None:
            try:
                one.send(files, Answers())
            except Unreachable as error:
                failed.append(str(error))

        sender = threading.Thread(target=send)
        sender.start()
        assert asked.wait(20)
        one.cut()
        sender.join(20)
        release.set()
    assert not sender.is_alive() and failed


def test_stopping_between_two_instances(files: list[Outgoing]) -> None:
    answers = Answers()
    with Pacs() as pacs:
        scu(pacs.port).send(files, answers, lambda: len(answers) < 2)
    assert answers == [(1, 0), (2, 0)]


def test_echo() -> None:
    with Pacs() as pacs:
        assert scu(pacs.port).echo() == 0
    with pytest.raises(Unreachable):
        scu(free_port()).echo()


def test_more_contexts_than_one_association_has(tmp_path: Path) -> None:
    """129 SOP classes: two associations, and every instance is answered."""
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts[:129]]
    assert len(set(classes)) == 129
    files = [file for sop_class in classes for file in outgoing(tmp_path / "files", 1, sop_class)]
    answers = Answers()
    with Pacs(contexts=classes[:100]) as pacs:
        scu(pacs.port).send(files, answers)
        assert pacs.associations == 2
    assert [status for _, status in answers] == [0] * 100 + [0x0122] * 29


# -- the repairs ------------------------------------------------------------------------------------------------


def test_no_answer_is_lost_between_two_threads(tmp_path: Path) -> None:
    """Unrepaired, some of these associations stall until the time limit: both threads read the answers."""
    files = outgoing(tmp_path / "files", 300 if LONG else 100)
    with Pacs() as pacs:
        for _ in range(20 if LONG else 4):
            answers = Answers()
            scu(pacs.port, Deadlines(answer=10)).send(files, answers)
            assert answers == [(file.key, 0) for file in files]


def test_the_library_is_the_one_that_the_repairs_were_written_for() -> None:
    assert pynetdicom.__version__ == "3.0.4"
    with Pacs() as pacs:
        node = pynetdicom.AE("X")
        node.add_requested_context(CTImageStorage)
        association = node.associate(HOST, pacs.port)
        reactor.repair(association)
        assert isinstance(association._reactor_checkpoint, reactor.Gate)
        assert isinstance(association.dul.to_provider_queue, reactor.BoundedQueue)
        association.release()


def test_repair_fails_loudly_when_a_private_name_is_gone() -> None:
    class Other:
        dul = object()

    with pytest.raises(RuntimeError, match="has no _reactor_checkpoint"):
        reactor.repair(Other())


# -- dcmtk's faults ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def storescp(folder: Path, *faults: str) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    command = [str(STORESCP), "-od", str(folder), "-aet", "PACS", *faults, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), "storescp listens")
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


FAULTS: list[tuple[tuple[str, ...], list[int | None], int]] = [
    ((), [0, 0, 0, 0], 4),
    (("--refuse",), [], 0),
    (("--abort-after",), [None], 0),
    (("--abort-during",), [None], 0),
    (("--sleep-during", "8"), [None], 0),
    (("--sleep-after", "8"), [0, None], 1),
    (("--ignore",), [0, 0, 0, 0], 0),
]


@pytest.mark.skipif(STORESCP is None, reason="dcmtk's storescp is not installed; on Debian: apt-get install dcmtk")
@pytest.mark.parametrize("faults, statuses, kept", FAULTS, ids=[" ".join(row[0]) or "none" for row in FAULTS])
def test_dcmtk_with_faults(
    tmp_path: Path, files: list[Outgoing], faults: tuple[str, ...], statuses: list[int | None], kept: int
) -> None:
    answers = Answers()
    with storescp(tmp_path / "kept", *faults) as port:
        if len(statuses) == len(files):
            scu(port).send(files, answers)
        else:
            with pytest.raises(Unreachable):
                scu(port).send(files, answers)
    assert [status for _, status in answers] == statuses
    assert len(list((tmp_path / "kept").iterdir())) == kept
