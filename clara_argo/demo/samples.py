"""Input for a workflow, made by code: what its first stages take, of a made-up patient. Same workflow, same bytes.

Every kind of data shows the same small CT with nine organs, so that what one workflow writes fits another as input:
the volume is the one that dicom-reader reads from the DICOM files, the labels lie on its grid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clara_argo import shipped
from clara_argo.errors import NotInstalled, UsageError
from clara_argo.graph import PAYLOAD, Graph

if TYPE_CHECKING:
    from clara_argo.phantom import Phantom

SEED = 4711
SHAPE, SPACING = (40, 80, 80), (6.0, 5.0, 5.0)  # slices, rows, columns; mm
STUDY = "study"  # folder of the DICOM files, below that of the sample
NOTICE = "Not for clinical use. Made by code."


def lay(graph: Graph, folder: Path) -> str:
    """Write input that fits the workflow into a folder; returns a line that says what it is.

    Raises UsageError when a stage that reads the input does not say what it takes, or takes what is not made here;
    NotInstalled without the packages that make it.
    """
    kinds = _kinds(graph)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        made = [KINDS[kind](folder) for kind in kinds]
    except ImportError as error:
        raise NotInstalled(
            f"{error.name} is not installed; pip install 'clara-argo[local]', or say --input FOLDER"
        ) from None
    return f"input made by code: {', '.join(made)}; a made-up patient, seed {SEED}"


def _kinds(graph: Graph) -> tuple[str, ...]:
    """What the stages that read the input take, and the study when one asks for it; in the order of KINDS."""
    wanted = {"dicom"} if any(node.spec.study for node in graph.nodes) else set()
    for node in graph.nodes:
        if PAYLOAD not in node.inputs:
            continue
        if not node.spec.takes:
            raise UsageError(
                f"stage '{node.name}' reads the input of the workflow and does not say what it takes; "
                "add 'takes: dicom' (or volume, labels, sinogram) to its stage.yaml, or say --input FOLDER"
            )
        wanted.update(node.spec.takes)
    unknown = sorted(wanted - KINDS.keys())
    if unknown:
        raise UsageError(f"no input of kind {', '.join(unknown)} can be made; say --input FOLDER")
    return tuple(kind for kind in KINDS if kind in wanted)


@cache
def patient() -> Phantom:
    """The CT that all samples show, and its true labels."""
    from clara_argo import phantom

    return phantom.make(SEED, SHAPE, SPACING, noise=10, field_of_view=0, arms="up", table=False)


def _dicom(folder: Path) -> str:
    from clara_argo import phantom

    files = phantom.write_series(patient(), folder / STUDY)
    return f"a CT of {len(files)} images"


def _volume(folder: Path) -> str:
    from clara_argo import phantom

    name = phantom.uid(SEED, "series", 1)
    _write(folder / f"{name}.mhd", "MET_SHORT", patient().hu, {
        "schema": 1,
        "kind": "image",
        **_origin(),
        "values": {"unit": "HU", "element": "MET_SHORT"},
        "warnings": [],
    })  # fmt: skip
    return "a CT volume"


def _labels(folder: Path) -> str:
    table = json.loads((shipped.folder("stages") / "ct-organ-seg" / "labels.json").read_text(encoding="utf-8"))
    segments = [
        {**segment, "volume_ml": round(patient().volume_ml(segment["name"]), 2)} for segment in table["segments"]
    ]
    _write(folder / "organs.mhd", "MET_UCHAR", patient().labels, {
        "schema": 1,
        "kind": "labels",
        **_origin(),
        "segments": segments,
        "algorithm": {"name": "phantom", "version": "1", "digest": ""},
        "notice": NOTICE,
    })  # fmt: skip
    return f"a label map of {len(segments)} organs"


def _sinogram(folder: Path) -> str:
    from clara_argo.phantom import sinogram

    geometry = sinogram.write_ct(patient(), folder)
    return f"a sinogram of {geometry.views} views ({geometry.beam} beam)"


def _origin() -> dict[str, Any]:
    """Series, geometry and instances of the sidecar (SIDECAR.md), as dicom-reader says them of the DICOM files."""
    from clara_argo import phantom

    made = patient()
    positions = [[*made.origin[:2], made.origin[2] + k * made.spacing[0]] for k in range(len(made.hu))]
    return {
        "series": {
            "SeriesInstanceUID": phantom.uid(SEED, "series", 1),
            "StudyInstanceUID": phantom.uid(SEED, "study"),
            "FrameOfReferenceUID": phantom.uid(SEED, "frame"),
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "Modality": "CT",
            "PatientPosition": "HFS",
            "BodyPartExamined": "ABDOMEN",
        },
        "geometry": {
            "size": list(made.hu.shape[::-1]),
            "spacing": list(made.spacing[::-1]),
            "origin": list(made.origin),
            "direction": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        },
        "instances": [
            {"SOPInstanceUID": phantom.uid(SEED, "series", 1, "image", k), "frame": None, "position": position}
            for k, position in enumerate(positions)
        ],
    }


def _write(path: Path, element: str, voxels: Any, sidecar: Mapping[str, Any]) -> None:
    from clara_driver import volume

    made = patient()
    depth, rows, columns = made.hu.shape
    z, y, x = made.spacing
    header = volume.Header(size=(columns, rows, depth), spacing=(x, y, z), origin=made.origin, element=element)
    volume.write(path, header, voxels.tobytes(), dict(sidecar))


KINDS: dict[str, Callable[[Path], str]] = {
    "dicom": _dicom, "volume": _volume, "labels": _labels, "sinogram": _sinogram,
}  # fmt: skip
