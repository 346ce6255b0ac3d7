"""Python's collector of cycles, at rest while a file is read.

A file becomes very many values without a cycle among them, and the collector would look at all of them again and again:
for a large file it took half of the time.
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
