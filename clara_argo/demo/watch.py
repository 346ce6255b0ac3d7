"""`clara adapter serve` as a process of its own, and a look at its state from outside, while it works."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clara_adapter.spool import Spool
from clara_adapter.store import Delivery, Store
from clara_argo.demo import pacs as peers
from clara_argo.demo.pacs import Pacs, PacsError
from clara_argo.errors import JobFailed, NotFound
from clara_argo.model.job import Job, JobState
from clara_argo.runners.jobfolder import JobFolder
from clara_argo.runners.local import LocalRunner
from clara_driver import volume

CALLED = "CT_AI"
WORKFLOW, READER, MODEL = "ct-organs", "dicom-reader", "ct-organ-seg"
QUIET = 2.0  # seconds without a new instance: then the study is complete
JOB_SECONDS, RETURN_SECONDS, STOP_SECONDS, LOOK = 600.0, 30.0, 20.0, 0.1


class Adapter:
    """A running adapter: where it listens, and what it says of its one job."""

    def __init__(self, room: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port, self.log = port, room / "adapter.log"
        self._process = process
        self._spool = Spool(room / "spool")
        self._runner = LocalRunner(self._spool.root)
        self._store = Store(self._spool.state)

    def follow(self, show: Callable[[Job], None]) -> Job:
        """The job, once it has succeeded; shown on the way. Raises JobFailed."""
        end = time.monotonic() + JOB_SECONDS
        while time.monotonic() < end:
            self._alive()
            for row in self._store.jobs():
                if job := self._look(row.id):
                    show(job)
                if row.state == JobState.SUCCEEDED and job:
                    return job
                if JobState(row.state).ended:
                    raise JobFailed(f"the job has {row.state}: {row.message}; --keep keeps its logs")
            time.sleep(LOOK)
        raise JobFailed(f"no result after {JOB_SECONDS:.0f} s")

    def returned(self, job: Job, pacs: Pacs) -> None:
        """Wait until the PACS has acknowledged every instance of the result. Raises JobFailed or PacsError."""
        end = time.monotonic() + RETURN_SECONDS
        delivery: Delivery | None = None
        while time.monotonic() < end:
            self._alive()
            if not pacs.alive:
                raise PacsError(f"the stand-in PACS has ended; see {pacs.log}")
            delivery = next(iter(self._store.deliveries(job.id)), None)
            if delivery and delivery.state in ("sent", "committed"):
                return
            if delivery and delivery.state in ("held", "failed"):
                break
            time.sleep(LOOK)
        why = f"{delivery.state}: {delivery.message}" if delivery else "there was nothing to deliver"
        raise JobFailed(f"the result did not come back to the PACS within {RETURN_SECONDS:.0f} s; delivery {why}")

    def volumes(self, job: Job, stage: str) -> list[Path]:
        """The volumes that a stage of the job has made."""
        found = volume.find(JobFolder(self._spool.root / "jobs", job.id).stage(stage).output)
        if not found:
            raise JobFailed(f"stage {stage} has left no volume")
        return found

    def _look(self, job: str) -> Job | None:
        try:
            return self._runner.get(job)
        except NotFound:  # not handed to the runner yet
            return None

    def _alive(self) -> None:
        if self._process.poll() is not None:
            last = self.log.read_text(errors="replace").strip().splitlines()[-3:]
            raise JobFailed("the adapter has ended: " + " | ".join(last))

    def close(self) -> None:
        self._store.close()


@contextmanager
def adapter(room: Path, pacs: Pacs, return_port: int | None) -> Iterator[Adapter]:
    """Start one that takes studies from `pacs` and returns results to it, or to another port of this machine."""
    port, config, log = peers.free_port(), room / "adapter.yaml", room / "adapter.log"
    config.write_text(_configuration(room / "spool", port, pacs, return_port or pacs.port))
    command = [sys.executable, "-m", "clara_argo", "adapter", "serve", "--config", str(config)]
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    running = None
    try:
        peers.wait_for_port(process, port, "the adapter", log)
        running = Adapter(room, port, process)
        yield running
    finally:
        if running:
            running.close()
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _configuration(spool: Path, port: int, pacs: Pacs, return_port: int) -> str:
    return f"""\
ae-title: {CALLED}
host: {peers.HOST}
port: {port}
spool: {json.dumps(str(spool.resolve()))}
runner: local
sources: [{{name: PACS, ae-title: {pacs.ae_title}, host: {peers.HOST}}}]
destinations: [{{name: PACS, ae-title: {pacs.ae_title}, host: {peers.HOST}, port: {return_port}}}]
routes:
  - name: demo
    called: {CALLED}
    sources: [PACS]
    settle: {{quiet: {QUIET:g}, max: 600}}
    workflows: [{WORKFLOW}]
    destinations: [PACS]
"""
