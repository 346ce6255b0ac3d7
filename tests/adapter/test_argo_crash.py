"""The adapter as a process with jobs on a cluster, killed by kill -9 at its named points: one Workflow, one result.

API server and controller are pretended, the store is a real S3 server. The process may not import hera: the adapter
of a hospital compiles nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from adapter.argo import Stages, prepared
from adapter.hospital import Pacs, Study, graph, send, wait_until
from adapter.process import AdapterProcess
from unit.kubernetes.stub import Stub
from unit.runners.pretend import Pretend
from weed import Weed

from clara_argo.artifacts.s3 import S3Store
from clara_argo.kubernetes.kinds import TEMPLATES, WORKFLOWS
from clara_argo.model.target import Target
from clara_argo.runners import templates

CHAINS = {
    "submit": ("before-submit", "submitted", "after-submit"),
    "result": ("job-ended", "result-copied", "deliveries-written", "collected"),
}
SLICES = 3


class Scene:
    """A project, a spool, a PACS, a cluster, and an adapter process that dies and is started again."""

    def __init__(self, folder: Path, pacs: Pacs, stub: Stub, store: S3Store, weed: Weed) -> None:
        self.spool, self.pacs, self.stub, self.store = folder / "spool", pacs, stub, store
        self.project = prepared(folder / "project")
        self.graph = graph(self.project)
        self.adapter = AdapterProcess(
            self.project, self.spool, pacs.port, quiet=0.3, runner="argo", environment=_environment(folder, stub, weed)
        )

    def apply(self) -> None:
        with self.stub.api() as api:
            templates.apply(self.graph, Target(), api)

    def check(self, *words: str) -> tuple[int, str]:
        """`clara adapter check`."""
        command = [sys.executable, "-m", "clara_argo", "adapter", "check", "--config", str(self.adapter.config), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **self.adapter.environment}, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def finish(self) -> None:
        """One job, one Workflow, its result once at the PACS, and no copy of study or result in the store."""
        wait_until(lambda: [one.state for one in self.adapter.deliveries()] == ["sent"], "the delivery")
        wait_until(lambda: self._delivered(), "the result is collected")
        assert self.adapter.stop() == 0
        assert [job.state for job in self.adapter.jobs()] == ["succeeded"]
        assert len([one for one in self.stub.requests if one.method == "POST"]) == 1
        assert len(self.pacs.kept) == 1 and set(self.pacs.times.values()) == {1}
        (job,) = self.adapter.jobs()
        assert not self.store.exists(f"jobs/{job.id}/result") and not self.store.exists(f"payloads/{job.payload}/input")

    def _delivered(self) -> bool:
        (made,) = self.stub.list(WORKFLOWS)
        return made["metadata"]["labels"].get("clara.dev/delivered") == "true"


def _environment(folder: Path, stub: Stub, weed: Weed) -> dict[str, str]:
    """A kubeconfig, the store, and a hera that is the end of whoever imports it."""
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": stub.url}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
    (folder / "without/hera").mkdir(parents=True)
    (folder / "without/hera/__init__.py").write_text("import os, sys\nsys.stderr.write('hera!\\n')\nos._exit(99)\n")
    return {
        "KUBECONFIG": str(folder / "kubeconfig"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PYTHONPATH": str(folder / "without"),
        "CLARA_S3_ENDPOINT": weed.endpoint,
        "CLARA_S3_BUCKET": weed.bucket,
        "CLARA_S3_ACCESS_KEY": weed.access_key,
        "CLARA_S3_SECRET_KEY": weed.secret_key,
        "CLARA_S3_SECURE": "false",
    }


@pytest.fixture
def scene(tmp_path: Path, weed: Weed) -> Iterator[Scene]:
    store = S3Store(weed.endpoint, weed.bucket, weed.access_key, weed.secret_key)
    with Pacs() as pacs, Stub() as stub:
        made = Scene(tmp_path, pacs, stub, store, weed)
        with Pretend(stub, Stages(store, made.graph)), made.adapter:  # type: ignore[arg-type]
            yield made


@pytest.mark.parametrize(
    "chain", [CHAINS["submit"], pytest.param(CHAINS["result"], marks=pytest.mark.long)], ids=CHAINS
)
def test_killed_on_the_way(scene: Scene, chain: tuple[str, ...]) -> None:
    scene.apply()
    for number, point in enumerate(chain):
        scene.adapter.start(point)
        if number == 0:
            assert set(send(Study().slices(SLICES), scene.adapter.port).values()) == {0}
        scene.adapter.wait_killed()
    scene.adapter.start()
    scene.finish()


@pytest.mark.long
def test_a_template_that_is_missing_is_said_at_the_start_and_by_check(scene: Scene) -> None:
    code, said = scene.check("--echo")
    assert code == 75 and "clara apply FILE --on argo" in said and "store: ready" in said
    scene.adapter.start()
    wait_until(lambda: "clara apply FILE --on argo" in scene.adapter.log.read_text(), "the log names the template")
    line = next(line for line in scene.adapter.log.read_text().splitlines() if "clara apply" in line)
    assert json.loads(line)["level"] == "error" and "workflow 'derive'" in line
    assert set(send(Study().slices(1), scene.adapter.port).values()) == {0}
    scene.apply()
    assert scene.stub.get(TEMPLATES, "derive")
    scene.finish()
    code, said = scene.check("--echo")
    assert (code, "workflow 'derive': ready" in said) == (0, True), said
    assert "was not asked what it lacks; --echo does" in scene.check()[1]


def test_a_cluster_that_is_away_does_not_keep_the_adapter_from_starting(scene: Scene) -> None:
    scene.stub.down()
    scene.adapter.start()
    assert set(send(Study().slices(1), scene.adapter.port).values()) == {0}
    wait_until(lambda: [job.state for job in scene.adapter.jobs()] == ["submitting"], "the study is sealed")
    wait_until(lambda: "cannot be reached" in scene.adapter.jobs()[0].message, "the job says what it waits for")
    code, said = scene.check("--echo")
    assert code == 75 and "cannot be reached" in said
    scene.stub.up()
    scene.apply()
    scene.finish()


def test_an_unknown_target_has_a_place_and_a_neighbour(scene: Scene) -> None:
    text = scene.adapter.config.read_text()
    scene.adapter.config.write_text(text.replace("runner: argo", "runner: arog"))
    code, said = scene.check()
    assert code == 2 and f"{scene.adapter.config}:5:9" in said and "did you mean 'argo'" in said, said
    scene.adapter.config.write_text(text)
    assert scene.check()[0] == 0
