"""One accepted association: messages in, part files out, one answer for each message.

Runs in one thread from the A-ASSOCIATE-AC to the end of the connection and polls nothing: it sleeps in the socket.
Knows C-STORE and C-ECHO; every other request is answered 0x0211. Does not know what happens to an instance.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clara_adapter import contexts, dimse, pdu, wire
from clara_adapter.dimse import Command, answer, read_command
from clara_adapter.guard import Limits
from clara_adapter.log import printable, pseudonym
from clara_adapter.partfile import PartFile, file_head
from clara_adapter.pdu import Context, Malformed, Request
from clara_adapter.peer import Peer, Received
from clara_adapter.stream import Stream

log = logging.getLogger("clara_adapter.scp")

_BUFFER = 256 * 1024


@dataclass(slots=True)
class _Message:
    """The message being received: its data set goes to `part`, or nowhere once `status` is set."""

    command: Command
    context: int
    part: PartFile | None = None
    status: int | None = None
    size: int = 0


class Association:
    """`run` returns when it is over. Closes the connection, removes the part file, tells `closed`."""

    def __init__(
        self,
        connection: socket.socket,
        request: Request,
        peer: Peer,
        *,
        incoming: Path,
        store: Callable[[Received], int],
        closed: Callable[[Peer, bool], None],
        limits: Limits,
        stopping: threading.Event,
    ) -> None:
        self._connection = connection
        self._request = request
        self._peer = peer
        self._incoming = incoming
        self._store = store
        self._closed = closed
        self._limits = limits
        self._stopping = stopping
        self._contexts: dict[int, Context] = {}
        self._stream = Stream(self, limits)
        self._message: _Message | None = None
        self._released = False
        self._deadlines = _Deadlines(limits)

    def run(self, early: bytes = b"") -> None:
        """`early`: what the peer sent after its request, before our answer."""
        aborted, reason = True, None
        try:
            self._accept()
            self._receive(early)
            aborted = not self._released
        except Malformed as error:
            reason = error.reason
            self._say(logging.WARNING, f"association aborted: {error}")
        except wire.Overdue as error:
            reason = pdu.UNSPECIFIED
            self._say(logging.WARNING, f"association aborted: {error}")
        except wire.Gone as error:
            reason = pdu.UNSPECIFIED if self._stopping.is_set() else None
            self._say(logging.WARNING, f"association lost: {error}")
        except Exception:  # noqa: BLE001  the edge of the thread: our bug ends this association, not the service
            reason = pdu.UNSPECIFIED
            log.exception("association aborted by an error of ours; please report it")
        finally:
            self._end(aborted, reason)

    def _accept(self) -> None:
        self._contexts, reply = pdu.negotiate(self._request, self._limits.pdu_bytes)
        self._connection.settimeout(wire.TICK)
        wire.write(self._connection, reply, self._limits.send_seconds)

    def _receive(self, early: bytes) -> None:
        buffer = memoryview(bytearray(max(_BUFFER, len(early))))
        buffer[: len(early)] = early
        have = len(early)
        while True:
            used = self._stream.feed(buffer[:have])
            have -= used
            if self._stream.ended:
                return
            buffer[:have] = bytes(buffer[used : used + have])
            self._deadlines.check(self._stream, have)
            if self._stopping.is_set() and not self._stream.in_message:
                raise wire.Overdue("the adapter is stopping")
            have += wire.read(self._connection, buffer[have:])

    def _end(self, aborted: bool, reason: int | None) -> None:
        if self._message and self._message.part:
            self._message.part.discard()
        with contextlib.suppress(wire.Gone, wire.Overdue):
            if reason is not None:
                wire.write(self._connection, pdu.abort(reason), wire.TICK)
        try:
            self._closed(self._peer, aborted)
        except Exception:  # noqa: BLE001  a listener's error must not undo the end of the association
            log.exception("the listener for ended associations failed")
        wire.close_gently(self._connection, self._limits.linger_seconds)

    def _say(self, level: int, text: str) -> None:
        peer = f"{printable(self._peer.calling)} at {self._peer.address}"
        log.log(level, "%s (%s)", text, peer, extra={"clara": {"calling": printable(self._peer.calling)}})

    # What the stream tells, in its order. Everything below runs inside `feed`.

    def command(self, context: int, raw: bytes) -> bool:
        """Begin a message. True: its data set follows."""
        accepted = self._contexts.get(context)
        if accepted is None:
            raise Malformed("message on a presentation context that was not accepted")
        command = read_command(raw)
        if command.field == dimse.C_CANCEL:
            return False
        if command.field & dimse.RESPONSE:
            raise Malformed("a response where no request was sent")
        self._message = message = _Message(command, context, status=self._objection(command, accepted))
        if message.status is None and command.field == dimse.C_STORE:
            self._open_part(message, accepted)
        if not command.has_data:
            self._answer(message)
        return command.has_data

    def _objection(self, command: Command, accepted: Context) -> int | None:
        """The status that refuses the message before its data set is read; None: go on."""
        if command.field == dimse.C_ECHO:
            return dimse.SUCCESS
        if command.field != dimse.C_STORE:
            self._say(logging.WARNING, f"refused a request of type 0x{command.field:04X}: only storage and echo")
            return dimse.UNRECOGNIZED_OPERATION
        if accepted.abstract_syntax == contexts.VERIFICATION or command.sop_class != accepted.abstract_syntax:
            self._say(logging.WARNING, "refused an instance: its SOP class is not that of its presentation context")
            return dimse.CLASS_NOT_SUPPORTED
        if not dimse.is_uid(command.sop_instance):
            self._say(logging.WARNING, "refused an instance: its SOP Instance UID breaks the rules for UIDs")
            return dimse.INVALID_INSTANCE
        if not command.has_data:
            self._say(logging.WARNING, "refused an instance: it comes without a data set")
            return dimse.CANNOT_UNDERSTAND
        return None

    def _open_part(self, message: _Message, accepted: Context) -> None:
        head = file_head(accepted.abstract_syntax, message.command.sop_instance, accepted.transfer_syntax)
        try:
            message.part = PartFile(self._incoming, head)
        except OSError as error:
            self._refuse(message, f"cannot write to the spool: {error.strerror}")

    def data(self, fragments: list[memoryview]) -> None:
        """Bytes of the data set: to the part file, or dropped when the message is refused already."""
        message = self._current()
        message.size += sum(map(len, fragments))
        if message.part:
            if message.size > self._limits.object_bytes:
                self._refuse(message, f"data set over {self._limits.object_bytes} bytes")
                return
            try:
                message.part.append(fragments)
            except OSError as error:
                self._refuse(message, f"cannot write to the spool: {error.strerror}")
        elif message.size > self._limits.object_bytes + self._limits.drain_bytes:
            raise Malformed("data set without an end", pdu.UNSPECIFIED)

    def data_end(self) -> None:
        """The data set is complete: hand it over, answer."""
        message = self._current()
        if message.part:
            message.status = self._hand_over(message, message.part)
            message.part.discard()  # whatever was not moved away
            message.part = None
        self._answer(message)

    def control(self, kind: int) -> None:
        """Release, when no message is open; or the peer's abort."""
        if kind == pdu.ABORT:
            raise wire.Gone("aborted by the peer")
        if self._message is not None:
            raise Malformed("release inside a message", pdu.UNEXPECTED_PDU)
        self._released = True
        wire.write(self._connection, pdu.release_reply(), self._limits.send_seconds)

    def _hand_over(self, message: _Message, part: PartFile) -> int:
        accepted = self._contexts[message.context]
        try:
            part.finish()
        except OSError as error:
            log.error("cannot write to the spool: %s", error.strerror)
            return dimse.OUT_OF_RESOURCES
        received = Received(
            path=part.path,
            sop_class=accepted.abstract_syntax,
            sop_instance=message.command.sop_instance,
            transfer_syntax=accepted.transfer_syntax,
            peer=self._peer,
            size=part.size,
        )
        return self._ask_store(received)

    def _ask_store(self, received: Received) -> int:
        """The status of `store`; an error in it becomes a failure that the peer is told, never a lost answer."""
        try:
            return self._store(received) & 0xFFFF
        except OSError as error:
            log.error("cannot store instance %s: %s", pseudonym(received.sop_instance), error.strerror or error)
            return dimse.OUT_OF_RESOURCES
        except Exception:  # noqa: BLE001  the peer must get an answer whatever went wrong; the log has the trace
            log.exception("cannot store instance %s", pseudonym(received.sop_instance))
            return dimse.CANNOT_UNDERSTAND

    def _refuse(self, message: _Message, why: str) -> None:
        self._say(logging.WARNING, f"refused an instance: {why}")
        message.status = dimse.OUT_OF_RESOURCES
        if message.part:
            message.part.discard()
            message.part = None

    def _answer(self, message: _Message) -> None:
        self._message = None
        status = dimse.CANNOT_UNDERSTAND if message.status is None else message.status
        reply = pdu.command_pdus(message.context, answer(message.command, status), self._request.max_length)
        wire.write(self._connection, reply, self._limits.send_seconds)
        self._deadlines.message_done()

    def _current(self) -> _Message:
        if self._message is None:
            raise Malformed("data set without a command")
        return self._message


class _Deadlines:
    """Since when the current PDU, message or silence lasts. Monotonic clock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pdus = -1
        self._pdu_since: float | None = None
        self._message_since: float | None = None
        self._idle_since = time.monotonic()

    def message_done(self) -> None:
        self._message_since = None
        self._idle_since = time.monotonic()

    def check(self, stream: Stream, unread: int) -> None:
        """Called after each read, and each TICK without one. Raises wire.Overdue."""
        now = time.monotonic()
        if not (stream.in_pdu or unread):
            self._pdu_since = None
        elif self._pdu_since is None or stream.pdus != self._pdus:
            self._pdu_since, self._pdus = now, stream.pdus
        elif now - self._pdu_since > self._limits.pdu_seconds:
            raise wire.Overdue(f"a PDU took more than {self._limits.pdu_seconds:g} s")
        if not stream.in_message:
            self._message_since = None
            if now - self._idle_since > self._limits.idle_seconds:
                raise wire.Overdue(f"no message for {self._limits.idle_seconds:g} s")
        elif self._message_since is None:
            self._message_since = now
        elif now - self._message_since > self._limits.object_seconds:
            raise wire.Overdue(f"an object took more than {self._limits.object_seconds:g} s")
