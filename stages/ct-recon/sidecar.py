"""`<name>.json` beside a sinogram -> Scan, or a refusal by name. README.md has the form, with units."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from refusal import Refuse
from scan import Detector, Fan, Plane, Scan, Stack, Views

from clara_driver import volume

MAX_BYTES = 1 << 20
KEYS = (
    "schema", "kind", "beam", "detector", "angles", "source_isocentre", "source_detector", "mu_water", "volume",
    "slices", "series",
)  # fmt: skip
OF_A_FAN = ("source_isocentre", "source_detector")
SERIES = (
    "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "Modality", "PatientPosition",
    "BodyPartExamined",
)  # fmt: skip
WORD = re.compile(r"[A-Za-z0-9._ -]{1,64}")
UID = re.compile(r"[0-9]+(\.[0-9]+)+")
MAX_COUNT = {"elements": 16384, "views": 16384, "slices": 8192}
MAX_RAYS = 1 << 23  # of a slice
MAX_PIXELS = 2048  # along a row or a column
MAX_VOLUME = 16 << 30  # bytes, of 16 bit voxels
WIDEST_FAN = math.radians(80)  # from the central ray


class Part:
    """A JSON object of the sidecar and its name there. Whatever is asked for is there and makes sense, or refused."""

    def __init__(self, value: Any, name: str, known: Collection[str]) -> None:
        if not isinstance(value, dict):
            raise Refuse(
                "E_SIDECAR", f"{name or 'the sidecar'} is not a JSON object; README.md of ct-recon has the form"
            )
        self._value, self._name = value, name
        unknown = sorted(set(value) - set(known))
        if unknown:
            raise Refuse("E_UNKNOWN_KEY", f"{self.path(unknown[0])} means nothing here; known: {', '.join(known)}")

    def path(self, key: str) -> str:
        key = "".join(c if c.isascii() and c.isprintable() else "?" for c in key[:40])
        return f"{self._name}.{key}" if self._name else key

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def get(self, key: str) -> Any:
        if key not in self._value:
            raise Refuse("E_MISSING", f"{self.path(key)} is not there; README.md of ct-recon says what it is")
        return self._value[key]

    def part(self, key: str, *known: str) -> Part:
        return Part(self.get(key), self.path(key), known)

    def choice(self, key: str, *known: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or value not in known:
            raise Refuse("E_VALUE", f"{self.path(key)} must be {' or '.join(known)}")
        return value

    def number(self, key: str, low: float, high: float, unit: str, default: float | None = None) -> float:
        if default is not None and key not in self._value:
            return default
        return _number(self.get(key), self.path(key), low, high, unit)

    def numbers(self, key: str, count: int, limit: float, unit: str) -> tuple[float, ...]:
        value = self.get(key)
        if not isinstance(value, list) or len(value) != count:
            raise Refuse("E_VALUE", f"{self.path(key)} must be a list of {count} numbers")
        return tuple(_number(entry, self.path(key), -limit, limit, unit) for entry in value)


def _number(value: Any, name: str, low: float, high: float, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refuse("E_VALUE", f"{name} is not a number")
    if not low <= value <= high:  # neither is NaN
        raise Refuse("E_VALUE", f"{name} must be {low:g} to {high:g} {unit}".rstrip() + "; check its unit")
    return float(value)


def read(path: Path, header: volume.Header) -> Scan:
    """How the sinogram `path` was taken; its header says how many elements, views and slices there are.

    Raises Refuse, and VolumeError when the sidecar is no JSON object.
    """
    file = volume.sidecar_path(path)
    if not file.is_file():
        raise Refuse("E_NO_SIDECAR", f"{file.name} is not beside {path.name}; it gives the geometry")
    if file.stat().st_size > MAX_BYTES:
        raise Refuse("E_SIDECAR", f"{file.name} is longer than {MAX_BYTES} bytes")
    return scan(volume.read_sidecar(path), header)


def scan(content: Any, header: volume.Header) -> Scan:
    """The scan that the content of a sidecar describes. Raises Refuse."""
    top = Part(content, "", KEYS)
    if top.get("schema") != 1:
        raise Refuse("E_VALUE", "schema must be 1; this stage reads no other")
    elements, views, slices = header.size
    for name, count in zip(MAX_COUNT, header.size, strict=True):
        if count > MAX_COUNT[name]:
            raise Refuse("E_TOO_LARGE", f"{count} {name}, {MAX_COUNT[name]} at most; axes are detector, angle, slice")
    if elements * views > MAX_RAYS:
        raise Refuse("E_TOO_LARGE", f"{elements} elements x {views} views, {MAX_RAYS} rays at most; bin some")
    found = Scan(
        detector=_detector(top, elements),
        views=_views(top, views),
        plane=_plane(top),
        stack=_stack(top, slices),
        mu_water=top.number("mu_water", 0.005, 0.1, "1/mm"),
        series=_series(top),
    )
    if found.plane.columns * found.plane.rows * slices * 2 > MAX_VOLUME:
        raise Refuse("E_TOO_LARGE", f"the volume would have more than {MAX_VOLUME >> 30} GiB; ask for fewer pixels")
    _check_spacing(header, found)
    return found


def _detector(top: Part, count: int) -> Detector:
    part = top.part("detector", "shape", "spacing", "centre")
    spacing = part.number("spacing", 0.001, 100, "mm")
    centre = part.number("centre", 0, count - 1, "", default=(count - 1) / 2)
    beam = top.choice("beam", "parallel", "fan")
    if beam == "parallel":
        given = [key for key in OF_A_FAN if key in top] + (["detector.shape"] if "shape" in part else [])
        if given:
            raise Refuse("E_CONTRADICTION", f"{given[0]} is given, but beam is parallel; say fan, or leave it out")
        detector = Detector(count=count, spacing=spacing, centre=centre)
    else:
        near, far = (top.number(key, 10, 10_000, "mm") for key in OF_A_FAN)
        if near > far:
            raise Refuse("E_CONTRADICTION", "source_isocentre is longer than source_detector; are they exchanged?")
        curved = part.choice("shape", "flat", "curved") == "curved"
        fan = Fan(source_isocentre=near, source_detector=far, curved=curved)
        detector = Detector(count=count, spacing=spacing, centre=centre, fan=fan)
        if np.abs(detector.angles(np.array((-0.5, count - 0.5)))).max() > WIDEST_FAN:
            raise Refuse(
                "E_VALUE", "the fan opens by more than 80 degrees to a side; check the unit of detector.spacing"
            )
    return detector


def _views(top: Part, count: int) -> Views:
    part = top.part("angles", "first", "step")
    step = part.number("step", -30, 30, "degrees")
    if abs(step) < 1e-3:
        raise Refuse("E_VALUE", "angles.step must be 0.001 degrees at least, or -0.001 at most")
    return Views(count=count, first=part.number("first", -3600, 3600, "degrees"), step=step)


def _plane(top: Part) -> Plane:
    part = top.part("volume", "size", "spacing", "centre")
    columns, rows = part.numbers("size", 2, MAX_PIXELS, "pixels")
    if min(columns, rows) < 1 or columns % 1 or rows % 1:
        raise Refuse("E_VALUE", f"volume.size must be two whole numbers, 1 to {MAX_PIXELS}")
    x, y = part.numbers("centre", 2, 1000, "mm") if "centre" in part else (0.0, 0.0)
    return Plane(columns=int(columns), rows=int(rows), spacing=part.number("spacing", 0.01, 100, "mm"), centre=(x, y))


def _stack(top: Part, count: int) -> Stack:
    part = top.part("slices", "isocentre", "spacing", "direction")
    x, y, z = part.numbers("isocentre", 3, 1e5, "mm")
    direction = part.numbers("direction", 9, 1.001, "") if "direction" in part else volume.IDENTITY
    matrix = np.reshape(direction, (3, 3))
    if not np.allclose(matrix.T @ matrix, np.eye(3), atol=1e-4) or np.linalg.det(matrix) < 0:
        raise Refuse("E_VALUE", "slices.direction must be right-handed axes of length 1 at right angles")
    return Stack(count=count, isocentre=(x, y, z), spacing=part.number("spacing", 0.01, 100, "mm"), direction=direction)


def _series(top: Part) -> dict[str, str]:
    """Identity, when the sinogram has one. Modality is CT, said or not."""
    if "series" not in top:
        return {"Modality": "CT"}
    part = top.part("series", *SERIES)
    found = {key: part.get(key) for key in SERIES if key in part}
    for key, value in found.items():
        pattern = UID if key.endswith("UID") else WORD
        if not isinstance(value, str) or len(value) > 64 or not pattern.fullmatch(value):
            raise Refuse("E_VALUE", f"series.{key} is not a {'UID' if key.endswith('UID') else 'short text'}")
    if found.get("Modality", "CT") != "CT":
        raise Refuse("E_CONTRADICTION", "series.Modality is not CT; a sinogram of another modality has no HU")
    return {**found, "Modality": "CT"}


def _check_spacing(header: volume.Header, scan: Scan) -> None:
    """The header may repeat what the sidecar says: then both must agree."""
    said = (scan.detector.spacing, abs(scan.views.step), scan.stack.spacing)
    if header.spacing != (1.0, 1.0, 1.0) and not np.allclose(header.spacing, said, rtol=1e-3):
        one, other = (" x ".join(f"{number:g}" for number in numbers) for numbers in (header.spacing, said))
        raise Refuse("E_CONTRADICTION", f"ElementSpacing is {one}, the sidecar says {other} (mm, degrees, mm)")
