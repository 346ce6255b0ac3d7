"""Folders of DICOM objects -> one volume a series. All or nothing: a series that is refused stops the run.

Puts the parts in order: scan, series, geometry, volumes. It knows no command line and no stage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from decoders import Decoders
from refusal import Refuse, Warn
from scan import scan
from series import Refused, Series, sort_out
from volumes import Plan, Target, plan, write

MAX_BYTES = 16 << 30


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


class RefusedSeries(Exception):
    """Nothing was written; `refused` says why, series by series."""

    def __init__(self, refused: Sequence[Refused]) -> None:
        super().__init__("; ".join(str(entry) for entry in refused))
        self.refused = tuple(refused)


@dataclass(frozen=True, slots=True)
class Options:
    """What to read, and within which bounds. Empty = all."""

    chosen: tuple[str, ...] = ()  # series UIDs
    modalities: tuple[str, ...] = ()  # as CT
    skip_refused: bool = False  # read the other series when one is refused
    jobs: int = field(default_factory=processors)  # decoder processes
    max_bytes: int = MAX_BYTES  # of one volume, as float32


def read(
    folders: Sequence[Path],
    output: Path,
    options: Options = Options(),  # noqa: B008  frozen
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write the volumes of all series into `output`; returns their .mhd files. Raises RefusedSeries."""
    try:
        found = scan(list(folders))
    except Refuse as refusal:
        raise RefusedSeries([Refused("", refusal)]) from None
    series, refused, warnings = sort_out(found, options.chosen, options.modalities)
    plans = _plans(series, refused, options.max_bytes)
    stopping = [entry for entry in refused if _stops(entry, options)]
    if stopping or not plans:
        for warn in warnings:
            say(str(warn))
        raise RefusedSeries(stopping or refused or [_nothing(warnings)])
    warnings += [Warn("W_SERIES_SKIPPED", str(entry)) for entry in refused]
    for warn in warnings:
        say(str(warn))
    return _write(plans, output, options, say, progress, warnings)


def _stops(entry: Refused, options: Options) -> bool:
    """A file of an unknown series stops every run: it may be the missing slice of any."""
    if not entry.uid or entry.uid in options.chosen:
        return True
    return not (entry.aside or options.skip_refused)


def _nothing(warnings: list[Warn]) -> Refused:
    hint = f" ({'; '.join(warn.message for warn in warnings)})" if warnings else ""
    return Refused("", Refuse("E_NO_IMAGES", f"no DICOM images in the input{hint}; check what was sent"))


def _plans(series: list[Series], refused: list[Refused], max_bytes: int) -> list[Plan]:
    plans = []
    for entry in series:
        try:
            plans.append(plan(entry, max_bytes))
        except Refuse as refusal:
            refused.append(Refused(entry.uid, refusal, entry.by_kind_no_volume))
    return plans


def _write(
    plans: list[Plan],
    output: Path,
    options: Options,
    say: Callable[[str], None],
    progress: Callable[[int, int], None],
    warnings: list[Warn],
) -> list[Path]:
    total, done = sum(len(todo.slices) for todo in plans), 0

    def step() -> None:
        nonlocal done
        done += 1
        if done % 16 == 0 or done == total:
            progress(done, total)

    written: list[Path] = []
    try:
        with Decoders(options.jobs) as decoders:
            target = Target(output, decoders, step)
            for todo in plans:
                written.append(_volume(todo, target, say, warnings))
    except BaseException:
        _remove([output / f"{todo.series.uid}.mhd" for todo in plans])
        raise
    return written


def _volume(todo: Plan, target: Target, say: Callable[[str], None], warnings: list[Warn]) -> Path:
    try:
        path = write(todo, target, warnings)
    except Refuse as refusal:
        raise RefusedSeries([Refused(todo.series.uid, refusal)]) from None
    say(f"{todo.series.label}: {len(todo.slices)} slices, {' x '.join(map(str, todo.grid.size))} voxels")
    for warn in todo.warnings:
        say(f"{todo.series.label}: {warn}")
    return path


def _remove(paths: list[Path]) -> None:
    for path in paths:
        for suffix in (".mhd", ".raw", ".json"):
            path.with_suffix(suffix).unlink(missing_ok=True)
