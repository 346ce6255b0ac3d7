"""The values of a sinogram, slice by slice: line integrals, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from refusal import Refuse
from scan import Floats

from clara_driver import volume

LOWEST, HIGHEST = -1.0, 30.0  # noise goes below zero; e^-30 of the rays is not measured
CUT_OFF = 0.05  # of a slice's largest value: what the outermost elements may see
REAL = {"MET_FLOAT": "f4", "MET_DOUBLE": "f8"}


def check(path: Path, header: volume.Header) -> None:
    """Raises Refuse when slices cannot be read one by one."""
    if header.element not in REAL:
        raise Refuse("E_ELEMENT", f"{header.element}: line integrals are MET_FLOAT or MET_DOUBLE")
    if header.compressed:
        raise Refuse("E_COMPRESSED", "compressed sinograms are not read; write it with CompressedData = False")
    data = path.parent / header.data_file
    if not data.is_file() or data.stat().st_size != header.nbytes:
        raise Refuse("E_DATA", f"{header.data_file} must have {header.nbytes} bytes; send it again")


def read(content: bytes, header: volume.Header, number: int) -> Floats:
    """Line integrals [views, elements]. Raises Refuse for what cannot be one."""
    elements, count, _ = header.size
    order = ">" if header.big_endian else "<"
    views: Floats = np.frombuffer(content, order + REAL[header.element]).astype(np.float64).reshape(count, elements)
    if not np.isfinite(views).all():
        raise Refuse("E_NOT_FINITE", f"slice {number} holds NaN or infinity; check what wrote it")
    low, high = float(views.min()), float(views.max())
    if low < LOWEST or high > HIGHEST:
        raise Refuse(
            "E_NOT_LINE_INTEGRALS",
            f"slice {number} goes from {low:g} to {high:g}; line integrals, -ln(I / I0), lie between {LOWEST:g} and "
            f"{HIGHEST:g}: send these, no intensities and no counts",
        )
    return views


def is_cut(views: Floats, ends: tuple[int, ...]) -> bool:
    """True when the elements at the ends of the detector see a part of the object."""
    return bool(views[:, ends].max() > CUT_OFF * max(views.max(), 1.0))
