"""Python's collector of cycles, at rest while very many values come to be of which none can go.

The collector would look at all of them again and again: for a large file that is read, it took half of the time; for
the hundreds of classes of a large library a third, when they are made and once more when Python ends.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_rest() -> Iterator[None]:
    """Also a decorator. Inside another one it changes nothing; a collector that was off before stays off."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def passing_over() -> Iterator[None]:
    """At rest, and what there is at the end is never looked at again: for an import of what stays until Python ends.

    Other values that are alive then are passed over, too: a cycle among them is not freed. So do it once, at a start.
    """
    with at_rest():
        yield
        gc.freeze()
