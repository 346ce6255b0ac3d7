"""Write every volume of the input as DICOM objects of the study it came from. What is written: README.md."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import derived
import grid
import headers
import identity
import labels
import numpy as np
import pydicom.config
import report
import seg
import sidecar
import source
from headers import Instance
from identity import Provenance
from numpy.typing import NDArray
from refusal import Refused, shown

import clara_driver
from clara_driver import volume


def main() -> None:
    options = _arguments()
    _quiet()
    with clara_driver.stage() as stage:
        try:
            if stage.study is None or not stage.study.is_dir():
                raise Refused("E_NO_STUDY", "no study folder", "say study: true in the stage.yaml of this stage")
            paths = volume.find(stage.input)
            if not paths:
                raise Refused("E_NO_VOLUME", "the input holds no .mhd file", "check what the stage before it writes")
            study = headers.scan(stage.study)
            provenance = Provenance(stage.workflow_digest, stage.name)
            for done, path in enumerate(paths, 1):
                made = write(path, study, stage.output, provenance, options, stage.log)
                stage.log(f"volume {done} of {len(paths)}: {', '.join(one.name for one in made)}")
                stage.progress(done, len(paths))
        except Refused as refused:
            raise clara_driver.FinalFailure(str(refused)) from refused
        except OSError as error:
            text = f"a file cannot be read or written ({error.strerror or error}); make room on the disk and run again"
            raise clara_driver.TemporaryFailure(text) from error


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels-as", choices=("seg", "series", "both"), default="seg")
    parser.add_argument("--images-as", choices=("series",), default="series")
    parser.add_argument("--report", choices=("none", "volumes"), default="none", help="of label maps, beside their SEG")
    options = parser.parse_args()
    if options.report != "none" and options.labels_as == "series":
        parser.error("--report refers to a SEG: say --labels-as seg or both")
    return options


def _quiet() -> None:
    """pydicom quotes odd values, which may be a patient's: they are copied as they are, and not talked about."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def write(
    path: Path,
    study: dict[str, list[Instance]],
    output: Path,
    provenance: Provenance,
    options: argparse.Namespace,
    tell: Callable[[str], None],
) -> list[Path]:
    """Write one volume; returns the files and folders made. `tell` takes a warning."""
    try:
        header = volume.read_header(path)
    except (volume.VolumeError, OSError) as error:
        raise Refused("E_VOLUME", shown(path, str(error)), "write MetaImage, as clara_driver.volume does") from error
    said = sidecar.of(path, header.element)
    instances = source.choose(study, said)
    placement = grid.place(header, source.planes(instances, said.planes))
    whole = headers.read(placement.planes[0].instance.path)
    doubtful = identity.doubtful(whole, derived.COPIED)
    if doubtful:
        which = ", ".join(doubtful)
        tell(f"W_SOURCE: not as DICOM wants it in the source, written as it is: {which}; correct it in the source")
    voxels, digest = _voxels(path)
    on_source = placement.view(voxels)
    if said.kind == "image":
        return [derived.write(output, on_source, placement, said, whole, provenance, digest)]
    found = labels.values_by_slice(on_source)
    segments = said.segments or labels.unnamed(found)
    frames = labels.frames(found, segments)
    made = []
    if options.labels_as in ("seg", "both"):
        written = seg.write(output, on_source, frames, segments, placement, said, whole, provenance, digest)
        made.append(written.path)
        if options.report == "volumes":
            measured = report.volumes(on_source, frames, segments, header.spacing)
            cut = sum(one.cut for one in measured)
            if cut:
                tell(f"W_CUT: {cut} of {len(measured)} organs reach the edge of the images; the report says which")
            made.append(report.write(output, written, measured, segments, placement, said, whole, provenance))
    if options.labels_as in ("series", "both"):
        named = dataclasses.replace(said, segments=segments)
        made.append(derived.write(output, on_source, placement, named, whole, provenance, digest))
    return made


def _voxels(path: Path) -> tuple[NDArray[np.generic], str]:
    """Voxels [k, j, i] and the digest of all that decides what they are."""
    try:
        header, data = volume.read(path)
    except (volume.VolumeError, OSError, MemoryError) as error:
        text = str(error) or f"{path.name}: too large for the memory"
        raise Refused("E_VOLUME", shown(path, text), "write it again") from error
    digest = hashlib.sha256(repr(header._replace(data_file="")).encode())
    digest.update(data)
    return np.frombuffer(data, header.dtype).reshape(header.size[::-1]), digest.hexdigest()


if __name__ == "__main__":
    main()
