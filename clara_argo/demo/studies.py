"""Which study the demo sends, what is known about it, and what its result must reach."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clara_argo import data, phantom, shipped
from clara_argo.demo.grid import Grid, onto
from clara_argo.demo.verify import Truth
from clara_argo.errors import NotFound

PHANTOM_SEED = 4711
LIDC_LIVER = 0.6  # the floor on the real CT: the model has never seen a patient


class Study(NamedTuple):
    """`truth` gives the known organs on a grid; `floors` are Dice values that must be reached."""

    name: str
    folder: Path
    note: str
    truth: Callable[[Grid], Truth]
    floors: Mapping[str, float]

    @property
    def instances(self) -> int:
        return sum(1 for path in self.folder.rglob("*") if path.is_file())


def given(folder: Path) -> Study:
    """The user's own study: nothing is known about it, so nothing but delivery and identity is judged."""
    if not any(path.is_file() for path in folder.rglob("*")):
        raise NotFound(f"{folder} holds no files; --input takes a folder with one DICOM study")
    return Study(folder.name, folder, "your study", lambda grid: Truth(np.zeros(grid.shape, np.uint8), {}), {})


def real_ct(say: Callable[[str], None]) -> Study:
    """LIDC-IDRI-0001 with TotalSegmentator's labels. Raises data.Unavailable."""
    images, labels = data.fetch(data.LIDC_CT, say), data.fetch(data.LIDC_LABELS, say)
    floors = {"liver": LIDC_LIVER}
    return Study("LIDC-IDRI-0001", images, data.CITATION, lambda grid: _lidc_truth(labels, grid), floors)


def made_up(folder: Path) -> Study:
    """A phantom as a DICOM series in `folder`; its organs are known exactly."""
    made = phantom.make(PHANTOM_SEED)
    phantom.write_series(made, folder, seed=PHANTOM_SEED)
    affine = np.diag([*made.spacing[::-1], 1.0])
    affine[:3, 3] = made.origin
    labels = made.labels.transpose()

    numbers = {name: value for value, name in enumerate(phantom.ORGANS, start=1)}

    def truth(grid: Grid) -> Truth:
        return Truth(onto(labels, affine, grid), numbers)

    return Study("phantom", folder, f"made by code, seed {PHANTOM_SEED}", truth, _floors())


def _floors() -> dict[str, float]:
    path = shipped.folder("stages") / "ct-organ-seg" / "models" / "ct-organs" / "floors.json"
    floors: dict[str, float] = json.loads(path.read_text())["floors"]
    return floors


def _lidc_truth(folder: Path, grid: Grid) -> Truth:
    import SimpleITK

    image = SimpleITK.ReadImage(str(folder / "mask.nii.gz"))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    values: NDArray[Any] = SimpleITK.GetArrayFromImage(image).transpose()
    with open(folder / "structures.csv", newline="") as file:
        ids = {row["structure"]: int(row["id"]) for row in csv.DictReader(file)}
    numbers = {name: value for value, name in enumerate(phantom.ORGANS, start=1) if name in ids or name == "vertebrae"}
    table = np.zeros(256, np.uint8)
    for structure, value in ids.items():
        table[value] = numbers.get("vertebrae" if structure.startswith("vertebrae") else structure, 0)
    return Truth(onto(table[values.astype(np.uint8)], affine, grid), numbers)
