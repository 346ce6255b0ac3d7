"""Whether a job's result may leave: every file is what it says, and belongs to the patient and study it came from.

A stage's output is as untrusted as a peer: regular files only, opened without following links, bounded in number and
size, read with the bounded readers. One doubt holds the whole result. Knows no database and sends nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clara_adapter import contexts, identity, references, tags
from clara_adapter.contents import file_digest, same_data_set
from clara_adapter.identity import Identity
from clara_adapter.log import printable
from clara_adapter.spool import file_name
from clara_adapter.store import Instance, Payload, Result
from clara_argo.errors import ClaraError


class MustNotLeave(ClaraError):
    """The result is held; the message names the file and the doubt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    files: int = 20_000
    bytes: int = 8 << 30
    depth: int = 8  # folders in folders


def check(
    folder: Path, payload: Payload, inputs: Path, instances: Sequence[Instance], budget: Budget | None = None
) -> list[Result]:
    """The files of a result, in the order in which they are sent; `inputs` holds the files of the payload's instances.

    Raises MustNotLeave.
    """
    source = _Source(payload, inputs, {instance.sop_instance: instance for instance in instances})
    files = [_examined(folder, name, source) for name in _names(folder, budget or Budget())]
    if not files:
        raise MustNotLeave("the result holds no file; the last stage must write DICOM files")
    seen: set[str] = set()
    for file in files:
        if file.result.sop_instance in seen:
            raise MustNotLeave(f"{_shown(file.result.file)}: its SOP Instance UID stands in another file of the result")
        seen.add(file.result.sop_instance)
    known = seen | source.instances.keys()
    for file in files:
        if foreign := file.referenced - known:
            raise MustNotLeave(
                f"{_shown(file.result.file)}: refers to {len(foreign)} instances that are not of this study"
            )
    return [file.result for file in files]


@dataclass(frozen=True, slots=True)
class _Source:
    payload: Payload
    inputs: Path
    instances: Mapping[str, Instance]

    @property
    def frames_of_reference(self) -> set[str]:
        return {instance.frame_of_reference for instance in self.instances.values() if instance.frame_of_reference}


@dataclass(frozen=True, slots=True)
class _File:
    result: Result
    referenced: frozenset[str]


def _names(folder: Path, budget: Budget) -> list[str]:
    """Names below the folder, sorted. Raises MustNotLeave for links, devices and too much of anything."""
    names: list[str] = []
    size = 0
    for path, state in _walk(folder, budget.depth):
        if not stat.S_ISREG(state.st_mode):
            raise MustNotLeave(f"{_shown(path.relative_to(folder))}: is a link, a device or the like, not a file")
        names.append(str(path.relative_to(folder)))
        size += state.st_size
        if len(names) > budget.files:
            raise MustNotLeave(f"more than {budget.files} files")
        if size > budget.bytes:
            raise MustNotLeave(
                f"{_shown(path.relative_to(folder))}: with it the result is larger than {budget.bytes} bytes"
            )
    return sorted(names)


def _walk(folder: Path, depth: int) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            state = entry.stat(follow_symlinks=False)
            if not stat.S_ISDIR(state.st_mode):
                yield Path(entry.path), state
            elif depth == 0:
                raise MustNotLeave(f"{_shown(entry.name)}: folders nested too deep")
            else:
                yield from _walk(Path(entry.path), depth - 1)


def _examined(folder: Path, name: str, source: _Source) -> _File:
    path = folder / name
    try:
        digest, size = file_digest(path)
        who = identity.read(path)
        head = tags.read(path, {tags.TRANSFER_SYNTAX, 0x00020002, 0x00020003})
        referenced = references.source_instances(path)
    except identity.Unreadable as error:
        raise MustNotLeave(f"{_shown(name)}: {error}") from error
    except OSError as error:
        raise MustNotLeave(f"{_shown(name)}: cannot be read: {error.strerror}") from error
    if (head.get(0x00020002), head.get(0x00020003)) != (who.sop_class, who.sop_instance):
        raise MustNotLeave(f"{_shown(name)}: file meta and data set name different UIDs")
    syntax = head.get(tags.TRANSFER_SYNTAX, "")
    ours = _compare(name, who, syntax, path, source)
    result = Result(0, name, who.sop_instance, who.sop_class, who.series, syntax, digest, size, int(ours))
    return _File(result, referenced)


def _compare(name: str, who: Identity, syntax: str, path: Path, source: _Source) -> bool:
    """Whether the file is new. Raises MustNotLeave when it is not the payload's patient, study or space."""
    for uid in (who.sop_instance, who.sop_class, who.series):
        if not identity.is_uid(uid):
            raise MustNotLeave(f"{_shown(name)}: SOP instance, SOP class or series UID is missing or not a UID")
    if syntax not in contexts.TRANSFER_SYNTAXES:
        raise MustNotLeave(f"{_shown(name)}: transfer syntax {_shown(syntax)} cannot be sent")
    if who.other_patient(source.payload.patient, source.payload.issuer):
        raise MustNotLeave(f"{_shown(name)}: is of another patient than the study it was made from")
    if who.study != source.payload.study:
        raise MustNotLeave(f"{_shown(name)}: is of another study than the one it was made from")
    spaces = source.frames_of_reference
    if who.frame_of_reference and spaces and who.frame_of_reference not in spaces:
        raise MustNotLeave(f"{_shown(name)}: its frame of reference is none of the study's")
    original = source.instances.get(who.sop_instance)
    if original is not None and not same_data_set(source.inputs / file_name(who.sop_instance), path):
        raise MustNotLeave(f"{_shown(name)}: has the UID of a received instance, but other content")
    return original is None


def _shown(name: object) -> str:
    return f"'{printable(str(name), 100)}'"
