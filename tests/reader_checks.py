"""What the tests of dicom-reader ask of a run: volumes, the share of right voxels, or the code of a refusal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from dicom_cases import expected
from numpy.typing import NDArray
from support import CompletedStage, run_stage

from clara_driver import volume


def read(folder: Path, *args: str) -> CompletedStage:
    return run_stage("dicom-reader", input=folder, args=args)


def load(path: Path) -> tuple[volume.Header, NDArray[Any]]:
    """Header and voxels in the order k, j, i."""
    header, voxels = volume.read(path)
    return header, np.frombuffer(voxels, header.dtype).reshape(header.size[::-1])


def share_right(path: Path) -> float:
    """The share of voxels that hold the value of the place where the header puts them."""
    header, values = load(path)
    k, j, i = np.indices(values.shape)
    matrix = np.array(header.direction).reshape(3, 3) * np.array(header.spacing)
    world = np.stack([i, j, k], -1) @ matrix.T + np.array(header.origin)
    return float((np.abs(values - expected(world)) <= 1).mean())


def sidecar(path: Path) -> dict[str, Any]:
    found = volume.read_sidecar(path)
    assert found is not None
    return found


def codes(path: Path) -> list[str]:
    return [warning["code"] for warning in sidecar(path)["warnings"]]


def refusal(done: CompletedStage) -> str:
    """The refusal's code and what stands behind it; fails when nothing was refused, or it was no refusal."""
    assert done.code == 1, done.log
    assert "Traceback" not in done.log
    assert not list(done.output.iterdir()), "something was written beside a refusal"
    assert "dicom-reader.lock" not in done.locks
    found = re.match(r"(E_[A-Z0-9_]+(?: [^:]+)?): \S", done.error)
    assert found, done.error
    return found[1]
