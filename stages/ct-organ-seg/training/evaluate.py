"""Judge a model through the stage's own path: coarse grid, windows, labels drawn on the CT's grid.

    python evaluate.py phantoms --seeds 100000:100010 --seeds 200000:200010 --seeds 300000:300010
    python evaluate.py floors                            # writes floors.json beside the model
    python evaluate.py ct --images DIR --labels DIR      # a real CT (DICOM) and a TotalSegmentator label map of it

Seeds of 100000 and above are never trained on; the real CT is not either. Needs SimpleITK for `ct`.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[2])]

import inference  # noqa: E402
import preprocess  # noqa: E402

from clara_argo import phantom  # noqa: E402

FLOOR_SEEDS = (4711, 100_001)  # the demo's patient and one more
LEAST = 0.3  # an organ below it is not found reliably: it has no floor, and MODEL.md says so
MARGIN = 0.02  # below the worse of the two: other processors round otherwise, which moves a few voxels at the edges


def segmented(model: inference.Model, hu: NDArray[Any], grid: preprocess.Grid) -> NDArray[np.uint8]:
    """Labels [k, j, i] on the CT's grid."""
    small = preprocess.coarse(hu, grid)
    return preprocess.onto(preprocess.segment(small.hu, model.predict), small.origin, grid)


def phantom_dice(model: inference.Model, seed: int) -> dict[str, float]:
    """Dice of every organ that the patient has, at the phantom's default size and noise."""
    made = phantom.make(seed)
    size, spacing = made.hu.shape[::-1], made.spacing[::-1]
    found = segmented(model, made.hu, preprocess.Grid(size, spacing, made.origin, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    return {
        organ: phantom.dice(found, made.labels, value)
        for value, organ in enumerate(phantom.ORGANS, 1)
        if (made.labels == value).any()
    }


def print_table(model: inference.Model, ranges: list[range]) -> None:
    """One row an organ: the mean of each range of seeds, then mean, standard deviation and worst of all patients."""
    rows = [[phantom_dice(model, seed) for seed in numbers] for numbers in ranges]
    heads = [f"{numbers[0]}-{numbers[-1]}" for numbers in ranges]
    print("| organ | " + " | ".join([*heads, "all", "sd", "worst"]) + " |")
    print("|---" * (len(heads) + 4) + "|")
    for organ in phantom.ORGANS:
        groups = [[row[organ] for row in group if organ in row] for group in rows]
        together = np.array([value for group in groups for value in group])
        cells = [np.mean(group) for group in groups] + [together.mean(), together.std(), together.min()]
        print(f"| {organ} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    everything = [value for group in rows for row in group for value in row.values()]
    print(f"mean of all: {np.mean(everything):.3f} over {sum(map(len, rows))} patients")


def write_floors(repository: Path, model: inference.Model) -> None:
    """What tests and the demo hold the model to."""
    measured = {seed: phantom_dice(model, seed) for seed in FLOOR_SEEDS}
    worst = {organ: min(row.get(organ, 1.0) for row in measured.values()) for organ in phantom.ORGANS}
    floors = {organ: float(np.floor((value - MARGIN) * 100) / 100) for organ, value in worst.items()}
    note = f"Dice on phantoms that were not trained on; a floor is the worse value less {MARGIN}, if above {LEAST}."
    content = {
        "note": note,
        "model": model.digest,
        "seeds": list(FLOOR_SEEDS),
        "measured": {str(seed): {organ: round(v, 3) for organ, v in row.items()} for seed, row in measured.items()},
        "floors": {organ: floor for organ, floor in floors.items() if floor > LEAST},
    }
    (repository / inference.NAME / "floors.json").write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


def judge_ct(model: inference.Model, images: Path, labels: Path) -> None:
    """Dice and volumes against TotalSegmentator's label map (`mask.nii.gz`, names in `structures.csv`)."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(images)))
    ct = reader.Execute()
    grid = preprocess.Grid(ct.GetSize(), ct.GetSpacing(), ct.GetOrigin(), ct.GetDirection())
    found = segmented(model, SimpleITK.GetArrayViewFromImage(ct), grid)
    nearest = SimpleITK.sitkNearestNeighbor
    truth = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(SimpleITK.ReadImage(str(labels / "mask.nii.gz")), ct, SimpleITK.Transform(), nearest)
    )
    with open(labels / "structures.csv", newline="") as file:
        ids = {row["structure"]: int(row["id"]) for row in csv.DictReader(file)}
    ml = float(np.prod(ct.GetSpacing())) / 1000
    print("| organ | Dice | found ml | TotalSegmentator ml |\n|---|---|---|---|")
    for value, organ in enumerate(phantom.ORGANS, 1):
        wanted = [n for name, n in ids.items() if name == organ or name.startswith(organ + "_")]
        mine, true = found == value, np.isin(truth, wanted)
        dice = f"{2 * (mine & true).sum() / (mine.sum() + true.sum()):.3f}" if true.any() else "-"
        print(f"| {organ} | {dice} | {mine.sum() * ml:.0f} | {true.sum() * ml:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=HERE.parent / "models", help="the model repository")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("phantoms", help="a Dice table")
    one.add_argument("--seeds", action="append", required=True, help="FIRST:END; may be given several times")
    commands.add_parser("floors", help="write floors.json")
    three = commands.add_parser("ct", help="a real CT")
    three.add_argument("--images", type=Path, required=True)
    three.add_argument("--labels", type=Path, required=True)
    args = parser.parse_args()
    model = inference.load(args.models, threads=1)
    if args.command == "phantoms":
        print_table(model, [range(*map(int, text.split(":"))) for text in args.seeds])
    elif args.command == "floors":
        write_floors(args.models, model)
    else:
        judge_ct(model, args.images, args.labels)


if __name__ == "__main__":
    main()
