"""A real Kubernetes with a real Argo: one that a variable names, or one node of plain processes; else one line of skip.

CLARA_TEST_KUBECONFIG: any cluster that has manifests/ applied; with CLARA_TEST_S3 (host:port) its store as seen from
here. CLARA_TEST_CLUSTER_RUN: the folder of a one-node cluster that is up already. Otherwise one is started, once.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster import images, objects, onenode
from cluster.onenode import OneNode
from cluster.shells import Shells, payload
from cluster.world import World

from clara_argo.kubernetes.kinds import TEMPLATES
from clara_argo.model.target import StoreAccess, Target
from clara_argo.runners.targets import cluster as cluster_of
from clara_argo.runners.targets import open_runner


def lacking() -> str:
    """Why there is no cluster; "" when there is one, or one can be started."""
    if os.environ.get("CLARA_TEST_KUBECONFIG") or os.environ.get("CLARA_TEST_CLUSTER_RUN"):
        return ""
    why = onenode.missing()
    return why and f"no cluster: CLARA_TEST_KUBECONFIG names none, and here is none to start: {why}"


# Without a cluster one test is left, which says so.
HERE = Path(__file__).parent
collect_ignore = [path.name for path in HERE.glob("test_*.py") if path.stem != "test_cluster"] if lacking() else []


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """`node` is None where the cluster is somebody else's: its parts are not stopped then."""

    target: Target
    environment: dict[str, str]  # what a `clara` command needs to find it
    node: OneNode | None
    shell: str = "localhost/busybox:1"  # an image with a shell


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if given := os.environ.get("CLARA_TEST_KUBECONFIG"):
        yield _given(Path(given))
        return
    if running := os.environ.get("CLARA_TEST_CLUSTER_RUN"):
        yield _own(OneNode(Path(running)))
        return
    if why := lacking():
        pytest.skip(why)
    node = OneNode(tmp_path_factory.mktemp("cluster"))
    try:
        node.up()
        yield _own(node)
    finally:
        node.down()


@pytest.fixture
def cluster(_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, which `clara` finds as its target `argo` in this test."""
    for name, value in _cluster.environment.items():
        monkeypatch.setenv(name, value)
    return _cluster


@pytest.fixture
def node(cluster: Cluster) -> OneNode:
    """Its parts, for tests that stop them."""
    if cluster.node is None:
        pytest.skip("parts of a cluster that is not ours are not stopped")
    return cluster.node


def _own(node: OneNode) -> Cluster:
    store = StoreAccess(endpoint=objects.ENDPOINT, bucket=objects.BUCKET, secure=False)
    target = Target(kubeconfig=str(node.kubeconfig), namespace=objects.NAMESPACE, store=store)
    return Cluster(target=target, environment=objects.environment(node.kubeconfig), node=node)


def _given(kubeconfig: Path) -> Cluster:
    endpoint = os.environ.get("CLARA_TEST_S3", "")
    namespace = os.environ.get("CLARA_NAMESPACE", objects.NAMESPACE)
    target = Target(kubeconfig=str(kubeconfig), namespace=namespace, store=StoreAccess(endpoint=endpoint))
    environment = {"KUBECONFIG": str(kubeconfig), "CLARA_NAMESPACE": namespace}
    if endpoint:
        environment["CLARA_S3_ENDPOINT"] = endpoint
    shell = os.environ.get("CLARA_TEST_SHELL_IMAGE", "docker.io/library/busybox:1.36")
    return Cluster(target=target, environment=environment, node=None, shell=shell)


@pytest.fixture(scope="session")
def registry(_cluster: Cluster) -> str:
    """What goes before the names of the stages' images; on our own node they are built and loaded."""
    if given := os.environ.get("CLARA_TEST_REGISTRY"):
        return given
    if _cluster.node is None:
        pytest.skip("CLARA_TEST_REGISTRY does not say where the cluster finds the images of the stages")
    if why := images.missing():
        pytest.skip(f"no images of the stages: {why}")
    for archive in images.archives(*images.SHIPPED).values():
        _cluster.node.load(archive)
    return images.REGISTRY


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The target's runner, one whose jobs are a pod each, and a payload that no other test has."""
    monkeypatch.setenv("XDG_CONFIG_HOME", objects.targets(tmp_path, "one-pod: {fused: true}"))
    name = f"t-{secrets.token_hex(4)}"
    _, administrator = cluster_of("argo")  # a test may go on with another account
    with open_runner("argo", apply=True) as runner, open_runner("one-pod", apply=True) as fused:
        made = World(runner, fused, Shells(cluster.shell, name), payload(tmp_path / "input", a=name, b="b"))
        try:
            yield made
        finally:
            made.clean()
            with administrator:
                for template in (name, f"{name}-fused"):
                    administrator.delete(TEMPLATES, template)
