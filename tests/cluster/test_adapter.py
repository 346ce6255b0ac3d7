"""`clara adapter serve` with `runner: argo` on a real Argo: a PACS sends a study and gets its result back, once.

The stage is a shell that hands on what it was given: a result may hold unchanged instances of its study.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from adapter.hospital import Pacs, Study, send, wait_until
from adapter.process import AdapterProcess
from cluster.conftest import Cluster
from cluster.gate import Gate
from cluster.onenode import OneNode

from clara_adapter.store import Delivery, Job, Store
from clara_argo import project
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
SLICES = 3


class Hospital:
    """An adapter process, a PACS, and a workflow whose first stage waits at a gate."""

    def __init__(self, root: Path, cluster: Cluster, pacs: Pacs, gate: Gate) -> None:
        self.pacs, self.gate, self.spool, self.study = pacs, gate, root / "spool", Study()
        self.name, self.project = f"t-{secrets.token_hex(4)}", root / "project"
        self.project.mkdir()
        (self.project / "clara.yaml").touch()
        (self.project / "workflow.yaml").write_text(WORKFLOW.format(name=self.name))
        for stage, script in {"read": f"wget -q -O - {gate.url}/go && {COPY}", "write": COPY}.items():
            self._write_stage(stage, script, cluster.shell)
        values = {"runner": "argo", "workflow": self.name, "environment": cluster.environment}
        self.adapter = AdapterProcess(self.project, self.spool, pacs.port, quiet=0.5, **values)  # type: ignore[arg-type]

    def _write_stage(self, name: str, script: str, image: str) -> None:
        repository, _, tag = image.rpartition(":")
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
        """`clara apply workflow.yaml`."""
        target, api = targets.cluster("argo")
        with api:
            templates.apply(project.workflow(self.project, self.name), target, api)

    def send(self) -> None:
        assert set(send(self.study.slices(SLICES), self.adapter.port).values()) == {0}

    def jobs(self) -> list[Job]:
        store = Store(self.spool / "state.db")
        try:
            return store.jobs()
        finally:
            store.close()

    def deliveries(self) -> list[Delivery]:
        store = Store(self.spool / "state.db")
        try:
            return store.deliveries()
        finally:
            store.close()

    def says(self, text: str) -> None:
        wait_until(lambda: text in self.adapter.log.read_text(), f"the adapter says {text!r}", 120)

    def until(self, state: str) -> Job:
        wait_until(lambda: [job.state for job in self.jobs()] == [state], f"the job is {state}", 120)
        return self.jobs()[0]

    def returned(self) -> None:
        """The result is at the PACS, each instance sent once, and the cluster keeps no copy."""
        wait_until(lambda: [one.state for one in self.deliveries()] == ["sent"], "the delivery", 240)
        assert self.pacs.times == {image.SOPInstanceUID: 1 for image in self.study.slices(SLICES)}
        (job,) = self.jobs()
        wait_until(lambda: _delivered(job.id), "the result is collected", 60)
        assert self.adapter.stop() == 0


@pytest.fixture
def hospital(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hospital]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with Pacs() as pacs, Gate(closed=True) as gate:
        made = Hospital(tmp_path, cluster, pacs, gate)
        try:
            with made.adapter:
                yield made
        finally:
            gate.open()
            _clean(made)


def _clean(made: Hospital) -> None:
    """Jobs are deleted; then nothing of them is left on the cluster."""
    target, api = targets.cluster("argo")
    store = ClusterStore(api, target, targets.credentials)
    with targets.open_runner("argo") as runner, api:
        for job in made.jobs() if (made.spool / "state.db").is_file() else ():
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


def test_a_study_waits_for_its_template_and_comes_back(hospital: Hospital) -> None:
    hospital.gate.open()
    hospital.adapter.start()
    hospital.says("clara apply FILE --on argo")
    hospital.send()
    hospital.until("submitting")
    hospital.apply()
    hospital.returned()


@pytest.mark.parametrize("part", ["kube-apiserver", "workflow-controller", "s3"])
def test_a_part_of_the_cluster_is_killed_meanwhile(hospital: Hospital, node: OneNode, part: str) -> None:
    hospital.apply()
    hospital.adapter.start()
    hospital.send()
    hospital.until("running")
    node.stop(part, kill=True)
    hospital.gate.open()
    if part == "kube-apiserver":
        hospital.says("all jobs have to wait 8 s")  # so it has been away for some 7 s
    node.start(part)
    node.wait_for_api()
    if part == "workflow-controller":
        node.wait_for_controller()
    hospital.returned()


def test_the_adapter_is_killed_meanwhile(hospital: Hospital) -> None:
    hospital.apply()
    hospital.adapter.start()
    hospital.send()
    hospital.until("running")
    hospital.adapter.kill()
    hospital.gate.open()
    hospital.adapter.start()
    hospital.returned()


def test_a_workflow_is_deleted_by_hand_meanwhile(hospital: Hospital, node: OneNode, cluster: Cluster) -> None:
    hospital.apply()
    hospital.adapter.start()
    hospital.send()
    job = hospital.until("running")
    first = _made(job.id)["uid"]
    where = ("-n", cluster.target.namespace, "--wait=false")
    node.kubectl("delete", "workflow", f"clara-{job.id}", *where)
    hospital.says("submitted again, once")
    hospital.gate.open()
    hospital.returned()
    assert _made(job.id)["uid"] != first
