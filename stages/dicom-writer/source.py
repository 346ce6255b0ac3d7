"""The source of a volume: the instances of one series, and their image planes in patient space.

Classic single-frame and enhanced multi-frame images. Knows nothing of the volume that is to be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headers import UNREADABLE, Instance, read, words
from pydicom.dataset import Dataset
from refusal import Refused
from sidecar import Sidecar
from texts import decimal, number, valid


@dataclass(frozen=True, slots=True)
class Plane:
    """One image plane: a classic instance or one frame of another. Patient space, mm, as text of the source."""

    instance: Instance
    frame: int | None  # from 1; None in a classic instance
    rows: int
    columns: int
    position: tuple[str, ...]  # of the centre of the first pixel: x, y, z
    orientation: tuple[str, ...]  # along a row, then along a column
    spacing: tuple[str, ...]  # between rows, between columns
    thickness: str


def choose(study: dict[str, list[Instance]], said: Sidecar) -> list[Instance]:
    """The instances of the series of a volume, or those of them that its sidecar names; of one patient and study."""
    if said.series not in study:
        raise Refused(
            "E_NO_SOURCE", f"the study has {len(study)} image series, none of them the one the volume names",
            "give the stage the study the volume was read from; without a sidecar the file name is the series",
        )  # fmt: skip
    instances = study[said.series]
    if said.planes:
        instances = _named(instances, said.planes)
    if len({(instance.patient, instance.study) for instance in instances}) > 1:
        raise Refused("E_PATIENT", "the images of the source series differ in patient or study", "correct the source")
    if not instances[0].study or said.study not in ("", instances[0].study):
        raise Refused("E_PATIENT", "the sidecar and the source series differ in StudyInstanceUID", "check the input")
    frames = {instance.frame_of_reference for instance in instances}
    if len(frames) > 1 or "" in frames:
        raise Refused("E_GEOMETRY", "the source series does not have one FrameOfReferenceUID", "correct the source")
    if said.frame_of_reference not in ("", *frames):
        raise Refused(
            "E_GEOMETRY", "the sidecar and the source series differ in FrameOfReferenceUID", "check the input"
        )
    return instances


def _named(instances: Iterable[Instance], wanted: Sequence[tuple[str, int | None]]) -> list[Instance]:
    named = {uid for uid, _ in wanted}
    found = {instance.uid: instance for instance in instances if instance.uid in named}
    if len(found) < len(named):
        raise Refused(
            "E_NO_SOURCE", f"{len(named) - len(found)} of {len(named)} source images are not in the study",
            "give the stage the whole study",
        )  # fmt: skip
    if any((frame or 1) > (found[uid].frames or 1) for uid, frame in wanted):
        raise Refused("E_NO_SOURCE", "the sidecar names a frame that its source image lacks", "check the sidecar")
    return list(found.values())


def planes(instances: Iterable[Instance], wanted: Sequence[tuple[str, int | None]] = ()) -> list[Plane]:
    """The image planes of a series that have a place in patient space; only those wanted, if any are named."""
    found: list[Plane] = []
    for instance in instances:
        if instance.frames:
            found += _frames(instance)
        elif "ImagePositionPatient" in instance.says:
            found.append(_plane(instance, None, [instance.says]))
    names = {(uid, frame or 1) for uid, frame in wanted}
    return [plane for plane in found if not wanted or (plane.instance.uid, plane.frame or 1) in names]


def _frames(instance: Instance) -> list[Plane]:
    """The planes of a multi-frame object, from its functional groups (PS3.3 C.7.6.16)."""
    header = read(instance.path)
    try:
        shared = [header.SharedFunctionalGroupsSequence[0]] if header.get("SharedFunctionalGroupsSequence") else []
        groups = list(header.get("PerFrameFunctionalGroupsSequence") or [])
        if len(groups) != instance.frames:
            raise Refused("E_GEOMETRY", f"an object of {instance.frames} frames has groups for {len(groups)}")
        return [_plane(instance, k, _geometry([group, *shared])) for k, group in enumerate(groups, 1)]
    except UNREADABLE as error:
        raise Refused("E_GEOMETRY", f"the functional groups of a multi-frame object cannot be read: {error}") from error


def _geometry(groups: list[Dataset]) -> list[Mapping[str, tuple[str, ...]]]:
    names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    items = [group[name].value[0] for group in groups for name in names if group.get(name)]
    return [{element.keyword: words(item, element.keyword) for element in item} for item in items]


def _plane(instance: Instance, frame: int | None, parts: list[Mapping[str, tuple[str, ...]]]) -> Plane:
    def get(keyword: str, count: int) -> tuple[str, ...]:
        found: tuple[str, ...] = next((part[keyword] for part in parts if keyword in part), ())
        if len(found) != count or not all(map(number, found)):
            raise Refused("E_GEOMETRY", f"{keyword} of a source image is not {count} numbers", "correct the source")
        return tuple(word if valid("DS", word) else decimal(float(word)) for word in found)

    return Plane(
        instance=instance,
        frame=frame,
        rows=instance.rows,
        columns=instance.columns,
        position=get("ImagePositionPatient", 3),
        orientation=get("ImageOrientationPatient", 6),
        spacing=get("PixelSpacing", 2),
        thickness=next((word for part in parts for word in part.get("SliceThickness", ()) if valid("DS", word)), ""),
    )
