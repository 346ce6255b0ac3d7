"""A series with its grid -> `<SeriesInstanceUID>.raw`, `.json` and, last, `.mhd`.

Native pixels stream from file to file, one slice at a time; compressed ones pass through `decoders`. The format is
that of `clara_driver.volume`; it decides no geometry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decoders import Decoded, Decoders, Request
from frames import Frames, locate
from geometry import Grid, Slice, arrange
from refusal import Refuse, Warn, tail
from series import Series
from sink import Sink
from voxels import DoesNotFit, Slab, fits_short, rounds, stored, to_float, to_short

from clara_driver import volume

ELEMENT_SHORT, ELEMENT_FLOAT = "MET_SHORT", "MET_FLOAT"
Progress = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A series that will be read: everything is known but its voxels."""

    series: Series
    grid: Grid
    slices: tuple[Slice, ...]
    frames: dict[str, Frames]  # by SOP instance UID
    warnings: tuple[Warn, ...]

    @property
    def voxels(self) -> int:
        return self.grid.size[0] * self.grid.size[1] * self.grid.size[2]


@dataclass(frozen=True, slots=True)
class Target:
    """Where volumes go, and what helps on the way; `progress` is called after each slice."""

    folder: Path
    decoders: Decoders
    progress: Progress


def plan(series: Series, max_bytes: int) -> Plan:
    """Check lengths, geometry and sizes before anything is decoded or written. Raises Refuse."""
    frames = {entry.identity.sop: locate(entry) for entry in series.instances}
    grid, slices, warnings = arrange(series.instances)
    size = grid.size
    if size[0] * size[1] * size[2] * 4 > max_bytes:
        reason = f"{size[0]} x {size[1]} x {size[2]} voxels are more than is read; raise --max-gib"
        raise Refuse("E_TOO_LARGE", reason)
    return Plan(series, grid, tuple(slices), frames, (*series.warnings, *warnings))


def write(todo: Plan, target: Target, more: list[Warn]) -> Path:
    """Write the volume; returns the path of its .mhd. `more` = warnings of the whole run. Raises Refuse."""
    path = target.folder / f"{todo.series.uid}.mhd"
    warnings = list(todo.warnings)
    element = ELEMENT_SHORT if fits_short(entry.plane for entry in todo.slices) else ELEMENT_FLOAT
    try:
        unsure = _stream(todo, path, element, target)
    except DoesNotFit:
        element = ELEMENT_FLOAT
        unsure = _stream(todo, path, element, target)
    if unsure:
        reason = "runs cross the ends of rows, or could be those of other rows; Rows and Columns cannot be confirmed"
        warnings.append(Warn("W_RLE_ROWS", f"{unsure} RLE image(s): {reason}; look whether the volume is sheared"))
    if element == ELEMENT_FLOAT and any(rounds(entry.instance.layout, entry.plane) for entry in todo.slices):
        warnings.append(Warn("W_ROUNDED", "float32 holds 24 bits: values that need more are rounded"))
    volume.write_sidecar(path, _sidecar(todo, element, warnings + more))
    grid = todo.grid
    header = volume.Header(grid.size, grid.spacing, grid.origin, grid.direction, element, path.stem + ".raw")
    volume.write_header(path, header)
    return path


def _stream(todo: Plan, path: Path, element: str, target: Target) -> int:
    """All slices through memory one by one; how many have unconfirmed rows. Raises DoesNotFit, Refuse."""
    unsure = 0
    compressed = _compressed(todo, target.decoders)
    biggest = max(entry.instance.layout.frame_bytes for entry in todo.slices)
    with Sink(path.with_suffix(".raw"), biggest) as sink:
        for entry in todo.slices:
            if _is_compressed(entry):
                frame = next(compressed)
                unsure += frame.unsure
                values = stored(memoryview(frame.values), entry.instance.layout, False, False)
            else:
                values = _values(todo, entry, sink.room)
            if element == ELEMENT_SHORT:
                slab = to_short(values, entry.instance.layout, entry.plane)
            else:
                slab = to_float(values, entry.plane)
            sink.put(slab.data.cast("B"))
            target.progress()
    return unsure


def _values(todo: Plan, entry: Slice, room: memoryview) -> Slab:
    """The stored values of a slice that is not compressed, in `room`."""
    layout, file = entry.instance.layout, entry.instance.file
    room = room[: layout.frame_bytes]
    todo.frames[entry.instance.identity.sop].read_into((entry.plane.frame or 1) - 1, room)
    words = file.encoding.big and file.pixels is not None and file.pixels.vr == b"OW"
    return stored(room, layout, file.encoding.big, words)


def _is_compressed(entry: Slice) -> bool:
    pixels = entry.instance.file.pixels
    return pixels is not None and pixels.length is None


def _compressed(todo: Plan, decoders: Decoders) -> Iterator[Decoded]:
    """The decoded frames of the compressed slices, in the order of the slices."""

    def requests() -> Iterator[Request]:
        for entry in todo.slices:
            if _is_compressed(entry):
                sop, syntax = entry.instance.identity.sop, entry.instance.file.syntax
                data = todo.frames[sop].compressed((entry.plane.frame or 1) - 1)
                yield Request(f"instance {tail(sop)}", syntax, entry.instance.layout, data)

    return decoders.decode(requests())


def _sidecar(todo: Plan, element: str, warnings: list[Warn]) -> dict[str, Any]:
    first, grid = todo.slices[0].instance, todo.grid
    described = {
        "SeriesInstanceUID": first.identity.series, "StudyInstanceUID": first.identity.study,
        "FrameOfReferenceUID": first.frame_of_reference, "SOPClassUID": first.identity.sop_class,
        "Modality": first.modality, **dict(first.described),
    }  # fmt: skip
    return {
        "schema": 1,
        "kind": "image",
        "series": {key: value for key, value in described.items() if value},
        "geometry": {
            "size": list(grid.size), "spacing": list(grid.spacing), "origin": list(grid.origin),
            "direction": list(grid.direction),
        },
        "values": {"unit": _unit(todo.slices[0]), "element": element},
        "instances": [
            {"SOPInstanceUID": e.instance.identity.sop, "frame": e.plane.frame, "position": list(e.plane.position)}
            for e in todo.slices
        ],
        "warnings": [{"code": warn.code, "message": warn.message} for warn in warnings],
    }  # fmt: skip


def _unit(entry: Slice) -> str:
    """HU for CT that is rescaled and does not say otherwise; else what the objects say; else empty."""
    if entry.instance.modality == "CT" and entry.plane.rescaled:
        return entry.plane.unit or "HU"
    return entry.plane.unit
