"""Text of files, and names of files, on a terminal: they are anybody's, and must not steer it."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Every character that is none to look at as an escape, but those to `keep`."""
    if text.isprintable():
        return text
    return "".join(
        mark if mark.isprintable() or mark in keep else mark.encode("unicode_escape").decode() for mark in text
    )
