"""Both charts together, as a site installs them: a study goes to the adapter's pod, its result comes to a PACS."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import helm
import pytest
import yaml
from adapter.hospital import CALLED, CALLING, HOST, Pacs, Study, send, wait_until
from cluster import images, objects
from cluster.conftest import Cluster
from cluster.onenode import OneNode
from cluster.test_adapter import COPY, WORKFLOW
from cluster.test_charts import Release

from clara_argo import charts, project
from clara_argo.charts import platform as platform_chart
from clara_argo.charts import writing
from clara_argo.runners.targets import open_runner

PORT = 11112  # the chart's
CONTROLLER, STATE = "workflow-controller", "state-clara-adapter-0"
OWN = f"""
ae-title: {CALLED}
host: 0.0.0.0
port: {PORT}
spool: /var/lib/clara/spool
runner: argo
include: [routes/*/route.yaml]
"""


@pytest.fixture
def space(cluster: Cluster, node: OneNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A namespace that Argo serves for the time being, and a volume for its adapter. No job is left there."""
    name = f"t-{secrets.token_hex(4)}"
    monkeypatch.setenv("CLARA_NAMESPACE", name)
    monkeypatch.setenv("XDG_CONFIG_HOME", objects.targets(tmp_path, "{}"))
    node.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, volume(name, tmp_path / "state"))
    try:
        with served(node, name):
            yield name
            with open_runner("argo") as runner:
                for job in runner.list():
                    runner.delete(job.id)
    finally:
        node.kubectl("delete", "namespace", name, "--wait=false")
        node.kubectl("delete", "persistentvolume", name, "--wait=false")


def volume(name: str, folder: Path) -> objects.Object:
    """The node's own folder, which belongs to the adapter's user: a hostPath knows no fsGroup."""
    folder.mkdir(mode=0o700)
    os.chown(folder, 1000, 1000)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": name, "name": STATE},
            "hostPath": {"path": str(folder)},
        },
    }


@contextmanager
def served(node: OneNode, space: str) -> Iterator[None]:
    """By the controller, which serves one namespace."""
    words, environment = json.loads((node.run / "commands" / f"{CONTROLLER}.json").read_text())
    try:
        node.stop(CONTROLLER)
        node.start(CONTROLLER, *words, "--managed-namespace", space, env=environment)
        node.wait_for_controller()
        yield
    finally:
        node.stop(CONTROLLER)
        node.start(CONTROLLER, *words, env=environment)
        node.wait_for_controller()


def of_the_workflow(folder: Path, shell: str, pacs: int) -> tuple[Path, dict[str, object], dict[str, object]]:
    """Its chart, the values of it, and what its notes say to add to those of the platform."""
    folder.mkdir()
    (folder / "clara.yaml").touch()
    (folder / "workflow.yaml").write_text(WORKFLOW.format(name="chart-test"))
    repository, _, tag = shell.rpartition(":")
    for name in ("read", "write"):
        (folder / "stages" / name).mkdir(parents=True)
        value = {"stageName": name, "image": {"repository": repository, "tag": tag}, "command": ["sh", "-c", COPY]}
        (folder / "stages" / name / "stage.yaml").write_text(json.dumps(value))
    charts.publish(project.workflow(folder, "chart-test"), "chart-test", folder / "chart")
    route = {
        "create": True,
        "called": CALLED,
        "settle": {"quiet": 1, "max": 600},
        "sources": [{"aeTitle": CALLING, "host": HOST}],
        "destinations": [{"aeTitle": "PACS", "host": HOST, "port": pacs}],
    }
    files = yaml.safe_load((folder / "chart" / "Chart.yaml").read_text())["annotations"]["clara.dev/files"]
    named = {"configMap": "chart-test-route", "files": yaml.safe_load(files)}
    return folder / "chart", {"route": route}, {"routes": [named]}


def of_the_platform() -> dict[str, object]:
    return {
        "registry": images.REGISTRY,
        "image": {"pullPolicy": "Never"},
        "service": {"type": "ClusterIP"},
        "volume": {"size": "1Gi"},
        "adapter": {"configuration": OWN},
        "store": {
            "endpoint": objects.ENDPOINT,
            "bucket": objects.BUCKET,
            "secure": False,
            "accessKey": objects.ACCESS,
            "secretKey": objects.SECRET,
        },
    }


def on_the_host(node: OneNode, space: str) -> None:
    """This node's pods have no network of their own."""
    pod = objects.HOST | {"containers": [{"name": "adapter", "env": objects.API_ADDRESS}]}
    patch = json.dumps({"spec": {"template": {"spec": pod}}})
    node.kubectl("patch", "statefulset", "clara-adapter", "-n", space, "--type=strategic", "-p", patch)


@pytest.mark.skipif(not helm.find(4), reason=helm.missing(4))
def test_a_study_goes_through_the_pod_of_the_adapter(
    space: str, cluster: Cluster, node: OneNode, tmp_path: Path
) -> None:
    for archive in images.archives("adapter").values():
        node.load(archive)
    writing.write(platform_chart.chart(), tmp_path / "platform")
    with Pacs() as pacs:
        chart, values, routes = of_the_workflow(tmp_path / "project", cluster.shell, pacs.port)
        platform = Release(4, "platform", tmp_path / "platform", cluster, space)
        workflow = Release(4, "chart-test", chart, cluster, space)
        workflow.put("install", "--values", written(tmp_path / "workflow.json", values))
        platform.put("install", "--values", written(tmp_path / "platform.json", of_the_platform() | routes))
        on_the_host(node, space)
        node.kubectl("rollout", "status", "statefulset/clara-adapter", "-n", space, "--timeout=180s")
        slices = Study().slices(3)
        assert set(send(slices, PORT).values()) == {0}
        wait_until(lambda: len(pacs.kept) == len(slices), "the result is at the PACS", 180)
        assert set(pacs.kept) == {str(image.SOPInstanceUID) for image in slices}
    platform.say("uninstall", platform.name, "--wait")


def written(path: Path, values: dict[str, object]) -> str:
    path.write_text(json.dumps(values))
    return str(path)
