"""DIMSE command sets (PS3.7 6.3, annex E): what was asked, and the answer to it.

Command sets are Implicit VR Little Endian with 2-byte or short text values; nothing else is decoded here.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from clara_adapter.pdu import Malformed

C_STORE, C_ECHO, C_CANCEL, RESPONSE = 0x0001, 0x0030, 0x0FFF, 0x8000
NO_DATA_SET = 0x0101

# Statuses, PS3.4 B.2.3 and PS3.7 annex C
SUCCESS = 0x0000
INVALID_INSTANCE = 0x0117  # the SOP Instance UID breaks PS3.5 9.1
CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNIZED_OPERATION = 0x0211
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000

_ELEMENT = struct.Struct("<HHI")
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")


def is_uid(text: str) -> bool:
    """Whether this is a UID by PS3.5 9.1: at most 64 characters, numbers without leading zeros, dots between them."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Command:
    """The elements of a command set that a storage or verification SCP needs."""

    field: int
    message: int
    has_data: bool
    sop_class: str
    sop_instance: str


def read_command(raw: bytes) -> Command:
    """Raises Malformed: a peer whose commands cannot be read cannot be answered."""
    values = _elements(raw)
    return Command(
        field=_number(values, 0x0100),
        message=_number(values, 0x0110) if 0x0110 in values else _number(values, 0x0120),
        has_data=_number(values, 0x0800) != NO_DATA_SET,
        sop_class=_text(values.get(0x0002, b"")),
        sop_instance=_text(values.get(0x1000, b"")),
    )


def _elements(raw: bytes) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    position = 0
    while position < len(raw):
        if position + 8 > len(raw):
            raise Malformed("command element cut short")
        group, element, length = _ELEMENT.unpack_from(raw, position)
        position += 8
        if group != 0 or position + length > len(raw):
            raise Malformed("not a command set")
        values[element] = raw[position : position + length]
        position += length
    return values


def _number(values: dict[int, bytes], element: int) -> int:
    raw = values.get(element, b"")
    if len(raw) != 2:
        raise Malformed(f"command element (0000,{element:04X}) is not a number of two bytes")
    return int.from_bytes(raw, "little")


def _text(raw: bytes) -> str:
    return raw.decode("ascii", "backslashreplace").rstrip(" \0")


def answer(command: Command, status: int) -> bytes:
    """The command set of the response. Its UIDs are repeated as they came, cut at what a UID may be."""
    elements = [
        (0x0002, _padded(command.sop_class)),
        (0x0100, struct.pack("<H", command.field | RESPONSE)),
        (0x0120, struct.pack("<H", command.message)),
        (0x0800, struct.pack("<H", NO_DATA_SET)),
        (0x0900, struct.pack("<H", status)),
    ]
    if command.sop_instance:
        elements.append((0x1000, _padded(command.sop_instance)))
    body = b"".join(_ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def _padded(uid: str) -> bytes:
    raw = uid.encode("ascii", "replace")[:64]
    return raw + b"\0" * (len(raw) % 2)
