"""dicom-reader's read function against copying the files, and against SimpleITK: 300 CT slices of 512 x 512.

    python benchmarks/reader.py [--rounds 5] [--slices 300] [--folder DIR]

All contenders run interleaved, in random order, in one run; the first round is dropped. `cat` copies the bytes of all
files into one file: what any reader must at least do. The volumes are compared with the made one in the same run.
`dicom-reader` is the read function: voxels, header and sidecar.
Memory is the peak of a process that reads the series, above what it holds after its imports, in volumes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "stages" / "dicom-reader"
RESULTS = ROOT / "benchmarks" / "results"
SIZE, INTERCEPT = 512, -1024
sys.path.insert(0, str(STAGE))

reader = importlib.import_module("reader")  # a stage is no package; this is how its process sees it

MEMORY = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {stage!r})
import reader
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader.read([Path({source!r})], Path({output!r}))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def make(folder: Path, slices: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """A CT series, explicit VR little endian, 12 bits unsigned, rescale -1024: the ordinary case. Returns its HU."""
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 20, (8, SIZE, SIZE))
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    body = np.where((x / 0.42) ** 2 + (y / 0.32) ** 2 < 1, 40.0, -1000.0)
    volume = np.empty((slices, SIZE, SIZE), np.int16)
    names = [f"{number:04d}.dcm" for number in range(slices)]
    random.Random(1).shuffle(names)
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        volume[k] = np.clip(body + noise[k % 8] + k % 50, -1024, 3071)
        _slice(k, volume[k] - INTERCEPT).save_as(folder / name, enforce_file_format=True)
    return volume


def _slice(k: int, stored: np.ndarray[Any, Any]) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["reader", str(k)])
    for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(ds, key, generate_uid(entropy_srcs=["reader", key]))
    ds.ImageType, ds.Modality, ds.Manufacturer = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT", "SYNTH"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Bench^Mark", "1", "19700101", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.ReferringPhysicianName = "20240101", "100000", "1", ""
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "CT Abdomen", "Abd 1.0", "AbdRoutine"
    ds.InstitutionName, ds.StationName, ds.ManufacturerModelName = "Example Hospital", "CT1", "Synth 128"
    ds.KVP, ds.SliceThickness, ds.ConvolutionKernel, ds.PatientPosition = "120", "1", "B30f", "HFS"
    ds.InstanceNumber, ds.SeriesNumber, ds.StudyID, ds.PositionReferenceIndicator = k + 1, 2, "1", ""
    block = ds.private_block(0x0009, "SYNTH PRIVATE", create=True)
    block.add_new(0x10, "OB", bytes(512))
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "P5-08000", "SRT", "CT Abdomen"
    ds.ProcedureCodeSequence = [code]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-190, -170, -300 + k], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.Rows, ds.Columns, ds.SamplesPerPixel = [0.74, 0.74], SIZE, SIZE, 1
    ds.PhotometricInterpretation, ds.BitsAllocated, ds.BitsStored, ds.HighBit = "MONOCHROME2", 16, 12, 11
    ds.PixelRepresentation, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 0, "1", str(INTERCEPT), "HU"
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.PixelData = stored.astype("<u2").tobytes()
    return ds


def ours(source: Path, output: Path) -> Path:
    made: Path = reader.read([source], output)[0]
    return made


def cat(source: Path, output: Path) -> None:
    files = f"{shlex.quote(str(source))}/*"
    subprocess.run(["sh", "-c", f"cat {files} > {shlex.quote(str(output / 'all'))}"], check=True)


def simpleitk(source: Path, output: Path) -> Path:
    series = sitk.ImageSeriesReader()
    series.SetFileNames(series.GetGDCMSeriesFileNames(str(source)))
    sitk.WriteImage(series.Execute(), str(output / "volume.mhd"))
    return output / "volume.mhd"


CONTENDERS: dict[str, Callable[[Path, Path], Path | None]] = {
    "cat": cat, "dicom-reader": ours, "SimpleITK": simpleitk,
}  # fmt: skip


def cpu() -> float:
    """CPU seconds of this process and of the children it waited for."""
    return sum(os.times()[:4])


def race(source: Path, room: Path, truth: np.ndarray[Any, Any], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of each contender in each round; in the first, uncounted one volumes are compared."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    for number in range(rounds + 1):
        for name in random.sample(list(CONTENDERS), len(CONTENDERS)):
            with tempfile.TemporaryDirectory(dir=room) as output:
                begin, used = time.perf_counter(), cpu()
                made = CONTENDERS[name](source, Path(output))
                took = time.perf_counter() - begin, cpu() - used
                if number == 0 and made is not None:
                    voxels = np.fromfile(made.with_suffix(".raw"), "<i2").reshape(truth.shape)
                    if not np.array_equal(voxels, truth):
                        raise SystemExit(f"{name}: the voxels differ")
            if number:
                seconds[name].append(took)
    return seconds


def memory(source: Path, room: Path) -> int:
    """Peak bytes of reading, above the imports."""
    with tempfile.TemporaryDirectory(dir=room) as output:
        program = MEMORY.format(stage=str(STAGE), source=str(source), output=output)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout)


def summary(rounds: list[tuple[float, float]], of_cat: list[tuple[float, float]]) -> dict[str, float]:
    """Median and minimum of the wall seconds, median of the CPU seconds, and each over that of cat."""
    found = {
        "median": statistics.median(wall for wall, _ in rounds),
        "min": min(wall for wall, _ in rounds),
        "cpu": statistics.median(used for _, used in rounds),
    }
    if rounds is not of_cat:
        base = summary(of_cat, of_cat)
        return {**found, **{f"{key}_ratio": value / base[key] for key, value in found.items()}}
    return {**found, **dict.fromkeys(("median_ratio", "min_ratio", "cpu_ratio"), 1.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where series and volumes go (default: the temporary folder)")
    given = parser.parse_args()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory(dir=given.folder) as text:
        room = Path(text)
        truth = make(room / "series", given.slices)
        seconds = race(room / "series", room, truth, given.rounds)
        peak = memory(room / "series", room)
    report = {
        "benchmark": "reader", "slices": given.slices, "size": SIZE, "rounds": given.rounds,
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "pydicom": pydicom.__version__,
                     "SimpleITK": sitk.Version_VersionString()},
        "contenders": {name: summary(rounds, seconds["cat"]) for name, rounds in seconds.items()},
        "peak_memory_in_volumes": peak / truth.nbytes, "goal": {"ratio_to_cat": 1.5, "peak_memory_in_volumes": 3},
    }  # fmt: skip
    print(f"{'':18}{'median':>9}{'min':>9}{'CPU':>9}   seconds, and the same as ratios to cat")
    for name, found in report["contenders"].items():
        figures = "".join(f"{found[key]:9.3f}" for key in ("median", "min", "cpu"))
        ratios = "".join(f"{found[key]:7.2f}" for key in ("median_ratio", "min_ratio", "cpu_ratio"))
        print(f"{name:18}{figures}   {ratios}")
    print(f"voxels equal; peak memory {report['peak_memory_in_volumes']:.2f} volumes; goals: 1.5 x cat, 3 volumes")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "reader.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
