"""The adapter's state: durable settings, whole transactions, history, counted crashes."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from adapter.hospital import CALLED, CALLING, HOST

from clara_adapter.database import StoreError
from clara_adapter.identity import Identity
from clara_adapter.peer import Peer, Received
from clara_adapter.states import ImpossibleMove
from clara_adapter.store import Job, NewJob, Payload, Result, Store

WHO = Identity(study="1.2", series="1.2.3", patient="P1", frame_of_reference="1.9")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def received(uid: str) -> Received:
    return Received(Path("x"), "1.2.840", uid, "1.2.840.10008.1.2.1", Peer(CALLING, CALLED, HOST), 10)


def sealed(store: Store, *uids: str) -> tuple[Payload, Job]:
    payload = store.new_payload("ct", CALLED, WHO)
    for uid in uids:
        store.add_instance(payload, received(uid), WHO)
    key = f"{payload.number:032x}"
    store.seal(payload, [NewJob(key, "derive", "w" * 64)])
    return payload, store.job(key)


def result(uid: str, ours: int = 1) -> Result:
    return Result(0, f"{uid}.dcm", uid, "1.2.840", "9.9", "1.2.840.10008.1.2.1", "d", 10, ours)


def test_what_is_written_survives_and_waits_for_the_disk(path: Path) -> None:
    store = Store(path)
    payload = store.new_payload("ct", CALLED, WHO)
    with store._db._engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    store.close()
    assert pragmas == ["wal", 2, 1]  # 2 = FULL
    again = Store(path)
    assert again.receiving() == [payload]
    again.close()


def test_a_change_happens_whole_or_not_at_all(path: Path) -> None:
    """The second job has the id of the first: the payload must not be sealed either."""
    store = Store(path)
    _, job = sealed(store, "1.1")
    payload = store.new_payload("ct", CALLED, WHO)
    with pytest.raises(Exception, match="UNIQUE"):
        store.seal(payload, [NewJob(job.id, "derive", "w")])
    assert store.payload(payload.id).state == "receiving"
    assert [event[0] for event in store.events("payload", payload.id)] == ["first instance"]
    store.close()


def test_one_instance_a_route(path: Path) -> None:
    store = Store(path)
    payload = store.new_payload("ct", CALLED, WHO)
    store.add_instance(payload, received("1.1"), WHO)
    with pytest.raises(Exception, match="UNIQUE"):
        store.add_instance(payload, received("1.1"), WHO)
    assert store.known("ct", "1.1", "1.2.3") == (payload.id, "", False)
    assert store.known("other", "1.1", "1.2.3") == (None, "", False)
    store.close()


def test_only_what_we_made_is_ours(path: Path) -> None:
    store = Store(path)
    payload, job = sealed(store, "1.1")
    store.move_job(job.id, "submitted")
    store.finish_job(job, [result("7.1"), result("1.1", ours=0)], ["PACS"])
    assert store.known("ct", "7.1", "-") == (None, "", True)
    assert store.known("ct", "8.1", "9.9") == (None, "", True)
    assert store.known("ct", "1.1", "1.2.3") == (payload.id, "", False)
    store.close()


def test_a_later_payload_holds_what_earlier_ones_received(path: Path) -> None:
    store = Store(path)
    first, _ = sealed(store, "1.1", "1.2")
    second, _ = sealed(store, "1.3")
    assert [one.sop_instance for one in store.instances(first)] == ["1.1", "1.2"]
    assert [one.sop_instance for one in store.instances(second)] == ["1.1", "1.2", "1.3"]
    store.close()


def test_every_move_leaves_an_event(path: Path) -> None:
    store = Store(path)
    _, job = sealed(store, "1.1")
    store.move_job(job.id, "submitted")
    store.move_job(job.id, "started")
    store.move_job(job.id, "failed", "stage x: exit code 1")
    assert store.events("job", job.id) == [
        ("sealed", "", "submitting", ""),
        ("submitted", "submitting", "pending", ""),
        ("started", "pending", "running", ""),
        ("failed", "running", "failed", "stage x: exit code 1"),
    ]
    with pytest.raises(ImpossibleMove):
        store.move_job(job.id, "started")
    store.close()


def test_answers_are_kept_and_a_retry_forgets_only_refusals(path: Path) -> None:
    store = Store(path)
    _, job = sealed(store, "1.1")
    store.move_job(job.id, "submitted")
    store.finish_job(job, [result("7.1"), result("7.2"), result("7.3")], ["PACS"])
    (delivery,) = store.open_deliveries("PACS")
    store.move_delivery(delivery.id, "begin")
    first, second, third = store.results(job.id)
    store.answer(delivery.id, first.id, 0, stored=True)
    store.answer(delivery.id, second.id, 0xC000, stored=False)
    assert store.unanswered(delivery) == [third]
    assert store.refused(delivery.id) == [("1.2.840", 0xC000)]
    store.move_delivery(delivery.id, "failed", "no")
    assert store.open_deliveries("PACS") == []
    store.move_delivery(delivery.id, "retry")
    assert store.unanswered(delivery) == [second, third]
    assert store.delivery(delivery.id).attempts == 0
    store.close()


def test_crashes_are_counted_for_what_was_in_work_and_a_clean_stop_forgives(path: Path) -> None:
    store = Store(path)
    _, job = sealed(store, "1.1")
    for expected in (1, 2):
        store.count_crashes()
        assert store.job(job.id).crashes == expected  # it was being handed to the runner
    store.move_job(job.id, "submitted")
    assert store.job(job.id).crashes == 0
    store.count_crashes()
    assert store.job(job.id).crashes == 0  # it only waited
    store.move_job(job.id, "started")
    store.forgive_crashes()
    store.count_crashes()
    assert store.job(job.id).crashes == 0
    for expected in (1, 2, 3):
        store.move_job(job.id, "started")
        store.count_crashes()
        assert (store.job(job.id).crashes, store.job(job.id).state) == (expected, "pending")
    store.close()


def test_of_jobs_that_were_not_handed_over_yet_only_the_first_is_suspect(path: Path) -> None:
    store = Store(path)
    jobs = [sealed(store, f"1.{number}")[1] for number in range(3)]
    store.count_crashes()
    assert [store.job(job.id).crashes for job in jobs] == [1, 0, 0]
    store.close()


def test_a_message_may_hold_any_byte(path: Path) -> None:
    store = Store(path)
    _, job = sealed(store, "1.1")
    store.move_job(job.id, "failed", "cannot open b\udcffad\0")
    assert store.job(job.id).message.startswith("cannot open b\\udcffad")
    store.close()


def test_many_threads_write_at_once(path: Path) -> None:
    store = Store(path)
    payload = store.new_payload("ct", CALLED, WHO)

    def write(thread: int) -> None:
        for number in range(10):
            store.add_instance(payload, received(f"1.{thread}.{number}"), WHO)
            store.known("ct", "1.1", "1.2.3")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.own_instances(payload.id)) == 50
    store.close()


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE info SET version = 99")
    raw.close()
    with pytest.raises(StoreError, match="has version 99"):
        Store(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"this is not a database, " * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        Store(path)
