"""New folders made from templates: whole, or not at all."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path

from clara_argo import shipped
from clara_argo.errors import TryAgain, UsageError

EXAMPLE = "my-stage"  # how the template of a stage calls itself


def make(folder: Path, lay: Callable[[], None]) -> None:
    """Fill a folder that does not exist yet, or is empty; what could not be made whole is removed.

    Raises UsageError, TryAgain when the disk is full.
    """
    try:
        there = folder.exists()
        if there and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not an empty folder; name another one")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lay()
        except BaseException:
            _empty(folder)
            if not there:
                folder.rmdir()
            raise
    except OSError as error:
        raise _cannot(error, folder) from None


def make_at_once(folder: Path, lay: Callable[[Path], None]) -> None:
    """As `make`, but whoever looks sees the whole folder or none, also after a crash. Only one at a time may do it.

    What a crash left is hidden beside it, and goes the next time.
    """
    new = folder.with_name(f".{folder.name}.new")
    remove(new)
    try:
        make(new, lambda: lay(new))
        new.rename(folder)  # in the place of an empty one
    except OSError as error:
        remove(new)
        raise _cannot(OSError(error.errno, error.strerror, str(folder)), folder) from None
    except (UsageError, TryAgain) as error:  # nobody asked for the hidden one
        raise type(error)(str(error).replace(str(new), str(folder))) from None


def _cannot(error: OSError, folder: Path) -> UsageError | TryAgain:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TryAgain(f"{folder}: disk full; make room, or make it somewhere else")
    return UsageError(f"{error.filename or folder}: {error.strerror}; make it somewhere else")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            _remove(path)
        else:
            path.unlink()


def stage(folder: Path, name: str = EXAMPLE) -> None:
    """A stage that marks bone in a CT, and runs as it is."""
    copy(shipped.folder("templates") / "stage", folder, {EXAMPLE: name})


def copy(template: Path, folder: Path, replacements: Mapping[str, str] | None = None) -> None:
    """The files of a template and of its folders, with some texts replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(template.iterdir()):
        if path.is_dir():
            if path.name != "__pycache__":  # somebody ran the template in place
                copy(path, folder / path.name, replacements)
            continue
        text = path.read_text(encoding="utf-8")
        for old, new in (replacements or {}).items():
            text = text.replace(old, new)
        (folder / path.name).write_text(text, encoding="utf-8", newline="\n")


def remove(folder: Path) -> None:
    """What `make` has made, when what follows went wrong."""
    _remove(folder, anyway=True)


def _remove(folder: Path, anyway: bool = False) -> None:
    from shutil import rmtree  # brings compression; who only lists never gets here

    rmtree(folder, ignore_errors=anyway)
