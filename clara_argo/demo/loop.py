"""The whole loop on one machine: a study leaves a stand-in PACS, runs through a workflow, and comes back, judged.

Three processes besides this one: the PACS, its sender, and the adapter as an administrator would start it. PACS and
adapter share no folder; this process looks on, and judges what the PACS holds at the end.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from clara_argo import data
from clara_argo.demo import picture, studies, verify
from clara_argo.demo.pacs import Pacs
from clara_argo.demo.studies import Study
from clara_argo.demo.watch import CALLED, MODEL, QUIET, READER, Adapter, adapter
from clara_argo.errors import UsageError
from clara_argo.model.job import Job, StageRun

ROOM, SUMMARY, PICTURE = "room", "summary.json", "result.png"


class Report(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None: ...
    def job(self, job: Job) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    output: Path
    input: Path | None = None
    data: str = "auto"  # or "lidc", "phantom"
    pacs: str = "auto"  # or "dcmtk", "python"
    return_port: int | None = None  # None = the stand-in PACS's own
    keep: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What `summary.json` holds."""

    job: str
    workflow: str
    data: str
    citation: str
    pacs: str
    stages: dict[str, float]  # seconds
    sent: int  # instances
    returned: int
    sop_classes: dict[str, int]
    dice: dict[str, float]
    seconds: float  # from the send to the last returned instance
    seconds_in_all: float
    notice: str = "Not for clinical use"


def run(options: Options, report: Report) -> Summary:
    """Run the loop and judge it. Raises ClaraError with the reason when anything is not as it must be."""
    begin = time.monotonic()
    room = _clear(options.output) / ROOM
    room.mkdir()
    try:
        study = _choose(options, room, report)
        with Pacs(room / "pacs", kind=options.pacs) as pacs:
            report.say(f"stand-in PACS ({pacs.kind}) listens as {pacs.ae_title} on port {pacs.port}")
            with adapter(room, pacs, options.return_port) as node:
                report.say(f"adapter listens as {CALLED} on port {node.port}")
                job, seconds = _there_and_back(study, pacs, node, report)
                summary = _judge(options, study, pacs, node, job, seconds, begin)
    finally:
        if not options.keep:
            shutil.rmtree(room, ignore_errors=True)
    (options.output / SUMMARY).write_text(json.dumps(asdict(summary), indent=1) + "\n")
    return summary


def _clear(output: Path) -> Path:
    """The output folder without what an earlier demo left. Somebody else's files are not touched."""
    output.mkdir(parents=True, exist_ok=True)
    mine = {ROOM, SUMMARY, PICTURE}
    if strange := sorted(path.name for path in output.iterdir() if path.name not in mine):
        raise UsageError(f"{output} holds other files ({strange[0]}); name another folder with --output")
    for path in output.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return output


def _choose(options: Options, room: Path, report: Report) -> Study:
    if options.input:
        return studies.given(options.input)
    if options.data != "phantom":
        try:
            study = studies.real_ct(report.say)
            report.say(f"a real CT, {study.name}. {study.note}")
            return study
        except data.Unavailable as error:
            if options.data == "lidc":
                raise
            report.say(f"the real CT cannot be had here ({error}); a phantom takes its place")
    report.say("making a phantom: a CT of nobody, with known organs")
    return studies.made_up(room / "phantom")


def _there_and_back(study: Study, pacs: Pacs, node: Adapter, report: Report) -> tuple[Job, float]:
    """The job, and the seconds from the send to the last acknowledged instance of the result."""
    begin = time.monotonic()
    pacs.send(study.folder, called=CALLED, port=node.port)
    report.say(
        f"{study.instances} instances sent in {time.monotonic() - begin:.1f} s; waiting for {QUIET:g} s of quiet"
    )
    job = node.follow(report.job)
    node.returned(job, pacs)
    seconds = time.monotonic() - begin
    report.say(f"{len(pacs.received())} instances came back, {seconds:.1f} s after the send began")
    return job, seconds


def _judge(
    options: Options, study: Study, pacs: Pacs, node: Adapter, job: Job, seconds: float, begin: float
) -> Summary:
    returned = pacs.received()
    classes = verify.check_identity(returned, study.folder)
    paths = node.volumes(job, MODEL)
    maps = {path.name: verify.read_labels(path) for path in paths}
    verify.check_segmentations(returned, list(maps.values()))
    name, labels = max(maps.items(), key=lambda item: item[1].values.size)
    dice = verify.dice(labels, study.truth(labels.grid))
    verify.check_floors(dice, study.floors)
    image, grid = verify.read_volume(next(path for path in node.volumes(job, READER) if path.name == name))
    title = f"{study.name}: {MODEL} on {study.instances} instances, returned to the PACS as DICOM"
    picture.draw(options.output / PICTURE, image, labels.values, grid.affine, labels.segments, title)
    return Summary(
        job=job.id,
        workflow=job.workflow,
        data=study.name,
        citation=study.note,
        pacs=pacs.kind,
        stages={run.name: _seconds(run) for run in job.stages},
        sent=study.instances,
        returned=len(returned),
        sop_classes=classes,
        dice=dice,
        seconds=round(seconds, 2),
        seconds_in_all=round(time.monotonic() - begin, 2),
    )


def _seconds(run: StageRun) -> float:
    if not run.started or not run.finished:
        return 0.0
    return round((datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)).total_seconds(), 2)
