"""Planes -> a grid, or the reason why they make none (notes: PS3.3 C.7.6.2 says what the numbers mean).

Rules: planes of the same direction, spacing and matrix form a stack; they are sorted along row x column; their steps
must be equal and along that normal; in the end every plane must lie where the grid puts it. Patient space is LPS, mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from instance import Instance, Plane
from numpy.typing import NDArray
from refusal import Refuse, Warn

SAME_DIRECTION = 1e-3  # difference of direction cosines within a stack
SAME_SPACING = 1e-4  # mm
SAME_PLACE = 0.01  # mm; planes nearer than this lie at one place
STEP_TOLERANCE = 0.01  # of a step
GRID_TOLERANCE = 0.05  # of a voxel: how far a plane may lie from where the grid puts it
MAX_ODD_SHARE = 0.25  # odd single planes, of the stack they are skipped beside
MAX_STACKS = 1000
DEFAULT_THICKNESS = 1.0  # mm

Vectors = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Slice:
    instance: Instance
    plane: Plane


@dataclass(frozen=True, slots=True)
class Grid:
    """Voxel (i, j, k) lies at origin + direction @ (spacing * (i, j, k)); direction row by row, columns = i, j, k."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]


def arrange(instances: tuple[Instance, ...]) -> tuple[Grid, list[Slice], list[Warn]]:
    """The grid, its slices (k = 0 first) and warnings. Raises Refuse when the planes make no volume."""
    slices = [Slice(entry, plane) for entry in instances for plane in entry.planes]
    stack, warnings = _main_stack(slices)
    row, column, normal = _axes(stack[0].plane)
    places = np.array([entry.plane.position for entry in stack])
    order = np.argsort(places @ normal, kind="stable")
    stack, places = [stack[index] for index in order], places[order]
    if len(stack) > 1:
        thickness = _step(places, normal, stack[0].plane.spacing)
    else:
        thickness, warning = _single_thickness(stack[0].instance)
        warnings.append(warning)
    layout, (between_rows, between_columns) = stack[0].instance.layout, stack[0].plane.spacing
    grid = Grid(
        (layout.columns, layout.rows, len(stack)), (between_columns, between_rows, thickness),
        (float(places[0][0]), float(places[0][1]), float(places[0][2])),
        tuple(float(value) for value in np.column_stack((row, column, normal)).ravel()),
    )  # fmt: skip
    _check_corners(grid, stack)
    return grid, stack, warnings


def _axes(plane: Plane) -> tuple[Vectors, Vectors, Vectors]:
    """Orthonormal directions along a row, along a column, and row x column."""
    row = np.array(plane.orientation[:3])
    row = row / np.linalg.norm(row)
    column = np.array(plane.orientation[3:])
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return row, column, np.cross(row, column)


def _main_stack(slices: list[Slice]) -> tuple[list[Slice], list[Warn]]:
    """Planes of the same direction, spacing and matrix; a few odd single ones beside them are skipped."""
    stacks: list[list[Slice]] = []
    for entry in slices:
        for stack in stacks:
            if _alike(stack[0], entry):
                stack.append(entry)
                break
        else:
            stacks.append([entry])
            if len(stacks) > MAX_STACKS:
                reason = f"more than {MAX_STACKS} images of different direction, spacing or matrix; they are no volume"
                raise Refuse("E_MULTIPLE_STACKS", reason)
    stacks.sort(key=len, reverse=True)
    odd = sum(len(stack) for stack in stacks[1:])
    if odd and (len(stacks[1]) > 1 or odd > MAX_ODD_SHARE * len(stacks[0])):
        raise Refuse(
            "E_MULTIPLE_STACKS",
            f"{len(stacks)} stacks of images with different direction, spacing or matrix; send each as a series",
            f"n={len(stacks)}",
        )
    if not odd:
        return stacks[0], []
    message = f"{odd} image(s) of other direction, spacing or matrix than the {len(stacks[0])} others were skipped"
    return stacks[0], [Warn("W_ODD_SLICES_SKIPPED", f"n={odd}: {message}")]


def _alike(one: Slice, other: Slice) -> bool:
    a, b = one.instance.layout, other.instance.layout
    if (a.rows, a.columns) != (b.rows, b.columns):
        return False
    p, q = one.plane, other.plane
    if p.orientation == q.orientation and p.spacing == q.spacing:
        return True
    return all(abs(x - y) <= SAME_DIRECTION for x, y in zip(p.orientation, q.orientation, strict=True)) and all(
        abs(x - y) <= SAME_SPACING for x, y in zip(p.spacing, q.spacing, strict=True)
    )


def _step(places: Vectors, normal: Vectors, spacing: tuple[float, ...]) -> float:
    """The distance of neighbouring planes; refused when it is not one distance along the normal."""
    along = places @ normal
    gaps = np.diff(along)
    _check_repeats(along, gaps)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    allowed = max(STEP_TOLERANCE * usual, SAME_PLACE)
    if np.abs(gaps - usual).max() > allowed:
        _refuse_gaps(along, gaps, usual, allowed)
    step = (places[-1] - places[0]) / (len(places) - 1)
    thickness = float(step @ normal)
    drift = places - places[0] - np.outer(np.arange(len(places)), step)
    along_drift = float(np.abs(drift @ normal).max())
    if along_drift > max(GRID_TOLERANCE * thickness, SAME_PLACE):
        reason = f"slices lie up to {along_drift:.3g} mm from an even spacing of {thickness:.4g} mm; resample first"
        raise Refuse("E_NONUNIFORM_SPACING", reason)
    _check_sideways(places, normal, step, drift, max(GRID_TOLERANCE * min(spacing), SAME_PLACE))
    return thickness


def _check_repeats(along: Vectors, gaps: Vectors) -> None:
    if (gaps >= SAME_PLACE).all():
        return
    group = np.concatenate(([0], np.cumsum(gaps >= SAME_PLACE)))
    counts = np.bincount(group)
    if len(counts) > 1 and (counts > 1).mean() > 0.5:
        times = int(counts.max())
        reason = f"{times} images at each of {len(counts)} places: several times, echoes or phases; send one of them"
        raise Refuse("E_4D", reason + ("" if (counts == times).all() else " (some are missing)"), f"n={times}")
    first = int(np.argmax(counts > 1))
    where = float(along[np.argmax(group == first)])
    reason = f"{int(counts[first])} images at one place ({where:.4g} mm along the normal); send one of them"
    raise Refuse("E_DUP_POSITION", reason, f"n={int((counts - 1).sum())}")


def _refuse_gaps(along: Vectors, gaps: Vectors, usual: float, allowed: float) -> None:
    steps = np.round(gaps / usual)
    if np.abs(gaps - steps * usual).max() <= allowed and steps.min() >= 1:
        missing, first = int((steps - 1).sum()), int(np.argmax(steps > 1))
        reason = f"{missing} slice(s) missing, first between {along[first]:.4g} and {along[first + 1]:.4g} mm along the"
        raise Refuse("E_MISSING_SLICES", reason + " normal; send the series again", f"n={missing}")
    reason = f"distances between slices from {gaps.min():.4g} to {gaps.max():.4g} mm; resample to even spacing first"
    raise Refuse("E_NONUNIFORM_SPACING", reason)


def _check_sideways(places: Vectors, normal: Vectors, step: Vectors, drift: Vectors, allowed: float) -> None:
    """Planes must follow each other along the normal, not beside it."""
    beside = drift - np.outer(drift @ normal, normal)
    if np.linalg.norm(beside, axis=1).max() > allowed:
        far = float(np.linalg.norm(beside, axis=1).max())
        raise Refuse("E_SHIFTED_SLICES", f"slices are shifted sideways by up to {far:.3g} mm; send the series again")
    lean = step - (step @ normal) * normal
    if np.linalg.norm(lean) * (len(places) - 1) > allowed:
        degrees = float(np.degrees(np.arctan2(np.linalg.norm(lean), step @ normal)))
        reason = "slices follow each other at an angle to their normal; straighten (resample) the series first"
        raise Refuse("E_GANTRY_TILT", reason, f"{degrees:.3g} deg")


def _single_thickness(instance: Instance) -> tuple[float, Warn]:
    between, thick = instance.thickness
    if between is not None:
        value, source = between, "from Spacing Between Slices"
    elif thick is not None:
        value, source = thick, "from Slice Thickness"
    else:
        value, source = DEFAULT_THICKNESS, "because the object says none"
    return value, Warn("W_SINGLE_SLICE", f"one slice; its thickness {value:g} mm is taken {source}")


def _check_corners(grid: Grid, stack: list[Slice]) -> None:
    """The proof: first voxel, end of the first row and end of the first column of every slice lie on the grid."""
    size, direction = np.array(grid.size[:2]) - 1, np.array(grid.direction).reshape(3, 3)
    planes = [entry.plane for entry in stack]
    places, axes = np.array([p.position for p in planes]), np.array([p.orientation for p in planes])
    spacing = np.array([p.spacing for p in planes])
    base = np.array(grid.origin) + np.outer(np.arange(len(stack)) * grid.spacing[2], direction[:, 2])
    ends = ((places, base), (
        places + axes[:, :3] * (spacing[:, 1] * size[0])[:, None], base + direction[:, 0] * grid.spacing[0] * size[0],
    ), (
        places + axes[:, 3:] * (spacing[:, 0] * size[1])[:, None], base + direction[:, 1] * grid.spacing[1] * size[1],
    ))  # fmt: skip
    allowed = np.maximum(2 * GRID_TOLERANCE * np.array(grid.spacing), 2 * SAME_PLACE)
    for actual, expected in ends:
        off = np.abs((actual - expected) @ direction)
        if (off > allowed).any():
            reason = f"a slice lies {off.max():.3g} mm from where an even grid puts it; send the series again"
            raise Refuse("E_SHIFTED_SLICES", reason)
