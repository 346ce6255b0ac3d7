""" "Duplicate" (0x0111) means "delivered" only for what may have arrived: sent in this delivery, and never answered.

Also when the process died between the last byte and the answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adapter.hospital import (
    CALLED,
    Pacs,
    Study,
    clinic,
    configuration,
    ended,
    free_port,
    send,
    stage_project,
    tried,
    wait_until,
)
from adapter.process import AdapterProcess

from clara_adapter.deliveries import Course
from clara_adapter.identity import Identity
from clara_adapter.scu import Outgoing
from clara_adapter.store import Delivery, NewJob, Result, Store

COUNT = 4  # instances of a result
DUPLICATE = 0x0111


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stage_project(tmp_path / "project", args=str(COUNT))


def deliver(tmp_path: Path, folder: Path, answer: Callable[[int, str], int | None], state: str) -> Delivery:
    """Send a study, wait for the state of its one delivery to a PACS that answers its n-th request so."""
    with Pacs(answer) as pacs, clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site:
        send(Study().slices(1), site.port)
        (delivery,) = ended(site, state)
    return delivery


def test_after_a_refused_connection_nothing_has_arrived(tmp_path: Path, folder: Path) -> None:
    port = free_port()
    with clinic(configuration(tmp_path / "spool", {"PACS": port}), folder) as site:
        send(Study().slices(1), site.port)
        tried(site)
        with Pacs(lambda number, uid: DUPLICATE, port=port):
            (delivery,) = ended(site, "failed")
    assert delivery.attempts >= 2
    assert f"{COUNT} instances were refused for good: 0x0111" in delivery.message


def test_only_the_instance_without_an_answer_may_be_there(tmp_path: Path, folder: Path) -> None:
    """The third ended the association; the fourth was never sent."""
    statuses = {1: 0, 2: 0, 3: None}
    delivery = deliver(tmp_path, folder, lambda number, uid: statuses.get(number, DUPLICATE), "failed")
    assert "1 instances were refused for good: 0x0111" in delivery.message


def test_an_instance_that_had_arrived_is_delivered(tmp_path: Path, folder: Path) -> None:
    statuses = {1: 0, 2: 0, 3: None, 4: DUPLICATE}
    assert deliver(tmp_path, folder, lambda number, uid: statuses.get(number, 0), "sent").attempts == 2


def test_what_was_answered_was_not_stored(tmp_path: Path, folder: Path) -> None:
    """No space at first, a duplicate then: the answer to the first sending said that it is not there."""
    delivery = deliver(tmp_path, folder, lambda number, uid: 0xA700 if number <= COUNT else DUPLICATE, "failed")
    assert f"{COUNT} instances were refused for good: 0x0111" in delivery.message


def test_a_later_answer_does_not_settle_an_earlier_sending(tmp_path: Path, folder: Path) -> None:
    """The first ended the association, was put off at the second time, and is a duplicate at the third."""
    first: list[str] = []

    def answer(number: int, uid: str) -> int | None:
        first[:] = first or [uid]
        if uid != first[0]:
            return 0
        asked.append(uid)
        return {1: None, 2: 0xA700}.get(len(asked), DUPLICATE)

    asked: list[str] = []
    assert deliver(tmp_path, folder, answer, "sent").attempts == 3


def test_a_retry_after_a_duplicate_is_no_delivery(tmp_path: Path, folder: Path) -> None:
    with (
        Pacs(lambda number, uid: DUPLICATE) as pacs,
        clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site,
    ):
        send(Study().slices(1), site.port)
        (delivery,) = ended(site, "failed")
        site.adapter.store.move_delivery(delivery.id, "retry")
        site.adapter.wake()
        wait_until(lambda: sum(pacs.times.values()) == 2 * COUNT, "the second attempt")
        (delivery,) = ended(site, "failed")
    assert f"{COUNT} instances were refused for good: 0x0111" in delivery.message


def test_a_warning_is_a_delivery(tmp_path: Path, folder: Path) -> None:
    statuses = {1: 0x0001, 2: 0x0107, 3: 0x0116, 4: 0xB123}
    assert deliver(tmp_path, folder, lambda number, uid: statuses[number], "sent").attempts == 1


def test_killed_between_the_last_byte_and_the_answer(tmp_path: Path, folder: Path) -> None:
    """The second was on its way when the process was killed, the third and fourth were not."""
    asked, release = threading.Event(), threading.Event()

    def answer(number: int, uid: str) -> int:
        if number == 2:
            asked.set()
            release.wait(60)
        return 0 if number <= 2 else DUPLICATE

    with Pacs(answer) as pacs, AdapterProcess(folder, tmp_path / "spool", pacs.port, quiet=0.2) as adapter:
        adapter.start()
        send(Study().slices(1), adapter.port, called=CALLED)
        assert asked.wait(60)
        adapter.kill()
        release.set()
        adapter.start()
        wait_until(lambda: [one.state for one in look(tmp_path / "spool")] == ["failed"], "the delivery")
        assert adapter.stop() == 0
    (delivery,) = look(tmp_path / "spool")
    assert f"{COUNT - 2} instances were refused for good: 0x0111" in delivery.message


def look(spool: Path) -> list[Delivery]:
    store = Store(spool / "state.db")
    try:
        return store.deliveries()
    finally:
        store.close()


# -- what is on disk at each step -------------------------------------------------------------------------------


class Counted(Store):
    """Counts the writes that are made for nothing but doubt."""

    writes = 0

    def doubt(self, delivery: int, begins: int | None, settled: int | None = None) -> None:
        self.writes += 1
        super().doubt(delivery, begins, settled)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counted]:
    """With one delivery of three results, being sent."""
    store = Counted(tmp_path / "state.db")
    payload = store.new_payload(
        "ct", CALLED, Identity(study="1.2", series="1.2.3", patient="P1", frame_of_reference="")
    )
    store.seal(payload, [NewJob("a" * 32, "derive", "w")])
    job = store.job("a" * 32)
    store.move_job(job.id, "submitted")
    results = [Result(0, f"{n}.dcm", f"7.{n}", "1.2.840", "9.9", "1.2.840.10008.1.2.1", "d", 10, 1) for n in range(3)]
    store.finish_job(job, results, ["PACS"])
    store.move_delivery(1, "begin")
    yield store
    store.close()


def course(store: Store) -> tuple[Course, list[Outgoing]]:
    results = store.unanswered(store.delivery(1))
    files = [Outgoing(one.id, Path(one.file), one.sop_class, one.sop_instance, "") for one in results]
    return Course(store, 1, files), files


def test_the_doubt_is_on_disk_before_the_first_byte_and_costs_one_write(store: Counted) -> None:
    one, files = course(store)
    assert store.doubtful(1) == set()
    for file in files:
        one.begins(file)
        assert store.doubtful(1) == {file.key}
        one.answered(file, 0)
    one.end()
    assert store.doubtful(1) == set() and store.unanswered(store.delivery(1)) == []
    assert store.writes == 1


def test_what_was_not_begun_is_not_doubted(store: Counted) -> None:
    """The service stops after the first."""
    one, files = course(store)
    one.begins(files[0])
    one.answered(files[0], 0)
    one.end()
    assert store.doubtful(1) == set()


def test_without_an_answer_the_doubt_stays_until_it_is_stored(store: Counted) -> None:
    one, files = course(store)
    one.begins(files[0])
    one.answered(files[0], None)
    one.end()
    assert store.doubtful(1) == {files[0].key}
    again, _ = course(store)
    again.begins(files[0])
    again.answered(files[0], 0xA700)
    again.end()
    assert store.doubtful(1) == {files[0].key}
    last, _ = course(store)
    last.begins(files[0])
    last.answered(files[0], DUPLICATE)
    last.end()
    assert store.doubtful(1) == set() and store.refused(1) == []


def test_a_class_that_is_not_accepted_is_not_doubted(store: Counted) -> None:
    one, files = course(store)
    for file in files:
        one.answered(file, 0x0122)
    one.end()
    assert store.doubtful(1) == set() and len(store.refused(1)) == len(files)
