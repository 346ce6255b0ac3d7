"""Segment nine organs in each CT volume of the input: a label map on its grid, with colours, codes and volumes.

Not for clinical use: the model has seen made-up patients only (training/MODEL.md).
"""

from __future__ import annotations

import argparse
import errno
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import inference
import numpy as np
import preprocess
from numpy.typing import NDArray

import clara_driver
from clara_driver import volume

HERE = Path(__file__).resolve().parent
NAME = "ct-organ-seg"
NOTICE = "Not for clinical use. Research demonstration: the model was trained on synthetic phantoms only."
SMALLEST, LONGEST = 20.0, 3000.0  # mm: the extent a CT must have and may have, along each axis
AIR_BELOW = -150.0  # HU: every CT shows some air around or in the patient


def main() -> None:
    with clara_driver.stage() as stage:
        table = json.loads((HERE / "labels.json").read_text(encoding="utf-8"))
        args = arguments([segment["name"] for segment in table["segments"]])
        cts = [path for path in volume.find(stage.input) if is_ct(path)]
        if not cts:
            raise clara_driver.FinalFailure(
                f"{stage.input} holds no CT volume (.mhd); put dicom-reader before this stage, and send it a CT"
            )
        try:
            model = inference.load(stage.models or HERE / "models", args.threads)
        except inference.NoModel as error:
            raise clara_driver.FinalFailure(str(error)) from None
        for number, path in enumerate(cts):
            segment_file(stage, path, model, wanted(table, args.organs), number, len(cts))


def arguments(organs: list[str], given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__)
    parser.add_argument(
        "--organs", default=",".join(organs), help="which to keep, by comma (all): " + ", ".join(organs)
    )
    parser.add_argument("--threads", type=int, default=1, help="for inference; 1 gives the same bytes each time (1)")
    args = parser.parse_args(given)
    args.organs = [name.strip() for name in args.organs.split(",") if name.strip()]
    unknown = [name for name in args.organs if name not in organs]
    if unknown or not args.organs:
        parser.error(f"--organs: unknown {', '.join(unknown) or 'empty list'}; known: {', '.join(organs)}")
    if not 1 <= args.threads <= 256:
        parser.error("--threads takes 1 to 256")
    return args


def wanted(table: dict[str, Any], organs: list[str]) -> dict[str, Any]:
    """The label table with the asked organs only; each keeps its value."""
    return {**table, "segments": [segment for segment in table["segments"] if segment["name"] in organs]}


def is_ct(path: Path) -> bool:
    """True for a volume to segment; label maps are passed over, another modality ends the stage."""
    sidecar = volume.read_sidecar(path)
    if sidecar is None:
        return True
    if sidecar.get("kind", "image") != "image":
        return False
    series = sidecar.get("series")
    modality = series.get("Modality", "CT") if isinstance(series, dict) else "CT"
    if modality != "CT":
        raise clara_driver.FinalFailure(
            f"{path.name} is {clean(modality)}, not CT; send this workflow CT series only, or filter them in the reader"
        )
    return True


def clean(value: object) -> str:
    return re.sub(r"[^A-Za-z0-9_ ]", "?", str(value))[:16]


def segment_file(
    stage: clara_driver.Stage, path: Path, model: inference.Model, table: dict[str, Any], number: int, count: int
) -> None:
    """One volume in, one label map with the same name out. Work is counted in tenths a volume."""
    header, voxels = read_ct(path)
    grid = preprocess.Grid(header.size, header.spacing, header.origin, header.direction)

    def progress(done: int, total: int) -> None:
        stage.progress(10 * number + 1 + 7 * done // total, 10 * count)

    try:
        small = preprocess.coarse(voxels, grid)
    except ValueError as error:
        raise clara_driver.FinalFailure(f"{path.name}: {error}; check what wrote this volume") from None
    check_values(path, small.hu)
    del voxels
    labels = preprocess.segment(small.hu, model.predict, progress)
    labels[~np.isin(labels, [segment["value"] for segment in table["segments"]])] = 0
    found = preprocess.onto(labels, small.origin, grid)
    target = stage.output / path.relative_to(stage.input)
    write(target, header._replace(element="MET_UCHAR"), found, describe(path, header, found, table, model.digest))
    stage.progress(10 * (number + 1), 10 * count)
    stage.log(f"{path.name}: {len(np.unique(found)) - 1} of {len(table['segments'])} organs found")


def write(target: Path, header: volume.Header, labels: NDArray[np.uint8], sidecar: dict[str, Any]) -> None:
    """A full disk may be tried again."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        volume.write(target, header, labels.data, sidecar)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise clara_driver.TemporaryFailure(
                f"no space for {target.name} ({labels.nbytes >> 20} MiB); free some where the jobs are kept"
            ) from None
        raise


def read_ct(path: Path) -> tuple[volume.Header, NDArray[Any]]:
    """Header and voxels [k, j, i]. An uncompressed volume is mapped, not read."""
    header = volume.read_header(path)
    extents = [size * spacing for size, spacing in zip(header.size, header.spacing, strict=True)]
    if min(extents) < SMALLEST or max(extents) > LONGEST:
        millimetres = " x ".join(f"{extent:.0f}" for extent in extents)
        raise clara_driver.FinalFailure(
            f"{path.name} covers {millimetres} mm; {SMALLEST:.0f} to {LONGEST:.0f} mm along each axis are needed"
        )
    square = np.reshape(header.direction, (3, 3))
    if not np.allclose(square.T @ square, np.eye(3), atol=1e-3):
        raise clara_driver.FinalFailure(f"{path.name}: the axes are not at right angles; resample the volume first")
    shape = header.size[::-1]
    data = path.parent / header.data_file
    if header.compressed or header.big_endian or not data.is_file() or data.stat().st_size != header.nbytes:
        header, content = volume.read(path)  # says what is wrong when the file is short or missing
        return header, np.frombuffer(content, header.dtype).reshape(shape)
    return header, np.memmap(data, header.dtype, "r", shape=shape)


def check_values(path: Path, hu: NDArray[np.float32]) -> None:
    """Values without any air are not HU: a scan that was rescaled, or no CT at all."""
    if hu.min() > AIR_BELOW:
        raise clara_driver.FinalFailure(
            f"{path.name}: no value is below {AIR_BELOW:.0f} HU, so these are not Hounsfield units; "
            "check the rescale slope and intercept"
        )


def describe(
    path: Path, header: volume.Header, labels: NDArray[np.uint8], table: dict[str, Any], digest: str
) -> dict[str, Any]:
    """The sidecar of a label map (SIDECAR.md): series, geometry and instances are the CT's, copied."""
    source = volume.read_sidecar(path) or {}
    voxel_ml = float(np.prod(header.spacing)) / 1000
    counts = np.zeros(256, np.int64)
    for plane in labels:  # all at once would need eight times the memory of the labels
        counts += np.bincount(plane.ravel(), minlength=256)
    sidecar: dict[str, Any] = {"schema": 1, "kind": "labels"}
    if "series" in source:
        sidecar["series"] = source["series"]
    sidecar["geometry"] = {key: list(getattr(header, key)) for key in ("size", "spacing", "origin", "direction")}
    if "instances" in source:
        sidecar["instances"] = source["instances"]
    sidecar["segments"] = [
        {**segment, "volume_ml": round(int(counts[segment["value"]]) * voxel_ml, 2)} for segment in table["segments"]
    ]
    sidecar["algorithm"] = {"name": NAME, "version": table["version"], "digest": digest}
    sidecar["notice"] = NOTICE
    return sidecar


if __name__ == "__main__":
    main()
