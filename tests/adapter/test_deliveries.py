"""Results on their way: every fault of a destination ends in the right state, and each instance is counted once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from adapter.hospital import (
    QUICK,
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
from pydicom.uid import MRImageStorage

from clara_adapter.deliveries import Backoff
from clara_adapter.store import Delivery

COUNT = 4  # instances of a result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stage_project(tmp_path / "project", args=str(COUNT))


def deliver(tmp_path: Path, folder: Path, pacs: Pacs, *states: str) -> Delivery:
    """Send a study, wait for the one delivery's state."""
    with clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site:
        send(Study().slices(2), site.port)
        (delivery,) = ended(site, *states)
    return delivery


# Answer of the destination to the n-th request; None = it aborts the association.
FAULTS: dict[str, tuple[Callable[[int, str], int | None], int]] = {
    "no space at first": (lambda number, uid: 0xA700 if number <= 2 else 0, 2),
    "processing failure at first": (lambda number, uid: 0x0110 if number == 1 else 0, 1),
    "aborts at the third": (lambda number, uid: None if number == 3 else 0, 1),
    "aborts at once, twice": (lambda number, uid: None if number <= 2 else 0, 2),
    "warnings": (lambda number, uid: 0xB000, 0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_not_stored_is_sent_again_and_only_that(tmp_path: Path, folder: Path, fault: str) -> None:
    answer, again = FAULTS[fault]
    with Pacs(answer) as pacs:
        delivery = deliver(tmp_path, folder, pacs, "sent")
        assert len(pacs.kept) == COUNT
        assert sum(pacs.times.values()) == COUNT + again
    assert delivery.attempts == (1 if not again else delivery.attempts) and delivery.attempts <= again + 1


def test_a_refusal_for_good_is_a_failure_and_the_rest_is_there(tmp_path: Path, folder: Path) -> None:
    with Pacs(lambda number, uid: 0xC001 if number == 2 else 0) as pacs:
        delivery = deliver(tmp_path, folder, pacs, "failed")
        assert len(pacs.kept) == COUNT - 1 and sum(pacs.times.values()) == COUNT
    assert "1 instances were refused for good: 0xC001" in delivery.message


def test_a_destination_that_does_not_take_the_class_fails_by_name(tmp_path: Path, folder: Path) -> None:
    with Pacs(contexts=[MRImageStorage]) as pacs:
        delivery = deliver(tmp_path, folder, pacs, "failed")
        assert pacs.times == {}
    assert f"{COUNT} instances were refused for good: 0x0122" in delivery.message


def test_partly_refused_and_partly_put_off_is_tried_again_before_it_fails(tmp_path: Path, folder: Path) -> None:
    statuses = {1: 0xC001, 2: 0xA700}
    with Pacs(lambda number, uid: statuses.get(number, 0)) as pacs:
        delivery = deliver(tmp_path, folder, pacs, "failed")
        assert len(pacs.kept) == COUNT - 1
    assert "1 instances were refused" in delivery.message


def test_a_retry_sends_what_was_refused(tmp_path: Path, folder: Path) -> None:
    config = configuration(tmp_path / "spool", {"PACS": free_port()})
    with Pacs(lambda number, uid: 0xC001 if number == 2 else 0) as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port})
        with clinic(config, folder) as site:
            send(Study().slices(2), site.port)
            (delivery,) = ended(site, "failed")
            site.adapter.store.move_delivery(delivery.id, "retry")
            site.adapter.wake()
            ended(site, "sent")
        assert len(pacs.kept) == COUNT and sum(pacs.times.values()) == COUNT + 1


def test_a_destination_that_comes_up_late_gets_it(tmp_path: Path, folder: Path) -> None:
    port = free_port()
    with clinic(configuration(tmp_path / "spool", {"PACS": port}), folder) as site:
        send(Study().slices(2), site.port)
        wait_until(lambda: any(one.attempts >= 2 for one in site.adapter.store.deliveries()), "two attempts")
        with Pacs(port=port) as pacs:
            ended(site, "sent")
            assert set(pacs.times.values()) == {1} and len(pacs.kept) == COUNT


def test_it_gives_up_at_last_and_says_so(tmp_path: Path, folder: Path) -> None:
    options = replace(QUICK, backoff=Backoff(first=0.05, most=0.1, attempts=3, circuit=0.05))
    with clinic(configuration(tmp_path / "spool", {"PACS": free_port()}), folder, options) as site:
        send(Study().slices(1), site.port)
        (delivery,) = ended(site, "failed")
    assert delivery.attempts == 3
    assert "given up after 3 attempts" in delivery.message and "cannot be reached" in delivery.message


def test_one_dead_destination_delays_no_other(tmp_path: Path, folder: Path) -> None:
    """One is away, one takes the connection and never answers: the third has its result meanwhile."""
    release = threading.Event()
    with Pacs(lambda number, uid: (release.wait(60), 0)[1]) as stuck, Pacs() as well:
        ports = {"away": free_port(), "stuck": stuck.port, "well": well.port}
        with clinic(configuration(tmp_path / "spool", ports), folder) as site:
            for _ in range(2):
                send(Study().slices(1), site.port)

            def delivered() -> bool:
                found = site.adapter.store.deliveries()
                return [one.state for one in found if one.destination == "well"] == ["sent", "sent"]

            wait_until(delivered, "both results at the destination that is well")
            assert len(well.kept) == 2 * COUNT
            others = {one.state for one in site.adapter.store.deliveries() if one.destination != "well"}
            release.set()
    assert others <= {"waiting", "sending"}


def test_a_result_that_somebody_changed_on_disk_does_not_leave(tmp_path: Path, folder: Path) -> None:
    port = free_port()
    with clinic(configuration(tmp_path / "spool", {"PACS": port}), folder) as site:
        send(Study().slices(1), site.port)
        tried(site)
        path = next((tmp_path / "spool" / "results").rglob("*.dcm"))
        path.write_bytes(path.read_bytes().replace(b"P1", b"P2"))
        with Pacs(port=port) as pacs:
            (delivery,) = ended(site, "held")
            assert pacs.times == {}
    assert "is not the one that was judged" in delivery.message


CHANGES = {
    "another patient": "image.PatientID = 'P2'",
    "another study": "image.StudyInstanceUID = '1.2.3'",
    "refers to 1 instances": "image.SourceImageSequence[0].ReferencedSOPInstanceUID = '1.2.3'",
    "not a DICOM file": "(Path(os.environ['CLARA_OUTPUT']) / 'note.txt').write_text('hello')",
}


@pytest.mark.parametrize("why", CHANGES)
def test_a_wrong_result_is_held_whole(tmp_path: Path, why: str) -> None:
    """Through the real runner: the stage writes it, nothing of it leaves."""
    folder = stage_project(tmp_path / "project", change=CHANGES[why], args="2")
    with Pacs() as pacs:
        delivery = deliver(tmp_path, folder, pacs, "held")
        assert pacs.associations == 0
    assert why in delivery.message


def test_a_failed_job_sends_nothing_and_keeps_its_reason(tmp_path: Path) -> None:
    folder = stage_project(tmp_path / "project", script="echo the model is missing >&2; exit 3\n", kind="sh")
    with Pacs() as pacs, clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site:
        send(Study().slices(1), site.port)
        wait_until(lambda: [job.state for job in site.adapter.store.jobs()] == ["failed"], "the job fails")
        (job,) = site.adapter.store.jobs()
        assert site.states() == [] and pacs.associations == 0
    assert "derive" in job.message


def test_stopping_in_the_middle_of_a_delivery_goes_on_with_the_rest(tmp_path: Path, folder: Path) -> None:
    reached, release = threading.Event(), threading.Event()

    def answer(number: int, uid: str) -> int:
        if number == 2:
            reached.set()
            release.wait(30)
        return 0

    with Pacs(answer) as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port})
        with clinic(config, folder) as site:
            send(Study().slices(1), site.port)
            assert reached.wait(60)
            threading.Timer(0.5, release.set).start()
        with clinic(config, folder) as site:
            ended(site, "sent")
        assert len(pacs.kept) == COUNT
        assert sum(pacs.times.values()) <= COUNT + 1
