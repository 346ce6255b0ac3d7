"""Repairs of pynetdicom 3.0.4 used as a storage SCU. Call `repair` right after `associate`.

1. A lost response. The library's reactor thread marks itself as standing still, waits on `_reactor_checkpoint`
   (normally open), and clears the mark. A sender that closes the checkpoint after the reactor has passed it, but before
   the mark is cleared, believes that the reactor stands still; both then read the queue of incoming messages, and when
   the reactor wins, the response is gone and the sender waits for its time limit. `Gate` closes only when the reactor
   is behind it.
2. A whole data set in memory. The library queues every PDU of an instance before the first is sent. `BoundedQueue`
   makes the sender wait, and gives up when the connection has ended.

Both rely on private names: pynetdicom is pinned, `repair` fails when a name is missing, and a test watches.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from pynetdicom.association import Association

PRIVATE_OF_ASSOCIATION = ("_reactor_checkpoint", "_is_paused", "_kill")
PRIVATE_OF_DUL = ("to_provider_queue", "_kill_thread")
QUEUED_PDUS = 64


class Gate:
    """Stands in for `_reactor_checkpoint`; `clear` returns only when the reactor is really parked behind it."""

    def __init__(self, association: Association) -> None:
        self._association = association
        self._state = threading.Condition()
        self._open = True
        self._parked = False

    def is_set(self) -> bool:
        return self._open

    def set(self) -> None:
        with self._state:
            self._open = True
            self._state.notify_all()

    def clear(self) -> None:
        with self._state:
            self._open = False
            if threading.current_thread() is self._association:  # the reactor itself, releasing after a time limit
                return
            while not (self._parked or self._open or self._ended()):
                self._state.wait(0.05)

    def wait(self, timeout: float | None = None) -> bool:
        with self._state:
            while not self._open:
                self._parked = True
                self._state.notify_all()
                self._state.wait(timeout)
            self._parked = False
        return True

    def _ended(self) -> bool:
        return bool(self._association._kill or not self._association.is_alive())


class BoundedQueue(queue.Queue[Any]):
    """Holds a few PDUs; a sender waits for room as long as somebody takes from it."""

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        while self.qsize() >= QUEUED_PDUS and self._is_served():
            time.sleep(0.001)
        super().put(item)

    def _is_served(self) -> bool:
        dul = self._association.dul
        return bool(dul.is_alive() and not dul._kill_thread and not self._association.is_aborted)


def repair(association: Association) -> Association:
    """Costs nothing per message. Raises RuntimeError when this pynetdicom is not the one it was written for."""
    missing = [name for name in PRIVATE_OF_ASSOCIATION if not hasattr(association, name)]
    missing += [name for name in PRIVATE_OF_DUL if not hasattr(association.dul, name)]
    if missing:
        raise RuntimeError(f"this pynetdicom has no {', '.join(missing)}: check whether the faults still exist")
    association._reactor_checkpoint = Gate(association)
    waiting = association.dul.to_provider_queue
    bounded = BoundedQueue(association)
    association.dul.to_provider_queue = bounded
    while not waiting.empty():
        bounded.put(waiting.get())
    return association
