"""The stage ct-recon: CT sinograms become volumes in HU by filtered back-projection, right or refused by name.

Not for clinical use: no correction of beam hardening, scatter or motion is made.
"""

from __future__ import annotations

import argparse
import errno
from pathlib import Path
from typing import Any

import lines
import sidecar
from reconstruct import FILTERS, Reconstruction, warned
from refusal import Refuse
from scan import Scan

import clara_driver
from clara_driver import volume


def main() -> None:
    args = arguments()
    with clara_driver.stage() as stage:
        found = [path for path in volume.find(stage.input) if is_sinogram(path)]
        if not found:
            raise clara_driver.FinalFailure(
                f"E_NO_SINOGRAM: {stage.input} holds no sinogram (.mhd, and .json of kind sinogram); README.md of "
                "ct-recon has the form"
            )
        try:
            total = sum(volume.read_header(path).size[2] for path in found)
            done = 0
            for path in found:
                done = reconstruct(stage, path, args.filter, done, total)
        except Refuse as refused:
            raise clara_driver.FinalFailure(f"{path.name}: {refused}") from None
        except MemoryError:
            raise clara_driver.FinalFailure("E_TOO_LARGE: not enough memory; give the stage more") from None
        except OSError as error:
            raise of_the_disk(error) from None


def of_the_disk(error: OSError) -> Exception:
    """A full disk may be tried again."""
    name = Path(str(error.filename)).name if error.filename else "the output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return clara_driver.TemporaryFailure(f"no space for {name}; free some where the jobs are kept")
    return clara_driver.FinalFailure(f"E_IO: {name}: {error.strerror or error}; check the disk and the permissions")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ct-recon", description=__doc__)
    parser.add_argument("--filter", choices=FILTERS, default="ramp", help="ramp is exact, hann is smooth (ramp)")
    return parser.parse_args()


def is_sinogram(path: Path) -> bool:
    """Volumes that say they are something else are passed over; one without a sidecar is refused later, by name."""
    beside = volume.read_sidecar(path)
    return beside is None or beside.get("kind") == "sinogram"


def reconstruct(stage: clara_driver.Stage, path: Path, filter_name: str, done: int, total: int) -> int:
    """One sinogram in, one volume with the same name out; slice by slice. Returns how many slices are done by now."""
    header = volume.read_header(path)
    scan = sidecar.read(path, header)
    lines.check(path, header)
    recon = Reconstruction(scan, filter_name)
    target = stage.output / path.relative_to(stage.input)
    cut = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(path.parent / header.data_file, "rb") as source, open(target.with_suffix(".raw"), "wb") as sink:
        for number in range(header.size[2]):
            views = lines.read(source.read(header.nbytes // header.size[2]), header, number)
            cut += lines.is_cut(views, scan.ends)
            sink.write(recon(views).data)
            stage.progress(done + number + 1, total)
    warnings = warned(scan, cut)
    volume.write_sidecar(target, describe(scan, filter_name, warnings))
    volume.write_header(target, header_of(scan)._replace(data_file=target.stem + ".raw"))
    for warning in warnings:
        stage.log(f"{path.name}: {warning['code']}: {warning['message']}")
    stage.log(f"{path.name}: {header.size[2]} slice(s) of {scan.plane.columns} x {scan.plane.rows}")
    return done + header.size[2]


def header_of(scan: Scan) -> volume.Header:
    plane, stack = scan.plane, scan.stack
    return volume.Header(
        size=(plane.columns, plane.rows, stack.count),
        spacing=(plane.spacing, plane.spacing, stack.spacing),
        origin=scan.origin,
        direction=stack.direction,
        element="MET_SHORT",
    )


def describe(scan: Scan, filter_name: str, warnings: list[dict[str, str]]) -> dict[str, Any]:
    """The sidecar of the volume (SIDECAR.md). It lists no instances: a sinogram comes from no DICOM objects."""
    header = header_of(scan)
    beam = "parallel-beam" if scan.detector.fan is None else "fan-beam"
    text = (
        f"Filtered back-projection ({filter_name}) of {scan.views.count} {beam} views; "
        f"HU with {scan.mu_water:g} / mm for water"
    )
    return {
        "schema": 1,
        "kind": "image",
        "series": scan.series,
        "geometry": {key: list(getattr(header, key)) for key in ("size", "spacing", "origin", "direction")},
        "values": {"unit": "HU", "element": header.element},
        "derivation": text,
        "warnings": warnings,
    }


if __name__ == "__main__":
    main()
