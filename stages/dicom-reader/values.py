"""Raw attribute values -> numbers and texts (PS3.5 section 6.2). Strict: what is not exactly a value is refused.

Absent and empty are the same thing (None), and never zero.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import tags
from elements import Item
from refusal import Refuse

_DECIMAL = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_WHOLE = re.compile(rb"[+-]?\d{1,12}")
_UID = re.compile(r"\d+(?:\.\d+)*")


def raw(item: Item, tag: int) -> bytes:
    """The bytes without padding; empty when absent."""
    value = item.get(tag, b"")
    return value.strip(b" \0") if isinstance(value, bytes) else b""


def text(item: Item, tag: int, limit: int = 64) -> str:
    """A code string or the like, everything but printable ASCII replaced: for comparing and for the sidecar."""
    return _printable(raw(item, tag)[:limit])


@lru_cache(maxsize=4096)
def _printable(value: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in value).strip()


def uid(item: Item, tag: int) -> str:
    """A UID, empty when absent. Only digits and dots: it becomes the name of a file."""
    found = _uid(raw(item, tag))
    if found is None:
        raise Refuse("E_UID", f"{tags.name(tag)} is not a UID; ask for the objects to be sent again by their maker")
    return found


@lru_cache(maxsize=4096)
def _uid(value: bytes) -> str | None:
    found = value.decode("latin-1")
    return found if not value or (len(found) <= 64 and _UID.fullmatch(found)) else None


@lru_cache(maxsize=4096)
def decimals(value: bytes, count: int) -> tuple[float, ...]:
    """Exactly `count` finite decimal strings (VR DS); ValueError with the reason otherwise."""
    parts = [part.strip(b" \0") for part in value.split(b"\\")]
    if len(parts) != count:
        raise ValueError(f"has {len(parts)} values where {count} belong")
    if not all(_DECIMAL.fullmatch(part) for part in parts):
        raise ValueError("is not a number")
    numbers = tuple(float(part) for part in parts)
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("is not finite")
    return numbers


def numbers(item: Item, tag: int, count: int, code: str) -> tuple[float, ...] | None:
    """Decimal strings of an attribute; None when absent; refused with `code` when they are no such numbers."""
    value = raw(item, tag)
    if not value:
        return None
    try:
        return decimals(value, count)
    except ValueError as error:
        raise Refuse(code, f"{tags.name(tag)} {error}") from None


def whole(item: Item, tag: int, code: str) -> int | None:
    """An integer string (VR IS)."""
    value = raw(item, tag)
    if not value:
        return None
    if not _WHOLE.fullmatch(value):
        raise Refuse(code, f"{tags.name(tag)} is not a whole number")
    return int(value)


def short(item: Item, tag: int, big: bool, code: str) -> int:
    """An unsigned 16-bit number (VR US); refused when absent or not one value."""
    value = item.get(tag, b"")
    if not isinstance(value, bytes) or len(value) != 2:
        count = len(value) // 2 if isinstance(value, bytes) else 0
        raise Refuse(code, f"{tags.name(tag)} has {count} values where 1 belongs")
    return int.from_bytes(value, "big" if big else "little")
