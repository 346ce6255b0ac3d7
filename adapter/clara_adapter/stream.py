"""Bytes of an established association -> commands, data set fragments, control PDUs (PS3.8 9.3.5, annex E).

One pass over the receive buffer; data set bytes are passed on as views of it and copied by nobody. Knows the order in
which PDUs, PDVs and messages may come, and their limits. Does not know what a command means.
"""

from __future__ import annotations

import struct
from typing import Protocol

from clara_adapter.guard import Limits
from clara_adapter.pdu import ABORT, HEADER, P_DATA, RELEASE_RQ, UNEXPECTED_PDU, UNRECOGNIZED_PDU, Malformed

_PDV = struct.Struct(">IBB")  # length of the rest, context, message control header
_TOLERANCE = 6  # some peers count the PDU's header as outside of the negotiated maximum
CONTROL_BYTES = 10  # the largest PDU that has to be in the buffer as a whole


class Events(Protocol):
    """What the stream tells its association."""

    def command(self, context: int, raw: bytes) -> bool:
        """A complete command set. True: a data set follows."""

    def data(self, fragments: list[memoryview]) -> None:
        """Bytes of the data set, valid only during the call."""

    def data_end(self) -> None:
        """The data set is complete."""

    def control(self, kind: int) -> None:
        """A release request or an abort: nothing that follows is read."""


class Stream:
    """Feed it what has arrived; it calls `events` and says how much it used up."""

    def __init__(self, events: Events, limits: Limits) -> None:
        self._events = events
        self._limits = limits
        self._pdu_left = 0
        self._pdv_left = 0
        self._is_command = self._is_last = False
        self._context = 0
        self._command = bytearray()
        self._in_data = False
        self._fragments: list[memoryview] = []
        self.pdus = 0  # headers seen; a number to compare, so that a deadline can start with each PDU
        self.ended = False

    @property
    def in_pdu(self) -> bool:
        return self._pdu_left > 0

    @property
    def in_message(self) -> bool:
        """Between the first byte of a command and the end of its data set."""
        return self._in_data or bool(self._command)

    def feed(self, view: memoryview) -> int:
        """Consume from the start of `view`; the rest, at most 9 bytes, is to be presented again with more behind it."""
        position, end = 0, len(view)
        while not self.ended:
            if self._pdv_left:
                if position == end:
                    break
                position = self._take(view, position, end)
            elif self._pdu_left:
                if end - position < 6:
                    break
                self._open_pdv(*_PDV.unpack_from(view, position))
                position += 6
            else:
                step = self._open_pdu(view, position, end)
                if not step:
                    break
                position += step
        self._pass_on()
        return position

    def _open_pdu(self, view: memoryview, position: int, end: int) -> int:
        """Bytes used: 0 when more are needed."""
        if end - position < 6:
            return 0
        kind, length = HEADER.unpack_from(view, position)
        if kind == P_DATA:
            if not 6 <= length <= self._limits.pdu_bytes + _TOLERANCE:
                raise Malformed(f"P-DATA-TF of {length} bytes; {self._limits.pdu_bytes} were negotiated")
            self.pdus += 1
            self._pdu_left = length
            return 6
        if not 1 <= kind <= ABORT:
            raise Malformed(f"PDU of unknown type {kind}", UNRECOGNIZED_PDU)
        if kind not in (RELEASE_RQ, ABORT):
            raise Malformed(f"PDU of type {kind} inside an association", UNEXPECTED_PDU)
        if length != 4:
            raise Malformed(f"PDU of type {kind} with {length} bytes")
        if end - position < CONTROL_BYTES:
            return 0
        self.ended = True
        self._events.control(kind)
        return CONTROL_BYTES

    def _open_pdv(self, length: int, context: int, header: int) -> None:
        self._pdv_left = length - 2
        self._pdu_left -= 6
        if not 0 <= self._pdv_left <= self._pdu_left or 0 < self._pdu_left - self._pdv_left < 6:
            raise Malformed("PDV does not fit into its PDU")
        self._is_command, self._is_last = bool(header & 1), bool(header & 2)
        if self.in_message and context != self._context:
            raise Malformed("a message changes its presentation context")
        if self._is_command == self._in_data:
            raise Malformed("command inside a data set" if self._in_data else "data set without a command")
        self._context = context
        if not self._pdv_left:
            self._end_pdv()

    def _take(self, view: memoryview, position: int, end: int) -> int:
        size = min(end - position, self._pdv_left)
        part = view[position : position + size]
        if self._is_command:
            if len(self._command) + size > self._limits.command_bytes:
                raise Malformed("command set over its limit")
            self._command += part
        else:
            self._fragments.append(part)
        self._pdv_left -= size
        self._pdu_left -= size
        if not self._pdv_left:
            self._end_pdv()
        return position + size

    def _end_pdv(self) -> None:
        if not self._is_last:
            return
        if self._is_command:
            raw = bytes(self._command)
            self._command.clear()
            self._in_data = self._events.command(self._context, raw)
        else:
            self._pass_on()
            self._in_data = False
            self._events.data_end()

    def _pass_on(self) -> None:
        if self._fragments:
            fragments, self._fragments = self._fragments, []
            self._events.data(fragments)
