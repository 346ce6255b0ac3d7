"""`clara adapter serve` with `runner: argo` on a real Argo: a PACS sends a study and gets its result back, once.

But for the reference workflow, stages are shells that hand on what they got: a result may hold unchanged instances of
its study.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from adapter.hospital import Pacs, Study, send, wait_until
from adapter.process import AdapterProcess
from cluster import objects
from cluster.conftest import Cluster
from cluster.gate import Gate
from cluster.onenode import OneNode
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from clara_adapter.store import Job
from clara_argo import project
from clara_argo.demo import studies
from clara_argo.errors import NotFound
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.kinds import TEMPLATES, WORKFLOWS
from clara_argo.model.target import Target
from clara_argo.runners import Runner, targets, templates
from clara_argo.runners.clusterstore import ClusterStore

WORKFLOW = """
id: 7b413e24-d018-4689-8c41-73272f6649d4
name: {name}
stages: [read, write]
waitLocks: ["", read.lock]
ioFolders: [read/input, read/output, write/output]
args: ["", ""]
"""
COPY = 'cp "$CLARA_INPUT"/* "$CLARA_OUTPUT"/'
SLICES = Study().slices(3)


class Hospital:
    """An adapter process for one workflow of a project, and a PACS."""

    def __init__(self, root: Path, cluster: Cluster, pacs: Pacs, workflow: str) -> None:
        self.pacs, self.name, self.spool, self.project = pacs, workflow, root / "spool", root / "project"
        self.project.mkdir()
        (self.project / "clara.yaml").touch()
        environment = {**cluster.environment, "XDG_CONFIG_HOME": str(root / "config")}
        self.adapter = AdapterProcess(
            self.project, self.spool, pacs.port, quiet=1, runner="argo", workflow=workflow, environment=environment
        )

    def write(self, image: str, **scripts: str) -> None:
        """The workflow of two stages, and their scripts."""
        (self.project / "workflow.yaml").write_text(WORKFLOW.format(name=self.name))
        repository, _, tag = image.rpartition(":")
        for name, script in scripts.items():
            value = {
                "stageName": name,
                "image": {"repository": repository, "tag": tag},
                "command": ["sh", "-c", script],
                "timeout": 200,
            }
            folder = self.project / "stages" / name
            folder.mkdir(parents=True)
            (folder / "stage.yaml").write_text(json.dumps(value))

    def apply(self) -> None:
        """`clara apply`."""
        target, api = targets.cluster("argo")
        with api:
            templates.apply(project.workflow(self.project, self.name), target, api)

    def send(self, images: list[Dataset]) -> None:
        assert set(send(images, self.adapter.port).values()) == {0}

    def says(self, text: str) -> None:
        wait_until(lambda: text in self.adapter.log.read_text(), f"the adapter says {text!r}", 120)

    def until(self, state: str) -> Job:
        wait_until(lambda: [job.state for job in self.adapter.jobs()] == [state], f"the job is {state}", 120)
        return self.adapter.jobs()[0]

    def returned(self) -> None:
        """The result is at the PACS, each instance sent once, and the cluster keeps no copy."""
        wait_until(lambda: [one.state for one in self.adapter.deliveries()] == ["sent"], "the delivery", 240)
        assert set(self.pacs.times.values()) == {1} and self.pacs.kept.keys() == self.pacs.times.keys()
        (job,) = self.adapter.jobs()
        wait_until(lambda: _delivered(job.id), "the result is collected", 60)
        assert self.adapter.stop() == 0


@contextmanager
def hospital_of(root: Path, cluster: Cluster, workflow: str) -> Iterator[Hospital]:
    with Pacs() as pacs:
        made = Hospital(root, cluster, pacs, workflow)
        try:
            with made.adapter:
                yield made
        finally:
            _clean(made)


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate(closed=True) as gate:
        yield gate


@pytest.fixture
def hospital(cluster: Cluster, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hospital]:
    """Its first stage waits at the gate, then both hand on what they were given."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with hospital_of(tmp_path, cluster, f"t-{secrets.token_hex(4)}") as made:
        made.write(cluster.shell, read=f"wget -q -O - {gate.url}/go && {COPY}", write=COPY)
        yield made
        gate.open()


def _clean(made: Hospital) -> None:
    """Jobs are deleted; then nothing of them is left on the cluster."""
    target, api = targets.cluster("argo")
    store = ClusterStore(api, target, targets.credentials)
    with targets.open_runner("argo") as runner, api:
        for job in made.adapter.jobs() if (made.spool / "state.db").is_file() else ():
            _delete(runner, job.id)
            assert store.list(f"jobs/{job.id}/") == ()
            assert store.list(f"payloads/{job.payload}/") == ()
        api.delete(TEMPLATES, made.name)


def _delete(runner: Runner, job: str) -> None:
    try:
        if not runner.get(job).state.ended:
            runner.stop(job)
        runner.delete(job)
    except NotFound:
        return


def _made(job: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = _api()[1].get(WORKFLOWS, f"clara-{job}")["metadata"]
    return found


def _delivered(job: str) -> bool:
    return _made(job)["labels"].get("clara.dev/delivered") == "true"


def _api() -> tuple[Target, Api]:
    return targets.cluster("argo")


def test_a_study_waits_for_its_template_and_comes_back(hospital: Hospital, gate: Gate) -> None:
    gate.open()
    hospital.adapter.start()
    hospital.says("clara apply FILE --on argo")
    hospital.send(SLICES)
    hospital.until("submitting")
    hospital.apply()
    hospital.returned()


@pytest.mark.parametrize("part", ["kube-apiserver", "workflow-controller", "s3"])
def test_a_part_of_the_cluster_is_killed_meanwhile(hospital: Hospital, gate: Gate, node: OneNode, part: str) -> None:
    hospital.apply()
    hospital.adapter.start()
    hospital.send(SLICES)
    hospital.until("running")
    node.stop(part, kill=True)
    gate.open()
    if part == "kube-apiserver":
        hospital.says("all jobs have to wait 8 s")  # so it has been away for some 7 s
    node.start(part)
    node.wait_for_api()
    if part == "workflow-controller":
        node.wait_for_controller()
    hospital.returned()


def test_the_adapter_is_killed_meanwhile(hospital: Hospital, gate: Gate) -> None:
    hospital.apply()
    hospital.adapter.start()
    hospital.send(SLICES)
    hospital.until("running")
    hospital.adapter.kill()
    gate.open()
    hospital.adapter.start()
    hospital.returned()


def test_a_workflow_is_deleted_by_hand_meanwhile(
    hospital: Hospital, gate: Gate, node: OneNode, cluster: Cluster
) -> None:
    hospital.apply()
    hospital.adapter.start()
    hospital.send(SLICES)
    job = hospital.until("running")
    first = _made(job.id)["uid"]
    where = ("-n", cluster.target.namespace, "--wait=false")
    node.kubectl("delete", "workflow", f"clara-{job.id}", *where)
    hospital.says("submitted again, once")
    gate.open()
    hospital.returned()
    assert _made(job.id)["uid"] != first


def test_the_reference_workflow_with_its_real_images(
    cluster: Cluster, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CT goes in, the segmentation of its organs comes back."""
    monkeypatch.setenv("XDG_CONFIG_HOME", objects.targets(tmp_path, f"argo: {{registry: {registry}}}"))
    studies.made_up(tmp_path / "study")
    images = [pydicom.dcmread(path) for path in sorted((tmp_path / "study").iterdir())]
    with hospital_of(tmp_path, cluster, "ct-organs") as hospital:
        hospital.apply()
        hospital.adapter.start()
        hospital.send(images)
        hospital.returned()
        results = [pydicom.dcmread(io.BytesIO(kept), force=True) for kept in hospital.pacs.kept.values()]
    assert SegmentationStorage in [result.SOPClassUID for result in results]
    assert {(one.PatientID, one.StudyInstanceUID) for one in results} == {
        (images[0].PatientID, images[0].StudyInstanceUID)
    }
