"""The connection below the storage SCU: cut when its time is over, bounded in what it takes in, knowing how it ended.

Knows sockets and the headers of PDUs (PS3.8 9.3.1). Does not know what is asked over the connection. Relies on how
pynetdicom 3.0.4 reads: the 6 bytes of a header, then as many as these announce.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
import time
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from clara_adapter.pdu import ABORT, ASSOCIATE_RQ

MAX_PDU = 256 * 1024  # of what we receive, which is answers
MAX_ANSWER = MAX_PDU  # of all that comes for one thing we ask: usually some hundred bytes, for 128 contexts 10 KiB
AWAITING_CLOSE = "Sta13"  # PS3.8 9.2: we have ended the association ourselves


class Watchdog:
    """Cuts a connection when its time is over; `cut` may also be called from elsewhere."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self.expired = self.was_cut = False  # its time was over; somebody called `cut`
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="clara-scu-watchdog", daemon=True)
        self._thread.start()

    def watch(self, connection: socket.socket) -> None:
        self._sockets.append(connection)

    @property
    def connected(self) -> bool:
        """There was a connection, whatever became of it."""
        return bool(self._sockets)

    def allow(self, seconds: float) -> None:
        """From now on."""
        with self._changed:
            self._deadline = time.monotonic() + seconds
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def cut(self) -> None:
        self.was_cut = True
        for connection in self._sockets:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The library forgets to close a connection that the peer has reset."""
        for connection in self._sockets:
            connection.close()

    def _run(self) -> None:
        with self._changed:
            while not self._ended:
                left = None if self._deadline is None else self._deadline - time.monotonic()
                if left is not None and left <= 0:
                    self.expired = True
                    self.cut()
                    self._deadline = left = None
                self._changed.wait(left)


class Transport(AssociationSocket):  # type: ignore[misc]
    """A bound on what is received, and a memory of how it ended.

    The library asks for the 6 bytes of a PDU's header, then for as many as these announce, and keeps them all. It also
    leaves a socket that could not be connected to the garbage collector.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.received = 0  # bytes since `ask`, announced ones included
        self.trouble = ""  # what the destination did instead of answering
        self._in_body = False

    def ask(self) -> None:
        """Something is asked of the destination: its answer may have MAX_ANSWER bytes."""
        self.received = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """`nr_bytes`, or fewer when the connection has ended. Raises OSError."""
        self.received += nr_bytes
        if self.received > MAX_ANSWER:
            self._is_connected = False  # for the library: nothing more to read here
            self._note(f"sent or announced {self.received} bytes where an answer has some hundred")
            raise OSError(errno.EMSGSIZE, "more than an answer")
        try:
            data: bytearray = super().recv(nr_bytes)
        except BlockingIOError:  # SO_RCVTIMEO
            self._note("stopped in the middle of an answer")
            raise
        except OSError as error:
            self._note(f"closed the connection ({error.strerror or error})")
            raise
        self._look(data, nr_bytes)
        return data

    def send(self, bytestream: bytes) -> None:
        """All of it, or the association has ended (event 17, PS3.8 9.2)."""
        try:
            if self.socket is None:
                raise OSError(errno.ENOTCONN, "closed already")
            self.socket.sendall(bytestream)
        except BlockingIOError:  # SO_SNDTIMEO
            self._note("stopped taking bytes")
        except OSError as error:
            self._note(f"closed the connection ({error.strerror or error})")
        else:
            evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})
            return
        self.event_queue.put("Evt17")

    def _look(self, data: bytearray, wanted: int) -> None:
        """What a PDU's header (PS3.8 9.3.1) tells about the end of the association."""
        if len(data) < wanted:
            self._note("closed the connection" + (" in the middle of an answer" if data or self._in_body else ""))
        elif self._in_body:
            self._in_body = False
        elif ASSOCIATE_RQ <= data[0] <= ABORT:
            self._in_body = True
            if data[0] == ABORT:
                self._note("aborted the association")
        else:
            self._note("sent something that is no DICOM (is this the port of a DICOM node?)")

    def _note(self, trouble: str) -> None:
        """The first is what happened; what comes when we have given up is only its consequence."""
        if not self.trouble and self.assoc.dul.state_machine.current_state != AWAITING_CLOSE:
            self.trouble = trouble

    def connect(self, primitive: Any) -> None:
        raw = self.socket
        super().connect(primitive)
        if self.socket is None and raw is not None:
            raw.close()


class Node(AE):  # type: ignore[misc]
    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> Transport:
        transport = Transport(assoc, address=address)
        transport.tls_args = tls_args
        return transport


def tune(event: evt.Event, watchdog: Watchdog, stall: float) -> None:
    """Small messages at once, and no send or receive that never returns."""
    connection: Any = event.assoc.dul.socket.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    limit = struct.pack("ll", int(stall), int(stall % 1 * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    watchdog.watch(connection)


def acknowledge_at_once(event: evt.Event) -> None:
    """A peer that writes an answer in two pieces waits for our acknowledgement of the first: 40 ms unless we hurry."""
    if hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError, AttributeError):  # closed meanwhile
            event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def what_happened(association: Association, watchdog: Watchdog, late: str) -> str:
    """Why there is no answer; `late` where nothing but the time limit says so."""
    transport = association.dul.socket
    if watchdog.expired:
        return late
    if watchdog.was_cut:
        return "was cut off from here, because the service ends,"
    if not (transport.trouble or transport.received):
        return late
    return str(transport.trouble) or "sent something else than an answer"
