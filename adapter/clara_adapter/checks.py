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
from clara_adapter.contents import data_set_digest, file_digest
from clara_adapter.identity import Identity
from clara_adapter.log import printable
from clara_adapter.store import Instance, Payload, Result
from clara_argo.errors import ClaraError


class MustNotLeave(ClaraError):
    """The result is held; the message names the file, and `why` is the doubt without that name, which is a stage's."""

    def __init__(self, why: str, name: object = None) -> None:
        self.why = why
        super().__init__(why if name is None else f"{_shown(name)}: {why}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    files: int = 20_000
    bytes: int = 8 << 30
    depth: int = 8  # folders in folders


def check(folder: Path, payload: Payload, instances: Sequence[Instance], budget: Budget | None = None) -> list[Result]:
    """The files of a result, in the order in which they are sent. Raises MustNotLeave."""
    source = _Source.of(payload, instances)
    files = [_examined(folder, name, source) for name in _names(folder, budget or Budget())]
    if not files:
        raise MustNotLeave("the result holds no file; the last stage must write DICOM files")
    seen: set[str] = set()
    for file in files:
        if file.result.sop_instance in seen:
            raise MustNotLeave("its SOP Instance UID stands in another file of the result", file.result.file)
        seen.add(file.result.sop_instance)
    known = seen | source.instances.keys()
    for file in files:
        if foreign := file.referenced - known:
            raise MustNotLeave(f"refers to {len(foreign)} instances that are not of this study", file.result.file)
    return [file.result for file in files]


@dataclass(frozen=True, slots=True)
class _Source:
    payload: Payload
    instances: Mapping[str, Instance]
    series: frozenset[str]
    frames_of_reference: frozenset[str]

    @classmethod
    def of(cls, payload: Payload, instances: Sequence[Instance]) -> _Source:
        return cls(
            payload,
            {instance.sop_instance: instance for instance in instances},
            frozenset(instance.series for instance in instances),
            frozenset(instance.frame_of_reference for instance in instances if instance.frame_of_reference),
        )


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
            raise MustNotLeave("is a link, a device or the like, not a file", path.relative_to(folder))
        names.append(_name(path, folder))
        size += state.st_size
        if len(names) > budget.files:
            raise MustNotLeave(f"more than {budget.files} files")
        if size > budget.bytes:
            raise MustNotLeave(f"with it the result is larger than {budget.bytes} bytes", path.relative_to(folder))
    return sorted(names)


def _name(path: Path, folder: Path) -> str:
    """As the state keeps it. A file system may have names that are no text."""
    name = str(path.relative_to(folder))
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise MustNotLeave("its name is not UTF-8", name) from None
    return name


def _walk(folder: Path, depth: int) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            state = entry.stat(follow_symlinks=False)
            if not stat.S_ISDIR(state.st_mode):
                yield Path(entry.path), state
            elif depth == 0:
                raise MustNotLeave("folders nested too deep", entry.name)
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
        raise MustNotLeave(f"{error}", name) from error
    except OSError as error:
        raise MustNotLeave(f"cannot be read: {error.strerror}", name) from error
    if (head.get(0x00020002), head.get(0x00020003)) != (who.sop_class, who.sop_instance):
        raise MustNotLeave("file meta and data set name different UIDs", name)
    syntax = head.get(tags.TRANSFER_SYNTAX, "")
    ours = _compare(name, who, syntax, path, source)
    result = Result(0, name, who.sop_instance, who.sop_class, who.series, syntax, digest, size, int(ours))
    return _File(result, referenced)


def _compare(name: str, who: Identity, syntax: str, path: Path, source: _Source) -> bool:
    """Whether the file is new. Raises MustNotLeave when it is not the payload's patient, study or space."""
    for uid in (who.sop_instance, who.sop_class, who.series):
        if not identity.is_uid(uid):
            raise MustNotLeave("SOP instance, SOP class or series UID is missing or not a UID", name)
    if syntax not in contexts.TRANSFER_SYNTAXES:
        raise MustNotLeave(f"transfer syntax {_shown(syntax)} cannot be sent", name)
    if who.other_patient(source.payload.patient, source.payload.issuer):
        raise MustNotLeave("is of another patient than the study it was made from", name)
    if who.study != source.payload.study:
        raise MustNotLeave("is of another study than the one it was made from", name)
    spaces = source.frames_of_reference
    if who.frame_of_reference and spaces and who.frame_of_reference not in spaces:
        raise MustNotLeave("its frame of reference is none of the study's", name)
    original = source.instances.get(who.sop_instance)
    if original is None and who.series in source.series:
        raise MustNotLeave("is a new instance in a series of the study; a result makes series of its own", name)
    if original is not None and original.digest != data_set_digest(path):
        raise MustNotLeave("has the UID of a received instance, but other content", name)
    return original is None


def _shown(name: object) -> str:
    return f"'{printable(str(name), 100)}'"
