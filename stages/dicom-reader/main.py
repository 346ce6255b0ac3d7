"""The stage dicom-reader: the DICOM series of the input become volumes (MHD, raw, JSON), right or refused by name."""

from __future__ import annotations

import argparse

from reader import MAX_BYTES, Options, RefusedSeries, processors, read

import clara_driver


def arguments() -> Options:
    parser = argparse.ArgumentParser(prog="dicom-reader", description=__doc__)
    parser.add_argument(
        "--series", action="append", default=[], metavar="UID", help="read this series only; repeatable"
    )
    parser.add_argument("--jobs", type=int, default=processors(), metavar="N", help="decoder processes")
    parser.add_argument("--max-gib", type=float, default=MAX_BYTES / (1 << 30), metavar="G", help="largest volume")
    given = parser.parse_args()
    return Options(chosen=tuple(given.series), jobs=given.jobs, max_bytes=int(given.max_gib * (1 << 30)))


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
