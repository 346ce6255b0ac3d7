"""Where stages, templates, manifests and the adapter image are: beside this package in a wheel, else in a checkout."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The shipped folder `name` (`stages`, `templates`, `adapter` or `manifests`)."""
    packed = _HERE / "_shipped" / name
    return packed if packed.is_dir() else _HERE.parent / name
