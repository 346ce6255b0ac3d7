"""Bytes of a DICOM data set -> the few attributes the reader needs, and where the pixels lie (PS3.5 section 7).

One pass, no recursion, bounded: elements, depth and length of values have limits, so that no file costs more than
about a second. It knows implicit and explicit VR and both byte orders; it decodes no value and no pixel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple, Union

import tags
from refusal import Refuse

MAX_ELEMENTS = 1_000_000  # an enhanced object with 10 000 frames has half of that
MAX_DEPTH = 64  # levels; a sequence and its item are two
MAX_VALUE = 1 << 16  # bytes of one attribute the reader keeps
MAX_TABLE = 1 << 24  # bytes of an extended offset table
UNDEFINED = 0xFFFFFFFF

SHORT = frozenset((
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
))  # fmt: skip
LONG = frozenset((
    b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV",
))  # fmt: skip

Item = dict[int, Union[bytes, "list[Item]"]]


class NeedMore(Exception):
    """The header goes on behind the bytes that were given."""


class Encoding(NamedTuple):
    """How a data set is written."""

    implicit: bool = False
    big: bool = False


class Pixels(NamedTuple):
    """Where the pixels are: bytes from the start of the data given; `length` None = encapsulated (PS3.5 A.4)."""

    tag: int
    vr: bytes
    offset: int
    length: int | None


@dataclass(slots=True)
class _Level:
    """One level of nesting that the walk is in: the content of a sequence, or of an item."""

    end: int  # where it ends; -1 = at its delimiter
    implicit: bool
    item: Item | None = None  # an item whose values are kept; None = stepped over
    items: list[Item] | None = None  # of a sequence whose items are kept
    sequence: bool = False
    depth: int = 0  # of kept items: 0 = the data set itself


@dataclass(slots=True)
class Walk:
    """Walk over `data` from `start`; `found` fills as it goes, so that a broken file still says whose it is."""

    data: bytes
    start: int
    encoding: Encoding
    whole: bool  # `data` is all there is
    found: Item = field(default_factory=dict)
    pixels: Pixels | None = None
    _left: int = MAX_ELEMENTS
    _levels: list[_Level] = field(default_factory=list)

    def run(self) -> None:
        """Raises NeedMore when the data end before the header and are not whole, Refuse when they are no data set."""
        self._levels = [_Level(-1, self.encoding.implicit, item=self.found)]
        position = self.start
        try:
            while self._levels:
                level = self._levels[-1]
                position = self._items(level, position) if level.sequence else self._elements(level, position)
        except struct.error:
            raise self._ends_early() from None

    def _ends_early(self) -> Exception:
        return Refuse("E_TRUNCATED", "the file ends in the middle of its header") if self.whole else NeedMore()

    def _elements(self, level: _Level, position: int) -> int:
        """Elements of one item until it ends, a sequence begins, or the pixels do; returns where to go on."""
        size, end, item, values = len(self.data), level.end, level.item, tags.VALUES
        root = len(self._levels) == 1
        while position != end and not (root and position == size and self.whole):
            tag, vr, length, position = self._header(level.implicit, position)
            if tag >= 0x7FE00000 and root and tag in tags.PIXELS:
                self.pixels = Pixels(tag, vr, position, None if length == UNDEFINED else length)
                break
            if tag == tags.ITEM_END and end == -1 and not root:
                break
            if length == UNDEFINED or self._entered(level, tag):
                self._open(level, tag, vr, length, position)
                return position
            if item is not None and tag in values:
                self._keep(item, tag, position, length)
            position += length
            if position > size:
                raise self._ends_early()
            if position > end >= 0:
                raise Refuse("E_UNREADABLE", f"{tags.name(tag)} is longer than the item it lies in")
        self._levels.pop()
        return position

    def _header(self, implicit: bool, position: int) -> tuple[int, bytes, int, int]:
        """Tag, VR, length of the element at `position`, and where its value begins."""
        self._left -= 1
        if self._left < 0:
            raise Refuse("E_TOO_LARGE", f"more than {MAX_ELEMENTS} elements before the pixels")
        order = ">" if self.encoding.big else "<"
        group, element, vr, length = struct.unpack_from(order + "HH2sH", self.data, position)
        if implicit or group == 0xFFFE:
            return group << 16 | element, b"", struct.unpack_from(order + "I", self.data, position + 4)[0], position + 8
        if vr in SHORT:
            return group << 16 | element, vr, length, position + 8
        if vr in LONG or (vr.isalpha() and vr.isupper()):  # a VR of a later standard has the long form
            length = struct.unpack_from(order + "I", self.data, position + 8)[0]
            return group << 16 | element, vr, length, position + 12
        raise Refuse("E_UNREADABLE", f"no value representation at byte {position}: not the encoding it says it has")

    def _entered(self, level: _Level, tag: int) -> bool:
        return level.item is not None and level.depth < len(tags.ENTERED) and tag in tags.ENTERED[level.depth]

    def _keep(self, item: Item, tag: int, position: int, length: int) -> None:
        if length > (MAX_TABLE if tag == tags.EXTENDED_OFFSET_TABLE else MAX_VALUE):
            raise Refuse("E_UNREADABLE", f"{tags.name(tag)} has {length} bytes")
        if position + length > len(self.data):
            raise self._ends_early()
        value = self.data[position : position + length]
        if item.setdefault(tag, value) != value:
            raise Refuse("E_UNREADABLE", f"{tags.name(tag)} stands twice with different values")

    def _open(self, level: _Level, tag: int, vr: bytes, length: int, position: int) -> None:
        """Go into a sequence whose items are kept, or one (or fragments) whose length is not said."""
        if tag >> 16 == 0xFFFE:
            raise Refuse("E_UNREADABLE", f"a delimiter out of place at byte {position - 8}")
        if len(self._levels) >= MAX_DEPTH:
            raise Refuse("E_TOO_LARGE", f"sequences nested deeper than {MAX_DEPTH // 2}")
        items: list[Item] | None = None
        if level.item is not None and self._entered(level, tag):
            if tag in level.item or vr not in (b"", b"SQ", b"UN"):
                raise Refuse("E_UNREADABLE", f"{tags.name(tag)} stands twice, or is not a sequence")
            items = level.item[tag] = []
        end = -1 if length == UNDEFINED else position + length
        if end > level.end >= 0:
            raise Refuse("E_UNREADABLE", f"{tags.name(tag)} is longer than the item it lies in")
        implicit = level.implicit or vr == b"UN"  # PS3.5 6.2.2 note 4
        self._levels.append(_Level(end, implicit, items=items, sequence=True, depth=level.depth))

    def _items(self, level: _Level, position: int) -> int:
        """The items of a sequence, up to one that must be gone into; returns where to go on."""
        while position != level.end:
            tag, _, length, position = self._header(True, position)
            if tag == tags.SEQUENCE_END and level.end == -1:
                break
            if tag != tags.ITEM:
                raise Refuse("E_UNREADABLE", f"no item where one belongs, at byte {position - 8}")
            if length == UNDEFINED or level.items is not None:
                self._open_item(level, length, position)
                return position
            position += length
            if position > len(self.data):
                raise self._ends_early()
            if position > level.end >= 0:
                raise Refuse("E_UNREADABLE", "an item is longer than its sequence")
        self._levels.pop()
        return position

    def _open_item(self, level: _Level, length: int, position: int) -> None:
        if len(self._levels) >= MAX_DEPTH:
            raise Refuse("E_TOO_LARGE", f"sequences nested deeper than {MAX_DEPTH // 2}")
        item: Item | None = None
        if level.items is not None:
            item = {}
            level.items.append(item)
        end = -1 if length == UNDEFINED else position + length
        if end > level.end >= 0:
            raise Refuse("E_UNREADABLE", "an item is longer than its sequence")
        self._levels.append(_Level(end, level.implicit, item=item, depth=level.depth + 1))
