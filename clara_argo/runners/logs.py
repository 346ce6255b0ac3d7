"""Lines that the stages of a job wrote, of every attempt in order; also while they are being written."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from clara_argo.runners import foreign
from clara_argo.runners.jobfolder import JobFolder
from clara_argo.runners.protocol import LogLine

FILES = ("stdout.log", "stderr.log")
BLOCK = 1 << 16  # bytes read at once; also the longest line
LOOK = 0.2  # seconds
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a log must not steer the reader's terminal


def lines(folder: JobFolder, stages: list[str], going_on: Callable[[], bool]) -> Iterator[LogLine]:
    """`going_on` says whether more may come; asked before each round, so that the last words are not lost."""
    offsets: dict[Path, int] = {}
    while True:
        last = not going_on()
        for stage in stages:
            for number in folder.stage(stage).attempts():
                for name in FILES:
                    path = folder.stage(stage).logs(number) / name
                    yield from (LogLine(stage, text) for text in _new(path, offsets, last))
        if last:
            return
        time.sleep(LOOK)


def _new(path: Path, offsets: dict[Path, int], last: bool) -> Iterator[str]:
    """Complete lines that came since the last look; at the last look also one without an end."""
    file = foreign.opened(path)
    if file is None:  # not there yet
        return
    with file:
        file.seek(offsets.get(path, 0))
        while True:
            line = file.readline(BLOCK)
            if not line or not (line.endswith(b"\n") or last or len(line) == BLOCK):
                return
            offsets[path] = file.tell()
            yield CONTROL.sub("", line.decode("utf-8", "replace").rstrip("\r\n"))
