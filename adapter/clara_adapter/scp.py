"""The storage SCP: an association is admitted, its instances become part files, each is handed over and answered.

Knows when a connection is accepted, refused and ended. Does not know what an instance is for: `store` decides,
and an instance is acknowledged with the status that `store` returns, after it has returned.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from clara_adapter import partfile
from clara_adapter.association import Association
from clara_adapter.guard import Limits, Slots, disk_is_full
from clara_adapter.listener import Listener
from clara_adapter.pdu import Request
from clara_adapter.peer import BUSY, UNKNOWN_CALLED, UNKNOWN_CALLING, Peer, Received, Refusal
from clara_argo.errors import ClaraError, TryAgain, UsageError

__all__ = ["BUSY", "UNKNOWN_CALLED", "UNKNOWN_CALLING", "Limits", "Peer", "Received", "Refusal", "Scp"]

log = logging.getLogger("clara_adapter.scp")

Admit = Callable[[Peer], Refusal | None]
Store = Callable[[Received], int]
Closed = Callable[[Peer, bool], None]

_DISK_FULL = Refusal(BUSY.result, BUSY.source, BUSY.reason, "the spool's disk is above its watermark; make room")
_NO_THREAD = Refusal(BUSY.result, BUSY.source, BUSY.reason, "no thread to be had")
_OUR_ERROR = Refusal(2, 1, 1, "admission failed by an error of ours")


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
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host, self._wanted = host, port
        self._incoming = incoming
        self._admit, self._store = admit, store
        self._closed = closed or (lambda peer, aborted: None)
        self._limits = limits or Limits()
        self._tls = tls
        self._slots = Slots(self._limits)
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener: Listener | None = None
        self._address = (host, port)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that answer, also when port 0 was asked for."""
        return self._address

    @property
    def associations(self) -> int:
        """How many are open now."""
        return len(self._slots)

    def start(self) -> None:
        """Listen. Raises TryAgain when the port is in use, UsageError when it cannot be had at all."""
        try:
            self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
            partfile.clear(self._incoming)
        except OSError as error:
            where = f"cannot receive into {self._incoming}: {error.strerror}"
            raise TryAgain(f"{where}; name a spool that this user may write") from None
        port = self._bind()
        self._address = (self._host, port.getsockname()[1])
        self._stopping.clear()
        self._listener = Listener(port, self._limits, self._decide, self._hand_over, self._tls)
        self._listener.start()
        log.info("listening on %s:%d", *self._address)

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self._wanted), family=family, backlog=self._limits.backlog)
        except OSError as error:
            raise no_port(self._host, self._wanted, error) from None

    def stop(self, seconds: float = 10.0) -> None:
        """Refuse newcomers, let each association finish its current answer, abort it; end all threads."""
        if self._listener is None:
            return
        self._stopping.set()
        self._listener.stop(seconds)
        end = time.monotonic() + seconds
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):  # first the incoming side, so that an abort can still be said
            for connection in self._threads().values():
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, how)  # not TLS's own, which would go on in plain text
            for thread in self._threads():
                thread.join(max(end - time.monotonic(), 0.0) / (2 if how == socket.SHUT_RD else 1))
        if late := len(self._threads()):
            log.error("%d associations did not end within %g s", late, seconds)
        else:
            partfile.clear(self._incoming)
        self._listener = None
        log.info("stopped listening")

    def _threads(self) -> dict[threading.Thread, socket.socket]:
        with self._lock:
            return dict(self._open)

    def _decide(self, request: Request, peer: Peer) -> Refusal | None:
        """Who is calling comes first: a stranger is not told how full we are."""
        try:
            refused = self._admit(peer)
            if refused is None and disk_is_full(self._incoming, self._limits):
                return _DISK_FULL
        except Exception:  # noqa: BLE001  foreign code: whatever it raises, the caller gets an answer
            log.exception("cannot decide who may send")
            return _OUR_ERROR
        return refused

    def _hand_over(self, connection: socket.socket, request: Request, peer: Peer, early: bytes) -> Refusal | None:
        if not self._slots.take(peer.address):
            return BUSY
        association = Association(
            connection,
            request,
            peer,
            incoming=self._incoming,
            store=self._store,
            closed=self._closed,
            limits=self._limits,
            stopping=self._stopping,
        )
        thread = threading.Thread(target=self._run, args=(association, peer, early), daemon=True)
        with self._lock:
            self._open[thread] = connection
        try:
            thread.start()
        except RuntimeError:
            self._forget(thread, peer)
            return _NO_THREAD
        return None

    def _run(self, association: Association, peer: Peer, early: bytes) -> None:
        try:
            association.run(early)
        finally:
            self._forget(threading.current_thread(), peer)

    def _forget(self, thread: threading.Thread, peer: Peer) -> None:
        with self._lock:
            self._open.pop(thread, None)
        self._slots.give_back(peer.address)

    def __enter__(self) -> Scp:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def no_port(host: str, port: int, error: OSError) -> ClaraError:
    """What to say when this host and port cannot be listened on."""
    where = f"cannot listen on {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return TryAgain(f"{where}: the port is in use; stop the program that has it, or choose another port")
    if error.errno == errno.EACCES:
        return UsageError(f"{where}: ports below 1024 need a privilege; choose another, for example 11112")
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return UsageError(f"{where}: this machine has no such address; use 127.0.0.1, or 0.0.0.0 for all of them")
    return TryAgain(f"{where}: {error.strerror or error}")
