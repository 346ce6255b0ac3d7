"""The sidecar of a volume as frozen values: what it is, where it comes from, what its labels mean.

Every text that reaches a DICOM object is checked here: length, no control characters, no backslash (it separates
values, PS3.5 6.2). Knows the sidecar's schema 1 (clara_driver/SIDECAR.md) and nothing of DICOM files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refusal import Refused, shown

from clara_driver import volume

MAX_VALUE = 65535  # of a label, and of segments in an object (Segment Number is US)
INTEGERS = ("MET_CHAR", "MET_UCHAR", "MET_SHORT", "MET_USHORT", "MET_INT", "MET_UINT")
NOTICE = "Not for clinical use"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str


TISSUE = Code("85756007", "SCT", "Tissue")


@dataclass(frozen=True, slots=True)
class Segment:
    """What one value of a label map means."""

    value: int
    label: str
    category: Code = TISSUE
    type: Code = TISSUE
    laterality: Code | None = None
    color: tuple[int, int, int] | None = None  # sRGB


@dataclass(frozen=True, slots=True)
class Algorithm:
    name: str = ""
    version: str = ""
    digest: str = ""  # of the model


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a volume is. `segments` is None when nobody said what the labels mean."""

    kind: str  # "labels" or "image"
    series: str  # SeriesInstanceUID of the source
    study: str = ""
    frame_of_reference: str = ""  # these two only if somebody said them
    planes: tuple[tuple[str, int | None], ...] = ()  # SOPInstanceUID and frame of the source; empty = all
    segments: tuple[Segment, ...] | None = None
    algorithm: Algorithm = Algorithm()
    notice: str = NOTICE
    derivation: str = ""
    derivation_code: Code | None = None
    unit: str = ""


def of(path: Path, element: str) -> Sidecar:
    """The sidecar of a volume; without one the file name is the series, and small unsigned numbers are labels.

    `element` is the element type of the volume. Raises Refused (E_VOLUME, E_LABELS).
    """
    try:
        given = volume.read_sidecar(path)
    except (volume.VolumeError, OSError) as error:
        raise Refused(
            "E_VOLUME", shown(path, str(error)), "write the sidecar as clara_driver/SIDECAR.md says"
        ) from error
    if given is None:
        return Sidecar(kind="labels" if element in ("MET_UCHAR", "MET_USHORT") else "image", series=path.stem)
    kind = given.get("kind")
    if kind not in ("labels", "image") or given.get("schema", 1) != 1:
        raise Refused("E_VOLUME", f"{shown(volume.sidecar_path(path))}: kind must be labels or image, schema 1")
    if kind == "labels" and element not in INTEGERS:
        raise Refused("E_LABELS", f"{shown(path)}: labels must be whole numbers, not {element}", "write MET_UCHAR")
    try:
        return _parse(given, kind, path.stem)
    except ValueError as error:
        code = "E_LABELS" if kind == "labels" else "E_VOLUME"
        raise Refused(code, f"{shown(volume.sidecar_path(path))}: {error}", "correct the sidecar") from error


def _parse(given: Mapping[str, Any], kind: str, name: str) -> Sidecar:
    series = _mapping(given.get("series", {}), "series")
    values = _mapping(given.get("values", {}), "values")
    notice = _text(given.get("notice", ""), "notice", 1024)
    return Sidecar(
        kind=kind,
        series=_text(series.get("SeriesInstanceUID", name), "SeriesInstanceUID", 255),
        study=_text(series.get("StudyInstanceUID", ""), "StudyInstanceUID", 64),
        frame_of_reference=_text(series.get("FrameOfReferenceUID", ""), "FrameOfReferenceUID", 64),
        planes=tuple(map(_plane, _list(given.get("instances", []), "instances"))),
        segments=_segments(given["segments"]) if kind == "labels" and "segments" in given else None,
        algorithm=_algorithm(_mapping(given.get("algorithm", {}), "algorithm")),
        notice=notice if NOTICE.lower() in notice.lower() else f"{NOTICE}. {notice}".rstrip(),
        derivation=_text(given.get("derivation", ""), "derivation", 900),
        derivation_code=_code(given.get("derivation_code"), "derivation_code"),
        unit=_text(values.get("unit", ""), "unit", 16),
    )


def _algorithm(given: Mapping[str, Any]) -> Algorithm:
    return Algorithm(*(_text(given.get(key, ""), f"algorithm {key}", 64) for key in ("name", "version", "digest")))


def _plane(given: object) -> tuple[str, int | None]:
    entry = _mapping(given, "an entry of instances")
    frame = entry.get("frame")
    if frame is not None and not _whole(frame, 1, 1 << 31):
        raise ValueError("frame must be a number from 1, or null")
    return _text(entry.get("SOPInstanceUID"), "SOPInstanceUID", 64), frame


def _segments(given: object) -> tuple[Segment, ...]:
    entries = _list(given, "segments")
    if len(entries) > MAX_VALUE:
        raise ValueError(f"{len(entries)} segments; an object holds at most {MAX_VALUE}")
    segments = tuple(sorted((_segment(_mapping(one, "a segment")) for one in entries), key=lambda one: one.value))
    values = [segment.value for segment in segments]
    if not segments or len(set(values)) != len(values):
        raise ValueError("segments must have one entry for each value" if segments else "segments is empty")
    return segments


def _segment(given: Mapping[str, Any]) -> Segment:
    value = given.get("value")
    if not isinstance(value, int) or not _whole(value, 1, MAX_VALUE):
        raise ValueError(f"the value of a segment must be a whole number from 1 to {MAX_VALUE}")
    color = given.get("color")
    if color is not None and not (
        isinstance(color, list) and len(color) == 3 and all(_whole(part, 0, 255) for part in color)
    ):
        raise ValueError(f"segment {value}: color must be three numbers from 0 to 255")
    where = f"segment {value}: "
    kind = _code(given.get("type"), where + "type") or TISSUE
    label = _text(given.get("label") or "", where + "label", 64) or _text(given.get("name") or "", where + "name", 64)
    return Segment(
        value=value,
        label=label or f"Segment {value}",
        category=_code(given.get("category"), where + "category") or TISSUE,
        type=kind,
        laterality=_code(given.get("laterality"), where + "laterality"),
        color=None if color is None else (color[0], color[1], color[2]),
    )


def _code(given: object, where: str) -> Code | None:
    if given is None:
        return None
    entry = _mapping(given, where)
    sizes = {"value": 16, "scheme": 16, "meaning": 64}
    parts = [_text(entry.get(key), f"{where} {key}", size) for key, size in sizes.items()]
    if not all(parts):
        raise ValueError(f"{where} needs value, scheme and meaning")
    return Code(*parts)


def _text(given: object, where: str, size: int) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{where} must be text")
    text = given.strip()
    if len(text) > size:
        raise ValueError(f"{where} is longer than {size} characters")
    if "\\" in text or re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text):
        raise ValueError(f"{where} holds a control character, a backslash or half a character")
    return text


def _mapping(given: object, where: str) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"{where} must be an object")
    return given


def _list(given: object, where: str) -> list[Any]:
    if not isinstance(given, list):
        raise ValueError(f"{where} must be a list")
    return given


def _whole(given: object, low: int, high: int) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and low <= given <= high
