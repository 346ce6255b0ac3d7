"""Is what came back to the PACS the result of this study? Judged by readers that are not ours (highdicom, pydicom).

Every returned instance must carry the patient and study of the input; every segmentation must decode to the stage's
label map, voxel for voxel in patient space; and where the truth is known, Dice must reach its floor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import SegmentationStorage

from clara_argo.demo.grid import Grid, OtherGrid, of_header, onto
from clara_argo.errors import JobFailed
from clara_driver import volume

IDENTITY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "AccessionNumber")


class WrongResult(JobFailed):
    """What came back is not what was sent for."""


class Labels(NamedTuple):
    """A label map with its grid; `values` indexed [i, j, k], `segments` as in the sidecar."""

    values: NDArray[np.uint8]
    grid: Grid
    segments: list[dict[str, Any]]


class Truth(NamedTuple):
    """Known organs on a grid: `values` indexed [i, j, k], `numbers` says which organ has which value."""

    values: NDArray[np.uint8]
    numbers: Mapping[str, int]


def read_volume(path: Path) -> tuple[NDArray[Any], Grid]:
    """An MHD volume indexed [i, j, k]."""
    header, voxels = volume.read(path)
    return np.frombuffer(voxels, header.dtype).reshape(header.size[::-1]).transpose(), of_header(header)


def read_labels(path: Path) -> Labels:
    values, grid = read_volume(path)
    return Labels(values, grid, (volume.read_sidecar(path) or {}).get("segments", []))


def check_identity(returned: Sequence[Path], study: Path) -> dict[str, int]:
    """SOP classes of the returned instances, by name and count. Raises WrongResult when one is of somebody else."""
    if not returned:
        raise WrongResult("nothing came back to the PACS")
    source = pydicom.dcmread(next(path for path in sorted(study.rglob("*")) if path.is_file()), stop_before_pixels=True)
    classes: Counter[str] = Counter()
    for path in returned:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        for keyword in IDENTITY:
            if str(dataset.get(keyword, "")) != str(source.get(keyword, "")):
                raise WrongResult(f"{path.name}: {keyword} is not that of the study that was sent")
        classes[pydicom.uid.UID(dataset.SOPClassUID).name] += 1
    return dict(classes)


def check_segmentations(returned: Sequence[Path], label_maps: Sequence[Labels]) -> int:
    """The number of segmentations that decode to one of the label maps. Raises WrongResult for one that does not."""
    count = 0
    for path in returned:
        if pydicom.dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID == SegmentationStorage:
            _compare(path, label_maps)
            count += 1
    if not count:
        raise WrongResult("no segmentation came back")
    return count


def _compare(path: Path, label_maps: Sequence[Labels]) -> None:
    segmentation = highdicom.seg.segread(path)
    found = segmentation.get_volume(combine_segments=True)
    reasons = []
    for labels in label_maps:
        try:
            decoded = onto(found.array.astype(np.uint16), found.affine, labels.grid)
        except OtherGrid as error:
            reasons.append(str(error))
            continue
        differing = int((_as_values(segmentation, labels)[decoded] != labels.values).sum())
        if not differing:
            return
        reasons.append(f"{differing} voxels differ")
    raise WrongResult(f"{path.name} is not the stage's label map: {'; '.join(reasons) or 'there is none'}")


def _as_values(segmentation: Any, labels: Labels) -> NDArray[np.uint8]:
    """Segment number -> value in the label map, by the segment's label."""
    values = {segment["label"]: segment["value"] for segment in labels.segments}
    table = np.zeros(int(max(segmentation.segment_numbers)) + 1, np.uint8)
    for segment in segmentation.SegmentSequence:
        if segment.SegmentLabel not in values:
            raise WrongResult(f"the segmentation has a segment {segment.SegmentLabel!r} that the stage did not make")
        table[segment.SegmentNumber] = values[segment.SegmentLabel]
    return table


def dice(labels: Labels, truth: Truth) -> dict[str, float]:
    """Dice of each organ that the truth knows; an organ that is in neither has none."""
    pairs = np.zeros((256, 256), np.int64)
    for mine, true in zip(labels.values.T, truth.values.T, strict=True):  # plane by plane: little memory
        both = mine.astype(np.uint16) * 256 + true
        pairs += np.bincount(both.ravel(order="K"), minlength=1 << 16).reshape(256, 256)
    out = {}
    for segment in labels.segments:
        if segment["name"] in truth.numbers:
            value, number = segment["value"], truth.numbers[segment["name"]]
            total = int(pairs[value].sum() + pairs[:, number].sum())
            if total:
                out[segment["name"]] = round(2 * int(pairs[value, number]) / total, 4)
    return out


def check_floors(found: Mapping[str, float], floors: Mapping[str, float]) -> None:
    low = [
        f"{name} {found.get(name, 0.0):.3f} < {floor}" for name, floor in floors.items() if found.get(name, 0) < floor
    ]
    if low:
        raise WrongResult("Dice below its floor: " + ", ".join(low))
