"""The library `clara` that operators of Clara Deploy import: whether a stage's code does, and where ours is.

It is offered to those stages only: the name belongs to other packages as well, which must stay what they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from clara_argo import shipped

PACKAGE = "clara"
IMPORT = re.compile(
    rb"(?:^|[;:])[ \t]*(?:from|import)[ \t]+(?:\w[\w., \t]*,[ \t]*)?clara(?:\.logging(?:\.\w+)?)?(?![\w.])",
    re.MULTILINE,
)
REQUIRED = re.compile(
    rb"^[ \t]*clara(?![\w.-])", re.MULTILINE | re.IGNORECASE
)  # in a requirements.txt: PyPI's, or their own
INTERPRETED = re.compile(rb"#![^\n]*python")
MAX_FILES = 1000  # files of a stage's code that are looked at
MAX_BYTES = 1 << 20  # of each
EXECUTABLE = 0o111  # bits of a mode
LEFT_OUT = {"__pycache__", "node_modules", "site-packages", "venv"}


def folder() -> Path:
    """Holds the package `clara` and nothing else: a folder for PYTHONPATH."""
    return shipped.folder("stages") / "shim"


def package() -> Path:
    return folder() / PACKAGE


def wanted(stage: Path) -> bool:
    """Whether the code in a stage's folder imports the library, and does not bring one of its own."""
    if (stage / PACKAGE).is_dir() or (stage / f"{PACKAGE}.py").is_file():
        return False
    requirements = stage / "requirements.txt"
    if requirements.is_file() and REQUIRED.search(beginning(requirements)):
        return False
    return any(IMPORT.search(text) for text in _programs(stage))


def _programs(stage: Path) -> Iterator[bytes]:
    """The beginning of each Python file."""
    for path in programs(stage, ("", ".py")):
        text = beginning(path)
        if path.suffix or INTERPRETED.match(text):
            yield text


def programs(stage: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """The files of a stage's code; folders of installed packages and what is hidden are left out.

    A file without a suffix is code when it may be executed: data have none either.
    """
    number = 0
    for place, folders, files in os.walk(stage):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if path.suffix not in suffixes or not path.is_file():
                continue
            if not path.suffix and not path.stat().st_mode & EXECUTABLE:
                continue
            number += 1
            if number > MAX_FILES:
                return
            yield path


def beginning(path: Path) -> bytes:
    """Of a file; b"" of one that cannot be read: this only looks for advice, whoever runs it says what is wrong."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES)
    except OSError:
        return b""
