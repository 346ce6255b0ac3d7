"""Results to their destinations: one thread for each, so that one that is away delays no other.

A delivery is sent when every instance was answered with success or a warning. What was answered is written at once;
the next attempt sends only the rest. That something may arrive is written before it leaves, so that "duplicate" counts
only for what may be there. Pauses grow from seconds to an hour and survive a restart. Knows no jobs.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clara_adapter import checks
from clara_adapter.contents import file_digest
from clara_adapter.crash import here
from clara_adapter.scu import Outgoing, Scu, Unreachable, Verdict, is_warning, verdict
from clara_adapter.spool import Spool
from clara_adapter.states import DeliveryState
from clara_adapter.store import CRASHES_HELD, Delivery, Result, Store
from clara_argo.errors import TryAgain
from clara_argo.model.route import Destination

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Seconds between attempts: doubled each time, up to `most`, each 20 % shorter or longer by chance."""

    first: float = 5.0
    most: float = 3600.0
    attempts: int = 120  # about five days; then it has failed, until somebody retries it
    circuit: float = 30.0  # after an unreachable destination, nothing else is tried there for at most this long

    def after(self, attempt: int) -> float:
        return min(self.first * 2.0 ** min(attempt - 1, 30), self.most) * random.uniform(0.8, 1.2)


class Course:
    """What one attempt has sent and what was answered, on disk at once.

    One write before the first instance; after that the doubt about the next one is written together with the answer
    for the last. An answer settles the doubt of its own sending only: what an earlier attempt has sent without an
    answer may be at the destination, whatever it says now.
    """

    def __init__(self, store: Store, delivery: int, files: Sequence[Outgoing]) -> None:
        keys = [file.key for file in files]
        self._store, self._delivery = store, delivery
        self._next = dict(zip(keys, keys[1:], strict=False))
        self._doubtful = store.doubtful(delivery)  # from earlier attempts
        self._written: int | None = None  # doubted on disk, and not begun yet
        self.put_off = 0

    def begins(self, file: Outgoing) -> None:
        """Called before the first byte leaves."""
        if file.key not in self._doubtful and file.key != self._written:
            self._store.doubt(self._delivery, begins=file.key)
        self._written = None

    def answered(self, file: Outgoing, status: int | None) -> None:
        here("instance-answered")
        means = verdict(status, tried_before=file.key in self._doubtful)
        if means == Verdict.AGAIN:
            self.put_off += 1
        if status is not None:
            self._write(file.key, status, means)
        if status:
            what = "stored, with a warning" if is_warning(status) else means
            log.warning("delivery %d: one instance answered 0x%04X, %s", self._delivery, status, what)
        here("between-instances")

    def end(self) -> None:
        """What was doubted beforehand and then not begun is not there."""
        if self._written is not None and self._written not in self._doubtful:
            self._store.doubt(self._delivery, begins=None, settled=self._written)
        self._written = None

    def _write(self, key: int, status: int, means: Verdict) -> None:
        settled = key if means == Verdict.STORED or key not in self._doubtful else None
        begins = self._next.get(key)
        if means == Verdict.AGAIN:
            self._store.doubt(self._delivery, begins, settled)
        else:
            stored = means == Verdict.STORED
            self._store.answer(self._delivery, key, status, stored, begins=begins, settled=settled)
        self._written = begins


class Deliveries:
    """All deliveries to one destination, oldest first."""

    def __init__(
        self, destination: Destination, scu: Scu, spool: Spool, store: Store, backoff: Backoff | None = None
    ) -> None:
        self._destination, self._scu, self._spool, self._store = destination, scu, spool, store
        self._backoff = backoff or Backoff()
        self._closed_until = 0.0  # monotonic: the destination was unreachable
        self._stopping = threading.Event()
        self.changed = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            self.changed.clear()
            pause = self.step()
            if not self._stopping.is_set():
                self.changed.wait(pause)

    def stop(self) -> None:
        """Nothing more is begun; what is being sent may finish its instance. `cut` does not wait for it."""
        self._stopping.set()
        self.changed.set()

    def cut(self) -> None:
        self._scu.cut()

    def step(self) -> float | None:
        """Try what is due. Returns seconds until something else is; None = nothing is waiting."""
        for delivery in self._store.open_deliveries(self._destination.name):
            if self._stopping.is_set():
                break
            if self._left(delivery) <= 0:
                self._attempt(delivery)
        left = [self._left(delivery) for delivery in self._store.open_deliveries(self._destination.name)]
        return max(min(left), 0.05) if left else None

    def _left(self, delivery: Delivery) -> float:
        """Seconds until this delivery may be tried. A wall clock that was set back cannot make it wait for ever."""
        due = 0.0 if delivery.state == DeliveryState.SENDING else delivery.due - time.time()
        return max(min(due, self._backoff.most * 1.2), self._closed_until - time.monotonic())

    def _attempt(self, delivery: Delivery) -> None:
        if delivery.crashes >= CRASHES_HELD:
            why = f"this process died {delivery.crashes} times while it was sent"
            self._store.move_delivery(delivery.id, "hold", why)
            log.error("delivery %d to %s is held: %s", delivery.id, self._destination.name, why)
            return
        if delivery.state == DeliveryState.WAITING:
            self._store.move_delivery(delivery.id, "begin")
        attempt = self._store.delivery(delivery.id).attempts
        here("before-send")
        try:
            files = self._outgoing(delivery)
            self._send(delivery, files, attempt)
        except checks.MustNotLeave as error:
            self._store.move_delivery(delivery.id, "hold", str(error))
            log.error("delivery %d to %s is held: %s", delivery.id, self._destination.name, error)
        except TryAgain as error:
            self._again(delivery, attempt, str(error), unreachable=isinstance(error, Unreachable))

    def _outgoing(self, delivery: Delivery) -> list[Outgoing]:
        """What still has to be sent, compared with what was judged. Raises MustNotLeave, TryAgain."""
        folder = self._spool.result(delivery.job)
        results = self._store.unanswered(delivery)
        for result in results:
            _compare(result, folder / result.file)
        return [
            Outgoing(one.id, folder / one.file, one.sop_class, one.sop_instance, one.transfer_syntax) for one in results
        ]

    def _send(self, delivery: Delivery, files: list[Outgoing], attempt: int) -> None:
        course = Course(self._store, delivery.id, files)
        try:
            self._scu.send(files, course.answered, lambda: not self._stopping.is_set(), course.begins)
        finally:
            course.end()
        here("all-answered")
        if self._stopping.is_set() and self._store.unanswered(delivery):
            self._store.move_delivery(delivery.id, "again", "interrupted by the end of the service", due=0.0)
        elif course.put_off:
            self._again(delivery, attempt, f"{course.put_off} of {len(files)} instances were not taken for now")
        else:
            self._finish(delivery)

    def _finish(self, delivery: Delivery) -> None:
        refused = self._store.refused(delivery.id)
        if refused:
            what = ", ".join(sorted({f"0x{status:04X} for SOP class {sop_class}" for sop_class, status in refused}))
            why = f"{len(refused)} instances were refused for good: {what}"
            self._store.move_delivery(delivery.id, "failed", why)
            log.error("delivery %d to %s has failed: %s", delivery.id, self._destination.name, why)
            return
        self._store.move_delivery(delivery.id, "sent")
        here("after-sent")
        log.info("delivery %d to %s is sent", delivery.id, self._destination.name)

    def _again(self, delivery: Delivery, attempt: int, why: str, *, unreachable: bool = False) -> None:
        if attempt >= self._backoff.attempts:
            self._store.move_delivery(delivery.id, "failed", f"given up after {attempt} attempts: {why}")
            log.error(
                "delivery %d to %s has failed after %d attempts: %s", delivery.id, self._destination.name, attempt, why
            )
            return
        pause = 0.0 if self._stopping.is_set() else self._backoff.after(attempt)
        self._store.move_delivery(delivery.id, "again", why, due=time.time() + pause)
        if unreachable:
            self._closed_until = time.monotonic() + min(pause, self._backoff.circuit)
        log.warning("delivery %d waits %.0f s: %s", delivery.id, pause, why)


def _compare(result: Result, path: Path) -> None:
    """The file that is sent is the file that was judged."""
    try:
        digest, _ = file_digest(path)
    except OSError as error:
        raise TryAgain(f"a result file cannot be read: {error.strerror}; check the spool's disk") from error
    if digest != result.digest:
        raise checks.MustNotLeave("a result file is not the one that was judged; somebody changed the spool")
