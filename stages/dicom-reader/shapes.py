"""Headers that look alike. Most slices of a series have the same elements at the same places: then no walk is needed.

A walk looks at nothing but tags, VRs and lengths on its way to the pixels. Where another file has the very same ones at
the very same places, it would go the very same way: so its values can be taken from there. Compared byte by byte.
"""

from __future__ import annotations

import struct
from collections import deque

from elements import Encoding, Item, Pixels, Walk

KEPT = 8  # shapes that are tried


class Shape:
    """The way of one finished walk, relative to the start of its data set."""

    def __init__(self, walk: Walk, pixels: Pixels) -> None:
        self.encoding = walk.encoding
        form, at = "", walk.start
        for begin, end in walk.heads:
            form += f"{begin - at}x{end - begin}s"
            at = end
        self._heads = struct.Struct("<" + form)
        self._expected = self._heads.unpack_from(walk.data, walk.start)
        self._values = [(tag, begin - walk.start, end - walk.start) for tag, begin, end in walk.values]
        self._pixels = pixels._replace(offset=pixels.offset - walk.start)
        self._last = self._expected[-1]
        self._end = self._pixels.offset

    def fits(self, data: bytes, start: int) -> bool:
        end = start + self._end
        if data[end - len(self._last) : end] != self._last:  # most that do not fit differ here
            return False
        return self._heads.unpack_from(data, start) == self._expected

    def take(self, data: bytes, start: int) -> tuple[Item, Pixels]:
        """The values and pixels of a data set that fits."""
        found: Item = {tag: data[start + begin : start + end] for tag, begin, end in self._values}
        return found, self._pixels._replace(offset=start + self._end)


class Shapes:
    """The shapes seen last."""

    def __init__(self) -> None:
        self._shapes: deque[Shape] = deque(maxlen=KEPT)

    def find(self, data: bytes, start: int, encoding: Encoding) -> tuple[Item, Pixels] | None:
        for shape in self._shapes:
            if shape.encoding == encoding and shape.fits(data, start):
                return shape.take(data, start)
        return None

    def learn(self, walk: Walk) -> None:
        """Remember the way of a walk that went straight to its pixels."""
        values = walk.found.values()
        straight = len(walk.values) == len(walk.found) and all(isinstance(value, bytes) for value in values)
        if walk.pixels is not None and straight:
            self._shapes.appendleft(Shape(walk, walk.pixels))
