"""Objects -> series of images that belong together: duplicates dropped, what is no image set aside, mixtures refused.

It compares identities and formats; where the planes lie is for `geometry`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import tags
from instance import SECONDARY_CAPTURE, Instance, instance, is_localizer, not_an_image
from refusal import Refuse, Warn, tail
from scan import Found, Scan
from values import text

COMPARE_BLOCK = 1 << 20  # bytes
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Series:
    """The image objects of one series, in no order yet."""

    uid: str
    instances: tuple[Instance, ...]
    warnings: tuple[Warn, ...]

    @property
    def label(self) -> str:
        return f"series {tail(self.uid)}"

    @property
    def by_kind_no_volume(self) -> bool:
        """Screen captures lie beside the series of a study; where they make no volume they stop nobody."""
        return all(entry.identity.sop_class.startswith(SECONDARY_CAPTURE) for entry in self.instances)


@dataclass(frozen=True, slots=True)
class Refused:
    """A series that is not read. `aside` = it need not stop the others: by its kind it is no volume."""

    uid: str
    refusal: Refuse
    aside: bool = False

    def __str__(self) -> str:
        who = f"series {tail(self.uid)}: " if self.uid else ""
        about = f" {self.refusal.about}" if self.refusal.about else ""
        return f"{self.refusal.code}{about}: {who}{self.refusal.reason}"


def sort_out(
    found: Scan, chosen: Sequence[str], modalities: Sequence[str]
) -> tuple[list[Series], list[Refused], list[Warn]]:
    """Series to read, series refused, warnings of the run. `chosen` = series UIDs; empty = all, of all modalities."""
    by_series, warnings = _by_series(found.objects), list(found.warnings)
    refused = [Refused(uid, why) for uid, list_ in found.broken.items() for why in list_ if not uid or _in(uid, chosen)]
    broken = {entry.uid for entry in refused}
    conflicts = _conflicts(found.objects)
    series = []
    for uid, objects in by_series.items():
        images, notes = _images(objects)
        if not _in(uid, chosen) or (images and uid in broken):
            continue
        if images and notes:
            warnings.append(Warn("W_NOT_IMAGE", f"series {tail(uid)}: beside its images {notes} was skipped"))
        modality = text(objects[0].item, tags.MODALITY)
        if not _in(modality, modalities):
            warnings.append(Warn("W_SERIES_SKIPPED", f"series {tail(uid)}: modality {modality} is not asked for"))
            continue
        if not images:
            warnings.append(Warn("W_NOT_IMAGE", f"series {tail(uid)} was skipped: {notes}"))
            continue
        try:
            if uid in conflicts:
                raise conflicts[uid]
            _check_others(images, objects)
            series.append(_series(uid, images))
        except Refuse as refusal:
            refused.append(Refused(uid, refusal, all(_no_volume_by_kind(entry) for entry in images)))
    missing = [uid for uid in chosen if uid not in by_series and uid not in broken]
    refused += [Refused(uid, Refuse("E_NO_IMAGES", "is not in the input; check --series")) for uid in missing]
    return series, refused, warnings


def _in(value: str, chosen: Sequence[str]) -> bool:
    return not chosen or value in chosen


def _by_series(objects: Iterable[Found]) -> dict[str, list[Found]]:
    by_series: dict[str, list[Found]] = {}
    for entry in objects:
        by_series.setdefault(entry.identity.series, []).append(entry)
    return by_series


def _images(objects: list[Found]) -> tuple[list[Found], str]:
    """The objects that may be images, and what the others are."""
    reasons = [not_an_image(entry.file, entry.identity) for entry in objects]
    images = [entry for entry, reason in zip(objects, reasons, strict=True) if not reason]
    others = Counter(filter(None, reasons)).most_common(1)
    return images, others[0][0] if others else ""


def _check_others(images: list[Found], objects: list[Found]) -> None:
    """An object of the class of the images but without pixels is an image that was cut between two elements."""
    classes = {entry.identity.sop_class for entry in images}
    for entry in objects:
        if entry.file.pixels is None and entry.identity.sop_class in classes:
            reason = f"instance {tail(entry.identity.sop)}: the pixels are missing; send it again"
            raise Refuse("E_TRUNCATED", reason)


def _conflicts(objects: Iterable[Found]) -> dict[str, Refuse]:
    """Series that contradict other series: a study of several patients, an instance UID that two series claim."""
    conflicts: dict[str, Refuse] = {}
    patients: dict[str, dict[bytes, str]] = {}
    owners: dict[str, str] = {}
    for entry in objects:
        who = entry.identity
        ids = patients.setdefault(who.study, {})
        ids.setdefault(who.patient[0], who.series)
        owner = owners.setdefault(who.sop, who.series)
        if owner != who.series:
            reason = f"instance {tail(who.sop)} is in two series; keep the right one"
            conflicts[owner] = conflicts[who.series] = Refuse("E_DUP_UID_DIFFERENT", reason)
    for entry in objects:
        count = len(patients[entry.identity.study])
        if count > 1:
            reason = f"its study holds objects of {count} patients; check and separate them"
            conflicts[entry.identity.series] = Refuse("E_MIXED_PATIENTS", reason, f"n={count}")
    return conflicts


def _no_volume_by_kind(entry: Found) -> bool:
    """Scouts and screen captures lie beside the series of a study; they stop nobody."""
    return is_localizer(entry.item) or entry.identity.sop_class.startswith(SECONDARY_CAPTURE)


def _series(uid: str, objects: list[Found]) -> Series:
    _same(objects, lambda entry: entry.identity.study, "E_MIXED_STUDIES", "studies", "")
    _same(objects, lambda entry: entry.identity.patient, "E_MIXED_PATIENTS", "patients", "")
    objects, warnings = _without_duplicates(objects)
    kept = [entry for entry in objects if not is_localizer(entry.item)]
    if len(kept) < len(objects):
        warnings.append(Warn("W_LOCALIZER", f"{len(objects) - len(kept)} localizer image(s) were skipped"))
    if not kept:
        raise Refuse("E_NO_IMAGES", "nothing but localizer images; send the series itself")
    instances = tuple(_instance(entry) for entry in kept)
    _belong_together(instances)
    counts = Counter(note for entry in instances for note in entry.notes)
    warnings += [
        Warn(note.code, f"{count} image(s): {note.message}") for note, count in sorted(counts.items(), key=str)
    ]
    return Series(uid, instances, tuple(warnings + _values_warnings(instances)))


def _instance(entry: Found) -> Instance:
    try:
        return instance(entry.file, entry.item, entry.identity)
    except Refuse as refusal:
        reason = f"instance {tail(entry.identity.sop)}: {refusal.reason}"
        raise Refuse(refusal.code, reason, refusal.about) from None


def _belong_together(instances: tuple[Instance, ...]) -> None:
    hint = "; check and send the series again"
    _same(instances, lambda i: i.frame_of_reference, "E_MIXED_FRAMES_OF_REFERENCE", "frames of reference", hint)
    _same(instances, lambda i: i.modality, "E_MIXED_MODALITIES", "modalities", hint)
    _same(instances, lambda i: i.identity.sop_class, "E_MIXED_CLASSES", "SOP classes", hint)
    _same(instances, lambda i: i.photometric, "E_MIXED_PHOTOMETRIC", "photometric interpretations", hint)
    planes = [plane for entry in instances for plane in entry.planes]
    _same(planes, lambda plane: plane.rescaled, "E_MIXED_RESCALE", "kinds of planes, with rescale and without,", hint)
    _same(planes, lambda plane: plane.unit, "E_MIXED_UNITS", "units of values", hint)


def _same(entries: Sequence[T], key: Callable[[T], object], code: str, what: str, hint: str) -> None:
    count = len({key(entry) for entry in entries})
    if count > 1:
        raise Refuse(code, f"{count} {what} in one series{hint or '; separate them'}", f"n={count}")


def _values_warnings(instances: tuple[Instance, ...]) -> list[Warn]:
    first, warnings = instances[0], []
    if first.photometric == "MONOCHROME1":
        warnings.append(Warn("W_MONOCHROME1", "shown inverted on screens; the volume holds stored values x rescale"))
    if first.modality == "CT" and not first.planes[0].rescaled:
        warnings.append(Warn("W_NO_RESCALE", "no Rescale Slope and Intercept: values as stored, not Hounsfield units"))
    return warnings


def _without_duplicates(objects: list[Found]) -> tuple[list[Found], list[Warn]]:
    """One of each SOP instance; two that differ in anything the reader looks at are refused."""
    first: dict[str, Found] = {}
    dropped = 0
    for entry in objects:
        known = first.setdefault(entry.identity.sop, entry)
        if known is not entry:
            if not _equal(known, entry):
                reason = (
                    f"instance {tail(entry.identity.sop)} is there twice with different content; find the right one"
                )
                raise Refuse("E_DUP_UID_DIFFERENT", reason)
            dropped += 1
    warnings = [Warn("W_DUP_UID", f"{dropped} repeated object(s) were dropped")] if dropped else []
    return list(first.values()), warnings


def _equal(one: Found, other: Found) -> bool:
    a, b = one.file, other.file
    if a.deflated or b.deflated or a.pixels is None or b.pixels is None:
        return a.size == b.size and _same_bytes(a.path, 0, b.path, 0)
    if one.item != other.item or a.encoding.big != b.encoding.big:
        return False
    if (a.pixels.length is None or b.pixels.length is None) and a.syntax != b.syntax:
        return False
    return a.pixels.length == b.pixels.length and _same_bytes(a.path, a.pixels.offset, b.path, b.pixels.offset)


def _same_bytes(one: os.PathLike[str], start: int, other: os.PathLike[str], begin: int) -> bool:
    with open(one, "rb") as a, open(other, "rb") as b:
        a.seek(start)
        b.seek(begin)
        while True:
            left, right = a.read(COMPARE_BLOCK), b.read(COMPARE_BLOCK)
            if left != right:
                return False
            if not left:
                return True
