"""The storage SCP: an association is admitted, its instances become part files, each is handed over and answered.

Knows when a connection is accepted, refused and ended. Does not know what an instance is for: `store` decides,
and an instance is acknowledged with the status that `store` returns, after it has returned.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from clara_adapter.guard import Limits
from clara_adapter.peer import BUSY, UNKNOWN_CALLED, UNKNOWN_CALLING, Peer, Received, Refusal

__all__ = ["BUSY", "UNKNOWN_CALLED", "UNKNOWN_CALLING", "Limits", "Peer", "Received", "Refusal", "Scp"]

Admit = Callable[[Peer], Refusal | None]
Store = Callable[[Received], int]
Closed = Callable[[Peer, bool], None]


class Scp:
    """Listens on one port. `start` returns when the port answers; `stop` ends all threads and removes part files.

    `admit` is asked once for each association, before it is accepted, from the thread that listens: it looks up and
    returns at once. `store` is called from the association's own thread with a complete, fsynced, closed part file;
    it moves that file where it belongs (what it leaves behind is deleted) and returns the DIMSE status to answer.
    `closed` is told when an accepted association has ended; its second argument says that it was not released.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        incoming: Path,
        admit: Admit,
        store: Store,
        closed: Closed | None = None,
        limits: Limits | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that answer, also when port 0 was asked for."""
        raise NotImplementedError

    def start(self) -> None:
        """Listen. Raises TryAgain when the port is in use, UsageError when it cannot be had at all."""
        raise NotImplementedError

    def stop(self) -> None:
        """Refuse newcomers, abort what is open after its current answer, end all threads."""
        raise NotImplementedError

    def __enter__(self) -> Scp:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
