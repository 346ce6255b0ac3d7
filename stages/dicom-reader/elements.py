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

NOWHERE = 1 << 62

Item = dict[int, Union[bytes, "list[Item]"]]

_LITTLE, _BIG = struct.Struct("<HH2sH"), struct.Struct(">HH2sH")
_NOTHING: frozenset[int] = frozenset()
_WATCHED = tuple(tags.VALUES | entered | tags.PIXELS for entered in tags.ENTERED)


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

    end: int  # where it ends; NOWHERE = at its delimiter
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
    heads: list[tuple[int, int]] = field(default_factory=list)  # begin and end of each tag with its VR and length
    values: list[tuple[int, int, int]] = field(default_factory=list)  # tag, begin and end of each value that was kept
    _left: int = MAX_ELEMENTS
    _levels: list[_Level] = field(default_factory=list)

    def run(self) -> None:
        """Raises NeedMore when the data end before the header and are not whole, Refuse when they are no data set."""
        end = len(self.data) if self.whole else NOWHERE
        self._levels = [_Level(end, self.encoding.implicit, item=self.found)]
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
        """Elements of one item until it ends, a sequence begins, or the pixels do; returns where to go on.

        The loop runs for every element of every file: what is not looked at costs one look into two sets.
        """
        data, end, explicit, left = self.data, level.end, not level.implicit, self._left
        watched = _WATCHED[level.depth] if level.item is not None else _NOTHING
        visited = self.heads.append
        head = (_BIG if self.encoding.big else _LITTLE).unpack_from
        while position < end:
            begin = position
            group, element, vr, length = head(data, position)
            if explicit and vr in SHORT:
                position += 8
            else:
                vr, length, position = self._long_header(level.implicit or group == 0xFFFE, vr, position)
            visited((begin, position))
            left -= 1
            tag = group << 16 | element
            if tag not in watched and length != UNDEFINED and group != 0xFFFE:
                if left < 0:
                    raise Refuse("E_TOO_LARGE", f"more than {MAX_ELEMENTS} elements before the pixels")
                position += length
                continue
            self._left = left
            if tag in tags.VALUES and level.item is not None and length != UNDEFINED:
                position = self._keep(level.item, tag, position, length)
                continue
            return self._special(level, tag, vr, length, position)
        return self._leave(level, position)

    def _long_header(self, implicit: bool, vr: bytes, position: int) -> tuple[bytes, int, int]:
        """VR and length of an element without VR, or with one whose length has 32 bits; and where its value begins."""
        order = ">I" if self.encoding.big else "<I"
        if implicit:
            return b"", struct.unpack_from(order, self.data, position + 4)[0], position + 8
        if vr in LONG or (vr.isalpha() and vr.isupper()):  # a VR of a later standard has the long form
            return vr, struct.unpack_from(order, self.data, position + 8)[0], position + 12
        raise Refuse("E_UNREADABLE", f"no value representation at byte {position}: not the encoding it says it has")

    def _special(self, level: _Level, tag: int, vr: bytes, length: int, position: int) -> int:
        """Pixels, the end of an item, or a sequence; returns where to go on."""
        if tag in tags.PIXELS and len(self._levels) == 1:
            self.pixels = Pixels(tag, vr, position, None if length == UNDEFINED else length)
            self._levels.clear()
        elif tag == tags.ITEM_END and level.end == NOWHERE and len(self._levels) > 1:
            self._levels.pop()
        elif tag >> 16 == 0xFFFE:
            raise Refuse("E_UNREADABLE", f"a delimiter out of place at byte {position - 8}")
        else:
            self._open(level, tag, vr, length, position)
        return position

    def _leave(self, level: _Level, position: int) -> int:
        """The end of an item or sequence of known length."""
        if position > len(self.data):
            raise self._ends_early()
        if position > level.end:
            raise Refuse("E_UNREADABLE", f"an element before byte {position} is longer than what it lies in")
        self._levels.pop()
        return position

    def _keep(self, item: Item, tag: int, position: int, length: int) -> int:
        if length > (MAX_TABLE if tag == tags.EXTENDED_OFFSET_TABLE else MAX_VALUE):
            raise Refuse("E_UNREADABLE", f"{tags.name(tag)} has {length} bytes")
        if position + length > len(self.data):
            raise self._ends_early()
        value = self.data[position : position + length]
        if item.setdefault(tag, value) != value:
            raise Refuse("E_UNREADABLE", f"{tags.name(tag)} stands twice with different values")
        self.values.append((tag, position, position + length))
        return position + length

    def _open(self, level: _Level, tag: int, vr: bytes, length: int, position: int) -> None:
        """Go into a sequence whose items are kept, or one (or fragments) whose length is not said."""
        items: list[Item] | None = None
        if level.item is not None and tag in tags.ENTERED[level.depth]:
            if tag in level.item or vr not in (b"", b"SQ", b"UN"):
                raise Refuse("E_UNREADABLE", f"{tags.name(tag)} stands twice, or is not a sequence")
            items = level.item[tag] = []
        implicit = level.implicit or vr == b"UN"  # PS3.5 6.2.2 note 4
        self._push(level, _Level(NOWHERE, implicit, items=items, sequence=True, depth=level.depth), length, position)

    def _push(self, outer: _Level, inner: _Level, length: int, position: int) -> None:
        if len(self._levels) >= MAX_DEPTH:
            raise Refuse("E_TOO_LARGE", f"sequences nested deeper than {MAX_DEPTH // 2}")
        if length != UNDEFINED:
            inner.end = position + length
            if inner.end > outer.end:
                if self.whole and outer is self._levels[0]:
                    raise self._ends_early()
                raise Refuse("E_UNREADABLE", f"a sequence at byte {position} is longer than what it lies in")
        self._levels.append(inner)

    def _items(self, level: _Level, position: int) -> int:
        """The items of a sequence, up to one that must be gone into; returns where to go on."""
        plain = struct.Struct(">HHI" if self.encoding.big else "<HHI").unpack_from
        while position < level.end:
            group, element, length = plain(self.data, position)
            self.heads.append((position, position + 8))
            tag, position, self._left = group << 16 | element, position + 8, self._left - 1
            if tag == tags.SEQUENCE_END and level.end == NOWHERE:
                self._levels.pop()
                return position
            if tag != tags.ITEM:
                raise Refuse("E_UNREADABLE", f"no item where one belongs, at byte {position - 8}")
            if self._left < 0:
                raise Refuse("E_TOO_LARGE", f"more than {MAX_ELEMENTS} elements before the pixels")
            if length == UNDEFINED or level.items is not None:
                item: Item | None = None
                if level.items is not None:
                    item = {}
                    level.items.append(item)
                inner = _Level(NOWHERE, level.implicit, item=item, depth=level.depth + 1)
                self._push(level, inner, length, position)
                return position
            position += length
        return self._leave(level, position)
