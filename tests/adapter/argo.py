"""An adapter in this process whose jobs run on a pretended cluster: API server, controller and bucket are stand-ins."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from adapter.hospital import QUICK, Clinic, Pacs, configuration, stage_project, wait_until
from adapter.hospital import graph as graph_of
from pydicom.dataset import Dataset
from unit.kubernetes.stub import Stub
from unit.runners.memory import MemoryStore
from unit.runners.pretend import Failure, Pretend

from clara_adapter.sealing import job_id
from clara_adapter.service import Adapter
from clara_adapter.store import Job
from clara_argo.graph import Graph
from clara_argo.kubernetes.kinds import TEMPLATES, WORKFLOWS
from clara_argo.model.target import Target
from clara_argo.runners import templates
from clara_argo.runners.argo import ArgoRunner
from clara_argo.runners.argo.store import JobStore

RESULT = re.compile(r"jobs/([0-9a-f]{32})/result")
PAYLOAD = re.compile(r"payloads/([0-9a-f]{32})/input")


def prepared(folder: Path) -> Path:
    """The project whose one stage has an image: it can be compiled."""
    stage_project(folder)
    with (folder / "stages/derive/stage.yaml").open("a") as stage:
        stage.write('image: {repository: stages/derive, tag: "1"}\n')
    return folder


def derive(study: Path, into: Path) -> None:
    """What a stage of an organ model would do: one new instance in a series of its own, from the first of the study."""
    image = min((pydicom.dcmread(path) for path in study.iterdir()), key=lambda image: int(image.InstanceNumber))
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    image.SourceImageSequence = [reference]
    image.SeriesInstanceUID = f"{image.SeriesInstanceUID}.9"
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{image.SeriesInstanceUID}.1"
    image.save_as(into / "0.dcm")


class Stages:
    """The store as the stages' pods see it: what they leave as a job's result is made of its payload."""

    def __init__(self, store: JobStore, graph: Graph) -> None:
        self.store, self.graph = store, graph
        self.objects: dict[str, bytes] = {}  # logs

    def put_folder(self, key: str, folder: Path, *, follow: bool = False) -> str:
        result = RESULT.fullmatch(key)
        if result is None:
            return self.store.put_folder(key, folder, follow=follow)
        with tempfile.TemporaryDirectory() as made:
            study, output = Path(made) / "study", Path(made) / "output"
            output.mkdir()
            derive(self.store.get_folder(self._payload(result[1]), study), output)
            return self.store.put_folder(key, output)

    def _payload(self, job: str) -> str:
        keys = (PAYLOAD.fullmatch(key) for key in self.store.list("payloads/"))
        return next(key[0] for key in keys if key and job_id(key[1], self.graph.digest) == job)


class Site:
    """`start` and `stop` the adapter on one spool; the cluster and the PACS stay."""

    def __init__(self, folder: Path, pacs: Pacs, hold: bool, failures: tuple[Failure, ...], pending: int) -> None:
        self.pacs, self.stub, self.bucket, self.target = pacs, Stub(), MemoryStore(), Target(pending=pending)
        self.project = prepared(folder / "project")
        self.graph = graph_of(self.project)
        self.ours = MemoryStore()  # the same bucket, as the adapter reaches it
        self.ours.objects = self.bucket.objects
        self._stages = Stages(self.bucket, self.graph)
        self.pretend = Pretend(self.stub, self._stages, failures={"derive": failures}, hold=hold)  # type: ignore[arg-type]
        self.config = configuration(folder / "spool", {"PACS": pacs.port}, quiet=0.2)
        self._clinic: Clinic | None = None

    def apply(self) -> None:
        """`clara apply`."""
        with self.stub.api() as api:
            templates.apply(self.graph, self.target, api)

    def change(self) -> None:
        """Somebody edits a stage; its template on the cluster is the old one."""
        with (self.project / "stages/derive/stage.yaml").open("a") as stage:
            stage.write("env: {CHANGED: '1'}\n")
        self.graph = self._stages.graph = graph_of(self.project)

    def start(self, patience: float = 5.0) -> Clinic:
        """`patience`: seconds that the API server has for an answer."""
        runner = ArgoRunner(self.stub.api(timeout=patience), self.ours, self.target, apply=False)
        self._clinic = Clinic(Adapter(self.config, runner, {"derive": self.graph}, options=QUICK), runner)
        return self._clinic.__enter__()

    def stop(self) -> None:
        if self._clinic is not None:
            self._clinic.__exit__(None, None, None)
        self._clinic = None

    @property
    def clinic(self) -> Clinic:
        assert self._clinic is not None
        return self._clinic

    def jobs(self) -> list[Job]:
        return self.clinic.adapter.store.jobs()

    def until(self, *states: str) -> list[Job]:
        """Wait for these states of all jobs."""
        wait_until(lambda: [job.state for job in self.jobs()] == list(states), f"jobs {states}")
        return self.jobs()

    def says(self, text: str) -> Job:
        """Wait until the state of a job says why it waits."""
        wait_until(lambda: any(text in job.message for job in self.jobs()), f"a job says {text!r}")
        return next(job for job in self.jobs() if text in job.message)

    def returned(self, count: int = 1) -> None:
        """Wait until so many results are at the PACS; each was sent once, and the store keeps nothing of the jobs."""
        wait_until(lambda: self.clinic.states() == ["sent"] * count, f"{count} deliveries")
        assert len(self.pacs.kept) == count and set(self.pacs.times.values()) == {1}
        wait_until(lambda: not self.clinic.adapter.store.uncollected(), "the results are collected")
        assert [key for key in self.bucket.objects if RESULT.match(key) or PAYLOAD.match(key)] == []

    def workflows(self) -> list[str]:
        return [made["metadata"]["name"] for made in self.stub.list(WORKFLOWS)]

    def delete_workflow(self) -> str:
        """`kubectl delete workflow`, of the only one. Its unique id."""
        (made,) = self.stub.list(WORKFLOWS)
        self.stub.remove(WORKFLOWS, made["metadata"]["name"])
        return str(made["metadata"]["uid"])

    def remove_template(self) -> None:
        self.stub.remove(TEMPLATES, "derive")


@contextmanager
def site(
    folder: Path, *, hold: bool = False, failures: tuple[Failure, ...] = (), apply: bool = True, pending: int = 900
) -> Iterator[Site]:
    with Pacs() as pacs:
        made = Site(folder, pacs, hold, failures, pending)
        with made.stub, made.pretend:
            if apply:
                made.apply()
            made.start()
            try:
                yield made
            finally:
                made.stop()
