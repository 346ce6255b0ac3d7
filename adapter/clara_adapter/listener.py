"""The port: takes connections, hears who is calling, refuses or hands over. One thread, however many callers.

A caller costs a file descriptor and the bytes of its request until it has asked properly for an association; only
then does a thread begin. Silent, slow and garbled callers end here. Callers over a cap get a real refusal.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from clara_adapter import pdu, wire
from clara_adapter.guard import Limits
from clara_adapter.log import printable
from clara_adapter.pdu import Malformed, Request
from clara_adapter.peer import Peer, Refusal

log = logging.getLogger("clara_adapter.scp")

_READS = 32  # from one caller before the others have their turn; more than one request even in TLS records of 16 KiB

Decide = Callable[[Request, Peer], Refusal | None]
HandOver = Callable[[socket.socket, Request, Peer, bytes], Refusal | None]


@dataclass(slots=True, eq=False)
class _Caller:
    """A connection before its association, or after its refusal (`leaving`)."""

    connection: socket.socket
    address: str
    deadline: float
    heard: bytearray = field(default_factory=bytearray)
    leaving: bool = False
    shaking_hands: bool = False
    dropped: int = 0  # bytes that came after the refusal


class Listener:
    """`decide` says whether a request is refused; `hand_over` takes the connection, or refuses it after all."""

    def __init__(
        self, port: socket.socket, limits: Limits, decide: Decide, hand_over: HandOver, tls: ssl.SSLContext | None
    ) -> None:
        self._port = port
        self._limits = limits
        self._decide = decide
        self._hand_over = hand_over
        self._tls = tls
        self._callers: dict[socket.socket, _Caller] = {}  # in the order in which they came
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="clara-scp-port", daemon=True)

    def start(self) -> None:
        self._port.setblocking(False)
        self._selector.register(self._port, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        self._stopping = True
        self._wake.send(b"x")
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._stopping:
                for key, _ in self._selector.select(self._patience()):
                    self._attend(key.fileobj)
                self._dismiss_late()
        except Exception:  # noqa: BLE001  the edge of the thread
            log.exception("the listening thread ended by an error of ours; nothing is received any more")
        finally:
            for caller in list(self._callers.values()):
                self._dismiss(caller)
            self._selector.close()
            for end in (self._port, self._wake, self._woken):
                end.close()

    def _attend(self, ready: object) -> None:
        if ready is self._port:
            self._take()
            return
        caller = self._callers.get(ready) if isinstance(ready, socket.socket) else None
        if caller is None:
            return
        try:
            self._listen_to(caller)
        except Malformed as error:
            log.warning("no association for %s: %s", caller.address, error)
            self._send_away(caller, pdu.abort(error.reason))
        except OSError:
            self._dismiss(caller)
        except Exception:  # noqa: BLE001  the edge of one caller: our bug must not end the port
            log.exception("no association for %s by an error of ours; please report it", caller.address)
            self._dismiss(caller)

    def _patience(self) -> float | None:
        if not self._callers:
            return None
        return max(min(caller.deadline for caller in self._callers.values()) - time.monotonic(), 0.0)

    def _take(self) -> None:
        """Accept what waits, a bounded number at a time."""
        for _ in range(32):
            try:
                connection, (address, *_) = self._port.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.error("cannot accept a connection: %s", error.strerror)
                time.sleep(0.1)  # out of descriptors: let associations end
                return
            try:
                self._welcome(connection, address)
            except OSError:
                connection.close()

    def _welcome(self, connection: socket.socket, address: str) -> None:
        wire.prepare(connection)
        connection.setblocking(False)
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._make_room(address)
        deadline = time.monotonic() + self._limits.handshake_seconds
        caller = _Caller(connection, address, deadline, shaking_hands=self._tls is not None)
        self._callers[connection] = caller
        self._selector.register(connection, selectors.EVENT_READ)

    def _make_room(self, address: str) -> None:
        """Who has waited longest goes first: of the same address when that has its share, of all when it is full."""
        counts = Counter(caller.address for caller in self._callers.values())
        if counts[address] >= self._limits.pending_per_address:
            self._dismiss(next(caller for caller in self._callers.values() if caller.address == address))
        elif len(self._callers) >= self._limits.pending:
            self._dismiss(next(iter(self._callers.values())))

    def _listen_to(self, caller: _Caller) -> None:
        """Read what is there. Raises Malformed, or OSError when the caller is gone."""
        try:
            if caller.shaking_hands and isinstance(caller.connection, ssl.SSLSocket):
                caller.connection.do_handshake()
                caller.shaking_hands = False
            for _ in range(_READS):
                if not (part := caller.connection.recv(65536)):
                    raise OSError("closed")
                if caller.leaving:
                    caller.dropped += len(part)
                    if caller.dropped > wire.DROPPED:
                        raise OSError("does not stop")
                    continue
                caller.heard += part
                if (end := self._complete(caller.heard)) is not None:
                    self._answer(caller, end)
                    return
        except BlockingIOError:
            return
        except ssl.SSLWantReadError:
            self._selector.modify(caller.connection, selectors.EVENT_READ)
            return
        except ssl.SSLWantWriteError:
            self._selector.modify(caller.connection, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _complete(self, heard: bytearray) -> int | None:
        """Where the A-ASSOCIATE-RQ ends, once it is all there."""
        if heard[:1] != b"\x01":
            raise Malformed("not an A-ASSOCIATE-RQ", pdu.UNEXPECTED_PDU)
        if len(heard) < 6:
            return None
        _, length = pdu.HEADER.unpack_from(heard)
        if length > self._limits.request_bytes:
            raise Malformed(f"A-ASSOCIATE-RQ of {length} bytes; {self._limits.request_bytes} are taken")
        return length + 6 if len(heard) >= length + 6 else None

    def _answer(self, caller: _Caller, end: int) -> None:
        request = pdu.read_request(bytes(caller.heard[6:end]))
        peer = Peer(request.calling, request.called, caller.address)
        refused = pdu.refusal(request) or self._decide(request, peer)
        if refused is None:
            self._selector.unregister(caller.connection)
            del self._callers[caller.connection]
            refused = self._hand_over(caller.connection, request, peer, bytes(caller.heard[end:]))
            if refused is None:
                return
            self._callers[caller.connection] = caller
            self._selector.register(caller.connection, selectors.EVENT_READ)
        names = f"{printable(peer.calling)} at {peer.address} for {printable(peer.called)}"
        log.warning("association refused: %s (%s)", refused.why, names)
        self._send_away(caller, pdu.reject(refused))

    def _send_away(self, caller: _Caller, last: bytes) -> None:
        """Say why, then wait a little for the caller to close, so that our last words are not lost in a reset."""
        try:
            caller.connection.send(last)
            if self._tls is None:
                caller.connection.shutdown(socket.SHUT_WR)
        except OSError:
            self._dismiss(caller)
            return
        caller.leaving = True
        caller.heard.clear()
        caller.deadline = time.monotonic() + self._limits.linger_seconds

    def _dismiss(self, caller: _Caller) -> None:
        self._callers.pop(caller.connection, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(caller.connection)
        caller.connection.close()

    def _dismiss_late(self) -> None:
        now = time.monotonic()
        for caller in [caller for caller in self._callers.values() if caller.deadline <= now]:
            self._dismiss(caller)
