"""A folder -> the objects in it, series by series, and what was passed over and why.

Walks sub-folders, follows no link, reads headers only. It decides what is no image; it does not decide whether the
images make a volume.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tags
from elements import Item
from instance import Identity, identity
from part10 import Broken, File, look
from refusal import Refuse, Warn, tail
from shapes import Shapes
from values import raw

MAX_FILES = 200_000
MAX_FOLDERS = 50_000
COMPOSITE = b"1.2.840.10008.5.1.4.1.1."  # storage classes of patients' objects (PS3.4 B.5)
DIRECTORY_GROUP = b"\x04\x00"  # a DICOMDIR begins with it (PS3.3 F.3.2.2)


@dataclass(frozen=True, slots=True)
class Found:
    """A DICOM object that says which it is; the rest of its header is not looked at yet."""

    file: File
    identity: Identity
    item: Item


@dataclass(slots=True)
class Scan:
    """What lies in the folders."""

    objects: list[Found] = field(default_factory=list)
    broken: dict[str, list[Refuse]] = field(default_factory=dict)  # series ("" = not known) -> why
    warnings: list[Warn] = field(default_factory=list)


def scan(folders: list[Path]) -> Scan:
    """Look at every file. Raises Refuse only for what concerns the whole run."""
    result, shapes, strangers, links = Scan(), Shapes(), 0, 0
    for path, is_link in _files(folders):
        if is_link:
            links += 1
            continue
        try:
            seen = look(path, shapes)
        except OSError as error:
            raise Refuse("E_IO", f"file {tail(path.name, 12)}: {error.strerror}; make it readable") from None
        if seen is None:
            strangers += 1
        elif isinstance(seen, Broken):
            _broken(result, seen)
        else:
            _object(result, *seen)
    if strangers:
        result.warnings.append(Warn("W_NOT_DICOM", f"{strangers} file(s) that are no DICOM were skipped"))
    if links:
        result.warnings.append(Warn("W_LINK_SKIPPED", f"{links} link(s) were not followed"))
    return result


def _files(folders: list[Path]) -> Iterator[tuple[Path, bool]]:
    """Regular files by name, and links (True); pipes, devices and sockets are nothing to read."""
    todo, folders_seen, files_seen = [Path(os.path.realpath(folder)) for folder in reversed(folders)], 0, 0
    while todo:
        folders_seen += 1
        if folders_seen > MAX_FOLDERS:
            raise Refuse("E_TOO_LARGE", f"more than {MAX_FOLDERS} folders; give the folder of one study")
        folder = todo.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise Refuse("E_IO", f"folder {tail(folder.name, 12)}: {error.strerror}; make it readable") from None
        todo.extend(Path(entry.path) for entry in reversed(entries) if entry.is_dir(follow_symlinks=False))
        for entry in entries:
            if entry.is_symlink() or entry.is_file(follow_symlinks=False):
                files_seen += 1
                if files_seen > MAX_FILES:
                    raise Refuse("E_TOO_LARGE", f"more than {MAX_FILES} files; give the folder of one study")
                yield Path(entry.path), entry.is_symlink()


def _broken(result: Scan, seen: Broken) -> None:
    try:
        who = identity(seen.found)
        series, name = who.series, f"instance {tail(who.sop)}"
    except Refuse:
        series, name = "", f"file {tail(seen.path.name, 12)}"
    refusal = seen.refusal
    reason = f"{name}: {refusal.reason}; send it again"
    result.broken.setdefault(series, []).append(Refuse(refusal.code, reason, refusal.about))


def _object(result: Scan, file: File, item: Item) -> None:
    try:
        who = identity(item)
    except Refuse as refusal:
        if _of_no_patient(file, item):
            result.warnings.append(Warn("W_NOT_IMAGE", f"{file.label} was skipped: an object without pixels"))
        else:
            result.broken.setdefault("", []).append(Refuse(refusal.code, f"{file.label}: {refusal.reason}"))
        return
    result.objects.append(Found(file, who, item))


def _of_no_patient(file: File, item: Item) -> bool:
    """A directory or a definition (hanging protocol, palette …) has no series; all else that has none was cut."""
    if file.pixels is not None:
        return False
    if sop_class := raw(item, tags.SOP_CLASS_UID):
        return not sop_class.startswith(COMPOSITE)
    with open(file.path, "rb") as source:
        source.seek(file.start)
        return source.read(2) == DIRECTORY_GROUP
