"""Where the shipped stages and templates are: beside this package in a wheel, at the top of a checkout otherwise."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The shipped folder `name` (`stages` or `templates`)."""
    packed = _HERE / "_shipped" / name
    return packed if packed.is_dir() else _HERE.parent / name
