"""dicom-writer against highdicom on the same mask, and against SimpleITK on the same volume: 300 slices of 512 x 512.

    python benchmarks/seg_writer.py [--rounds 5] [--organs 13] [--slices 300] [--folder DIR]

All contenders run interleaved, in random order, in one run; the first round is dropped. Timed is the work after the
imports: reading the headers of the series and the volume, building the objects, writing them. In the uncounted round
every object is read back by highdicom or pydicom and compared with what was to be written. Memory is the peak of the
stage's process above what it holds with nothing to do, in volumes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "stages" / "dicom-writer"
RESULTS = ROOT / "benchmarks" / "results"
sys.path[:0] = [str(STAGE), str(ROOT / "stages"), str(ROOT / "tests")]

import headers  # noqa: E402  a stage is no package; this is how its process sees it
import main as stage  # noqa: E402
import writer_source as made  # noqa: E402
from identity import Provenance  # noqa: E402

from clara_driver import volume  # noqa: E402

Room = Path
OPTIONS = argparse.Namespace(labels_as="seg", images_as="series")


def mask(slices: int, size: int, organs: int) -> NDArray[np.uint8]:
    """Ellipsoids around the middle of the body, each on somewhat under half of the slices."""
    made_mask = np.zeros((slices, size, size), np.uint8)
    y, x = np.ogrid[:size, :size]
    for number in range(organs):
        angle = 2 * np.pi * number / organs
        row, column = size * (0.5 + 0.2 * np.sin(angle)), size * (0.5 + 0.25 * np.cos(angle))
        middle, half = slices * (0.25 + 0.5 * number / max(1, organs - 1)), slices * 0.23
        for k in range(slices):
            share = 1 - ((k - middle) / half) ** 2
            if share > 0:
                inside = ((y - row) / (size * 0.08)) ** 2 + ((x - column) / (size * 0.06)) ** 2 < share
                made_mask[k][inside] = number + 1
    return made_mask


def prepare(room: Path, slices: int, size: int, organs: int) -> None:
    """room/study, room/labels and room/image: the series, and a label map and a CT volume on it."""
    grid = made.Grid(shape=(slices, size, size), spacing=(1.0, 0.74, 0.74), origin=(-190.0, -170.0, -300.0))
    ct = np.random.default_rng(1).integers(-1000, 1000, (slices, size, size), np.int16)
    instances = []
    for k in range(slices):
        instances.append(made.instance(grid, k))
        instances[-1].PixelData = (ct[k] + 1024).astype("<i2").tobytes()
    made.save(instances, room / "study")
    side = made.sidecar(instances, segments=made.organs(organs) if organs < 6 else _many(organs))
    made.put(room / "labels", "v", grid.header(), mask(slices, size, organs), side)
    made.put(room / "image", "v", grid.header("MET_SHORT"), ct, made.sidecar(instances, "image"))


def _many(organs: int) -> list[dict[str, Any]]:
    return [{**made.organs(1)[0], "value": value, "label": f"Organ {value}"} for value in range(1, organs + 1)]


def _ours(room: Room, kind: str, output: Path) -> list[Path]:
    study = headers.scan(room / "study")
    path = stage.write(room / kind / "v.mhd", study, output, Provenance("0" * 64, "w"), OPTIONS)[0]
    return sorted(path.glob("*.dcm")) if path.is_dir() else [path]


def our_seg(room: Room, output: Path) -> list[Path]:
    return _ours(room, "labels", output)


def our_series(room: Room, output: Path) -> list[Path]:
    return _ours(room, "image", output)


def _voxels(path: Path) -> NDArray[Any]:
    header, data = volume.read(path)
    return np.frombuffer(data, header.dtype).reshape(header.size[::-1])


def highdicom_seg(room: Room, output: Path) -> list[Path]:
    files = [path for path in (room / "study").rglob("*") if path.is_file() and path.name != "README"]
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    sources.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    labels = _voxels(room / "labels" / "v.mhd")
    code = highdicom.sr.CodedConcept("64033007", "SCT", "Kidney")
    algorithm = highdicom.AlgorithmIdentificationSequence("a", codes.DCM.ArtificialIntelligence, "1")
    segments = [
        highdicom.seg.SegmentDescription(number, f"Organ {number}", code, code, "AUTOMATIC", algorithm)
        for number in range(1, int(labels.max()) + 1)
    ]
    made_seg = highdicom.seg.Segmentation(
        sources, labels, "BINARY", segments, made.uid("s"), 1, made.uid("i"), 1, "m", "m", "1", "1"
    )
    made_seg.save_as(output / "seg.dcm")
    return [output / "seg.dcm"]


def simpleitk_series(room: Room, output: Path) -> list[Path]:
    image = sitk.ReadImage(str(room / "image" / "v.mhd"))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(image.GetDepth()):
        plane = image[:, :, k]
        place = "\\".join(map(str, image.TransformIndexToPhysicalPoint((0, 0, k))))
        for tag, value in {
            "0008|0060": "CT", "0010|0020": "P0001", "0020|000d": made.uid("study"), "0020|000e": made.uid("x"),
            "0020|0032": place, "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0013": str(k + 1),
        }.items():  # fmt: skip
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(output / f"{k:04d}.dcm"))
        writer.Execute(plane)
    return sorted(output.glob("*.dcm"))


CONTENDERS: dict[str, Callable[[Room, Path], list[Path]]] = {
    "dicom-writer seg": our_seg, "highdicom seg": highdicom_seg,
    "dicom-writer series": our_series, "SimpleITK series": simpleitk_series,
}  # fmt: skip
PEERS = {"dicom-writer seg": "highdicom seg", "dicom-writer series": "SimpleITK series"}


def check(name: str, paths: list[Path], room: Path) -> None:
    """What was written holds the voxels it should."""
    if name.endswith("seg"):
        back = highdicom.seg.segread(paths[0]).get_volume(combine_segments=True, relabel=False)
        labels = _voxels(room / "labels" / "v.mhd")
        lowest = np.flatnonzero(labels.any(axis=(1, 2)))
        same = np.array_equal(back.array[:: -1 if back.affine[2, 0] < 0 else 1], labels[lowest[0] : lowest[-1] + 1])
    else:
        ct = _voxels(room / "image" / "v.mhd")
        read = [pydicom.dcmread(path) for path in paths]
        slopes = [(float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))) for one in read]
        same = len(read) == len(ct) and all(
            np.array_equal(one.pixel_array * slope + intercept, plane)
            for one, (slope, intercept), plane in zip(read, slopes, ct, strict=True)
        )
    if not same:
        raise SystemExit(f"{name}: the voxels differ")


def race(room: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Wall and CPU seconds of each contender in each counted round."""
    times: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in CONTENDERS}
    for number in range(rounds + 1):
        for name in random.sample(list(CONTENDERS), len(CONTENDERS)):
            with tempfile.TemporaryDirectory(dir=room) as output:
                wall, cpu = time.perf_counter(), time.process_time()
                paths = CONTENDERS[name](room, Path(output))
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                if number == 0:
                    check(name, paths, room)
                else:
                    times[name]["wall"].append(wall)
                    times[name]["cpu"].append(cpu)
    return times


def memory(room: Path, kind: str, idle: Path) -> float:
    """Peak of the stage's process above that with a tiny volume, in volumes."""
    peaks = []
    for place in (idle, room):
        with tempfile.TemporaryDirectory(dir=room) as output:
            peaks.append(made.peak_memory(place / "study", place / kind, Path(output)))
    return (peaks[1] - peaks[0]) / (room / kind / "v.raw").stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--organs", type=int, default=13)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where series and volumes go (default: the temporary folder)")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory(dir=given.folder) as text:
        prepare(Path(text), given.slices, 512, given.organs)
        times = race(Path(text), given.rounds)
        prepare(Path(text) / "idle", 2, 8, 1)
        peaks = {kind: memory(Path(text), kind, Path(text) / "idle") for kind in ("labels", "image")}
    figures = {
        name: {clock: {"median": statistics.median(v), "min": min(v)} for clock, v in clocks.items()}
        for name, clocks in times.items()
    }
    ratios = {
        ours: {clock: figures[peer][clock]["median"] / figures[ours][clock]["median"] for clock in ("wall", "cpu")}
        for ours, peer in PEERS.items()
    }
    report = {
        "benchmark": "seg_writer", "slices": given.slices, "size": 512, "organs": given.organs, "rounds": given.rounds,
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "pydicom": pydicom.__version__,
                     "highdicom": highdicom.__version__, "SimpleITK": sitk.Version_VersionString()},
        "seconds": figures, "times_faster_than_peer": ratios, "peak_memory_in_volumes": peaks,
        "goal": {"times_faster_than_highdicom": 1, "peak_memory_in_volumes": 3},
    }  # fmt: skip
    for name, clocks in figures.items():
        wall, cpu = clocks["wall"], clocks["cpu"]
        print(f"{name:20} {wall['median']:7.3f} s median {wall['min']:7.3f} s min {cpu['median']:7.3f} s of CPU")
    for ours, peer in PEERS.items():
        print(f"{ours}: {ratios[ours]['wall']:.1f} x as fast as {peer} ({ratios[ours]['cpu']:.1f} x in CPU)")
    print(f"voxels equal; peak memory {peaks['labels']:.2f} (SEG) and {peaks['image']:.2f} volumes (series), goal 3")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "seg_writer.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
