"""The stage dicom-reader: the DICOM series of the input become volumes (MHD, raw, JSON), right or refused by name."""

from __future__ import annotations

import argparse

from reader import MAX_BYTES, Options, RefusedSeries, processors, read

import clara_driver


def arguments() -> Options:
    parser = argparse.ArgumentParser(prog="dicom-reader", description=__doc__)
    parser.add_argument("--series", action="append", default=[], metavar="UID", help="read only this; repeatable")
    parser.add_argument("--modality", action="append", default=[], metavar="CODE", help="only these, as CT; repeatable")
    parser.add_argument("--skip-refused", action="store_true", help="read the other series when one is refused")
    parser.add_argument("--jobs", type=int, default=processors(), metavar="N", help="decoder processes")
    parser.add_argument("--max-gib", type=float, default=MAX_BYTES / (1 << 30), metavar="G", help="largest volume")
    given = parser.parse_args()
    if not 0 < given.max_gib < 1 << 20 or given.jobs < 1:
        parser.error("--max-gib and --jobs must be above zero")
    return Options(
        chosen=tuple(given.series),
        modalities=tuple(given.modality),
        skip_refused=given.skip_refused,
        jobs=given.jobs,
        max_bytes=int(given.max_gib * (1 << 30)),
    )


def main() -> None:
    options = arguments()
    with clara_driver.stage() as stage:
        try:
            read(list(stage.inputs.values()), stage.output, options, stage.log, stage.progress)
        except RefusedSeries as refused:
            for entry in refused.refused:
                stage.log(f"refused: {entry}")
            raise clara_driver.FinalFailure(str(refused)) from None
        except MemoryError:
            raise clara_driver.FinalFailure("E_TOO_LARGE: not enough memory; give the stage more") from None
        except OSError as error:
            raise clara_driver.FinalFailure(f"E_IO: {error.strerror or error}; free space or check the disk") from None


if __name__ == "__main__":
    main()
