"""Volumes as DICOM CT series: the phantom as a scanner would send it, and position-encoded series as ground truth.

One CT Image Storage file a slice (PS3.3 A.3), explicit VR little endian. Identifiers derive from the seed (UIDs below
2.25, PS3.5 B.2), so the same call writes the same bytes. It writes plain, correct series only; a test that needs a
broken one breaks it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clara_argo.phantom.ct import Phantom

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ENCODING = (3.0, 5.0, 8.0)  # the value of a voxel at (x, y, z) mm is 3x + 5y + 8z


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where the slices lie: row and column spacing and slice distance as (z, y, x) mm; the first voxel (x, y, z) mm;
    the directions of a row and of a column (PS3.3 C.7.6.2). Slices advance along their cross product."""

    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    orientation: tuple[float, ...] = AXIAL

    @property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors of i, j, k as rows."""
        row, column = np.array(self.orientation, float).reshape(2, 3)
        return np.stack((row, column, np.cross(row, column)))

    def slice_origin(self, k: int) -> NDArray[np.float64]:
        return np.asarray(self.origin + k * self.spacing[0] * self.directions[2])

    def points(self, k: int, rows: int, columns: int) -> NDArray[np.float64]:
        """Patient coordinates of one slice's voxels, [rows, columns, 3] mm."""
        row, column, _ = self.directions
        along = np.arange(columns)[None, :, None] * self.spacing[2] * row
        return np.asarray(self.slice_origin(k) + along + np.arange(rows)[:, None, None] * self.spacing[1] * column)


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Whose study it is. The defaults are nobody's."""

    patient_name: str = "PHANTOM^PROCEDURAL"
    patient_id: str = "PHANTOM-{seed}"
    accession: str = ""
    description: str = "Procedural phantom"
    series: int = 1  # number; another number is another series of the same study


def write_series(
    phantom: Phantom, folder: Path, *, seed: int | None = None, identity: Identity | None = None
) -> list[Path]:
    """Write the phantom as a CT series, one file a slice, feet first; returns the files in slice order."""
    placement = Placement(spacing=phantom.spacing, origin=phantom.origin)
    return write_ct(
        phantom.hu, placement, folder, seed=phantom.seed if seed is None else seed, identity=identity or Identity()
    )


def encoded(points: NDArray[np.float64]) -> NDArray[np.int16]:
    """The position-encoded value at patient coordinates [..., 3] in mm."""
    values: NDArray[np.int16] = np.rint(points @ np.array(ENCODING)).astype(np.int16)
    return values


def encoded_series(
    folder: Path,
    shape: tuple[int, int, int] = (12, 40, 48),
    spacing: tuple[float, float, float] = (2.0, 1.5, 1.25),
    orientation: Sequence[float] = AXIAL,
    *,
    origin: tuple[float, float, float] = (-20.0, -15.0, -12.0),
    seed: int = 0,
    identity: Identity | None = None,
) -> list[Path]:
    """Write a CT whose every voxel tells its place: 3x + 5y + 8z of its mm, within 1. `shape`, `spacing`: (z, y, x)."""
    placement = Placement(spacing=spacing, origin=origin, orientation=tuple(orientation))
    values = np.stack([encoded(placement.points(k, shape[1], shape[2])) for k in range(shape[0])])
    identity = identity or Identity(description="Position-encoded")
    return write_ct(values, placement, folder, seed=seed, identity=identity)


def write_ct(hu: NDArray[np.int16], placement: Placement, folder: Path, *, seed: int, identity: Identity) -> list[Path]:
    """Write HU [k, j, i] as CT images: `0001.dcm` and on, in slice order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for k, plane in enumerate(hu):
        image = _image(plane, placement, k, seed, identity)
        files.append(folder / f"{k + 1:04d}.dcm")
        image.save_as(files[-1], enforce_file_format=True)
    return files


def uid(*parts: object) -> str:
    """The same parts give the same UID."""
    return "2.25." + str(uuid.uuid5(uuid.NAMESPACE_URL, "clara-argo phantom " + " ".join(map(str, parts))).int)


def _image(plane: NDArray[np.int16], placement: Placement, k: int, seed: int, identity: Identity) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    d = Dataset()
    d.file_meta = meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID = meta.MediaStorageSOPClassUID = CTImageStorage
    d.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = uid(seed, "series", identity.series, "image", k)
    d.StudyInstanceUID, d.SeriesInstanceUID = uid(seed, "study"), uid(seed, "series", identity.series)
    d.FrameOfReferenceUID, d.PositionReferenceIndicator = uid(seed, "frame"), ""
    _identify(d, seed, identity)
    d.ImageType, d.Modality, d.KVP, d.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT", "120", 1
    d.PatientPosition, d.InstanceNumber = "HFS", k + 1
    d.ImageOrientationPatient = [_decimal(v) for v in placement.orientation]
    d.ImagePositionPatient = [_decimal(v) for v in placement.slice_origin(k)]
    d.SliceThickness, d.PixelSpacing = _decimal(placement.spacing[0]), [_decimal(v) for v in placement.spacing[1:]]
    _set_pixels(d, plane)
    return d


def _identify(d: Any, seed: int, identity: Identity) -> None:
    d.PatientName, d.PatientID = identity.patient_name, identity.patient_id.format(seed=seed)
    d.PatientBirthDate, d.PatientSex = "", "O"
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = "20200101"
    d.StudyTime = d.SeriesTime = d.AcquisitionTime = d.ContentTime = "120000"
    d.AccessionNumber, d.ReferringPhysicianName, d.StudyID = identity.accession, "", "1"
    d.StudyDescription = d.SeriesDescription = identity.description
    d.SeriesNumber, d.BodyPartExamined = identity.series, "ABDOMEN"
    d.Manufacturer, d.ManufacturerModelName, d.SoftwareVersions = "clara-argo", "phantom", "1"


def _set_pixels(d: Any, plane: NDArray[np.int16]) -> None:
    """Stored as scanners do: HU + 1024. Signed 16 bits only where 12 unsigned do not hold them."""
    stored = plane.astype(np.int32) + 1024
    small = int(stored.min()) >= 0 and int(stored.max()) <= 4095
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.Rows, d.Columns = plane.shape
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = (16, 12, 11, 0) if small else (16, 16, 15, 1)
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = "-1024", "1", "HU"
    d.WindowCenter, d.WindowWidth = "40", "400"
    d.PixelData = stored.astype("<u2" if small else "<i2").tobytes()


def _decimal(value: float) -> str:
    """A decimal string (VR DS) of at most 16 characters."""
    text = f"{float(value):.10g}"
    return "0" if text == "-0" else text
