"""Source series for the tests of dicom-writer, and label maps on them whose every voxel is known from its position.

The value of a CT voxel is 3x + 5y + 8z of its place in mm, its label is one of 0..ORGANS chosen by the same number: a
writer that mixes up axes, directions or slices cannot get a voxel right but by chance.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from clara_driver import volume

STAGES = Path(__file__).resolve().parent.parent / "stages"
ROOT = "1.2.826.0.1.3680043.8.498."  # pydicom's root, for tests only
ORGANS = 4
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.9396926208, 0.3420201433, 0.0, -0.3368240888, 0.9254165784, 0.1736481777)


def uid(text: str) -> str:
    return str(generate_uid(prefix=ROOT, entropy_srcs=[text]))


def encoded(places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(places @ np.array([3.0, 5.0, 8.0]))


def label_of(places: NDArray[np.float64]) -> NDArray[np.uint8]:
    return (np.floor(np.abs(encoded(places)) / 7.3) % (ORGANS + 1)).astype(np.uint8)


class Grid:
    """Rows x columns x slices in patient space, mm. `step` is from slice to slice, along the normal or against it."""

    def __init__(
        self,
        shape: tuple[int, int, int] = (6, 10, 12),  # slices, rows, columns
        spacing: tuple[float, float, float] = (2.5, 1.5, 1.25),
        orientation: Sequence[float] = AXIAL,
        origin: tuple[float, float, float] = (-20.0, -15.0, -12.0),
    ) -> None:
        self.shape, self.spacing, self.orientation, self.origin = shape, spacing, tuple(orientation), np.array(origin)
        self.row, self.column = np.array(orientation[:3]), np.array(orientation[3:])
        self.normal = np.cross(self.row, self.column)

    def position(self, k: int) -> NDArray[np.float64]:
        return np.asarray(self.origin + self.normal * self.spacing[0] * k)

    def plane(self, k: int) -> NDArray[np.float64]:
        """[row, column, xyz] in mm."""
        r, c = np.mgrid[: self.shape[1], : self.shape[2]]
        along = r[..., None] * self.spacing[1] * self.column + c[..., None] * self.spacing[2] * self.row
        return np.asarray(self.position(k) + along)

    def places(self) -> NDArray[np.float64]:
        """[slice, row, column, xyz] in mm."""
        return np.stack([self.plane(k) for k in range(self.shape[0])])

    def header(self, element: str = "MET_UCHAR") -> volume.Header:
        return volume.Header(
            size=(self.shape[2], self.shape[1], self.shape[0]),
            spacing=(self.spacing[2], self.spacing[1], self.spacing[0]),
            origin=tuple(self.origin),
            direction=tuple(np.stack([self.row, self.column, self.normal], 1).ravel()),
            element=element,
        )


def text(numbers: Iterable[float]) -> list[str]:
    return [f"{number:.10g}" for number in numbers]


def instance(grid: Grid, k: int, name: str = "a", sop_class: str = CTImageStorage, **attributes: Any) -> Dataset:
    """One classic CT or MR image; attributes given as None are left out."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = uid(f"{name} {k}")
    made.StudyInstanceUID, made.SeriesInstanceUID = uid("study"), uid(f"{name} series")
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = uid("frame"), ""
    made.SpecificCharacterSet, made.ImageType = "ISO_IR 192", ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.StudyDate = made.SeriesDate = made.AcquisitionDate = made.ContentDate = "20240102"
    made.StudyTime, made.SeriesTime, made.AcquisitionTime, made.ContentTime = "101500", "101530", "101600", "101610"
    made.Modality = "CT" if sop_class == CTImageStorage else "MR"
    made.Manufacturer, made.ManufacturerModelName, made.DeviceSerialNumber = "SYNTH", "PHANTOM", "7"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "Müller^Jürgen", "P0001", "19700101", "O"
    made.PatientAge, made.AccessionNumber, made.ReferringPhysicianName, made.StudyID = "054Y", "A1", "Doe^John", "1"
    made.StudyDescription, made.SeriesDescription, made.BodyPartExamined = "ABDOMEN", "AXIAL", "ABDOMEN"
    made.PatientPosition, made.SeriesNumber, made.AcquisitionNumber, made.InstanceNumber = "HFS", 2, 1, k + 1
    made.SliceThickness, made.KVP = f"{grid.spacing[0]}", "120"
    made.ImagePositionPatient = text(grid.position(k))
    made.ImageOrientationPatient, made.PixelSpacing = text(grid.orientation), text(grid.spacing[1:])
    made.SliceLocation = f"{grid.position(k)[2]:.6g}"
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    _, made.Rows, made.Columns = grid.shape
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 1
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = "-1024", "1", "HU"
    made.WindowCenter, made.WindowWidth = "40", "400"
    if sop_class == MRImageStorage:
        made.ScanningSequence, made.SequenceVariant, made.ScanOptions, made.MRAcquisitionType = "SE", "NONE", "", "2D"
        made.EchoTime, made.RepetitionTime, made.EchoTrainLength = "30", "500", "1"
        del made.KVP, made.RescaleIntercept, made.RescaleSlope, made.RescaleType
    made.PixelData = (np.rint(encoded(grid.plane(k))) + 1024).astype("<i2").tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def series(grid: Grid, name: str = "a", /, **attributes: Any) -> list[Dataset]:
    return [instance(grid, k, name, **attributes) for k in range(grid.shape[0])]


def save(instances: Sequence[Dataset], folder: Path) -> Path:
    """Files without a suffix, in sub-folders and in an order of their own, beside a file that is no image."""
    for number, one in enumerate(instances):
        path = folder / f"D{number % 3}" / f"{(number * 7) % 97:02d}{number:03d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        one.save_as(path, enforce_file_format=True)
    (folder / "README").write_text("not DICOM\n")
    return folder


def organs(count: int = ORGANS) -> list[dict[str, Any]]:
    return [
        {
            "value": value,
            "name": f"organ_{value}",
            "label": f"Organ {value}",
            "color": [40 * value, 200, 60],
            "category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"},
            "type": {"value": "64033007", "scheme": "SCT", "meaning": "Kidney"},
            **({"laterality": {"value": "24028007", "scheme": "SCT", "meaning": "Right"}} if value == 2 else {}),
        }
        for value in range(1, count + 1)
    ]


def sidecar(instances: Sequence[Dataset], kind: str = "labels", /, **values: Any) -> dict[str, Any]:
    first = instances[0]
    made: dict[str, Any] = {
        "schema": 1,
        "kind": kind,
        "series": {"SeriesInstanceUID": first.SeriesInstanceUID, "StudyInstanceUID": first.StudyInstanceUID},
        "instances": [{"SOPInstanceUID": one.SOPInstanceUID, "frame": None} for one in instances],
    }
    if kind == "labels":
        made["segments"] = organs()
        made["algorithm"] = {"name": "ct-organ-seg", "version": "1.0", "digest": "ab" * 32}
        made["notice"] = "Not for clinical use. Trained on phantoms."
    else:
        made["values"] = {"unit": "HU", "element": "MET_SHORT"}
    return {**made, **values}


def put(
    folder: Path, name: str, header: volume.Header, voxels: NDArray[Any], side: Mapping[str, Any] | None = None
) -> Path:
    """Write a volume; voxels [k, j, i] of the header's type."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.mhd"
    data = np.ascontiguousarray(voxels.astype(header.dtype))
    volume.write(path, header, data.tobytes(), dict(side) if side is not None else None)
    return path


PEAK = """
import os, sys
process = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(process, 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""  # a process inherits the peak of the one that started it: so a small one starts it


def peak_memory(study: Path, volumes: Path, output: Path) -> int:
    """Run dicom-writer; the largest resident size of its process, in bytes. Raises when it fails."""
    environment = {"PYTHONPATH": str(STAGES), "CLARA_STUDY": str(study), "CLARA_INPUT": str(volumes)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", PEAK, str(STAGES / "dicom-writer" / "main.py")],
        env={**environment, "CLARA_OUTPUT": str(output)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(done.stdout)
