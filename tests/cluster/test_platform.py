"""Manifests, their accounts, the doctor and install, on a real cluster: what is refused there is told by no stub."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from cluster.conftest import Cluster
from cluster.world import World
from unit import manifests

from clara_argo.cli import main
from clara_argo.errors import Refused
from clara_argo.kubernetes import access
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.errors import NotHere
from clara_argo.kubernetes.kinds import NAMESPACES, PODS, SECRETS, TEMPLATES, WORKFLOWS
from clara_argo.model.job import JobState
from clara_argo.platform import rights
from clara_argo.platform.doctor import Level, Site, examine
from clara_argo.runners import targets, templates
from clara_argo.runners.clusterstore import ClusterStore
from clara_argo.runners.targets import open_runner

Object = dict[str, Any]
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
OF_ONE_NODE = ("hostNetwork", "nodeName", "tolerations", "serviceAccount", "serviceAccountName")
DOES_NOT_SCHEDULE = "clara-nowhere"


@pytest.fixture
def api(cluster: Cluster) -> Iterator[Api]:
    with targets.cluster("argo")[1] as api:
        yield api


@pytest.fixture
def accounts(api: Api) -> Iterator[None]:
    """Those of the adapter and of people; what was not there goes again."""
    made = []
    for name in ("adapter/account.yaml", "stages/people.yaml"):
        for item in yaml.safe_load_all((manifests.MANIFESTS / name).read_text()):
            item["metadata"]["namespace"] = api.namespace
            for subject in item.get("subjects", ()):
                subject["namespace"] = api.namespace
            kind = api.kind(item)
            try:
                api.get(kind, item["metadata"]["name"])
            except NotHere:
                made.append((kind, item["metadata"]["name"]))
            api.apply(item)
    yield
    for kind, name in made:
        api.delete(kind, name)


def as_account(api: Api, cluster: Cluster, name: str, path: Path) -> Path:
    """A kubeconfig with a token of that account."""
    token = api.ask(
        "POST",
        f"/api/v1/namespaces/{api.namespace}/serviceaccounts/{name}/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}},
    )["status"]["token"]
    config = yaml.safe_load(Path(cluster.target.kubeconfig).read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def adapters(
    world: World, api: Api, cluster: Cluster, accounts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """The world as the adapter's account sees it; templates are put there by somebody who may."""
    monkeypatch.setenv("KUBECONFIG", str(as_account(api, cluster, "clara-adapter", tmp_path / "adapter")))
    with open_runner("argo") as runner:
        made = World(runner, runner, world.shells, world.payload)
        try:
            yield made
        finally:
            made.clean()


def test_the_adapters_account_is_enough_for_jobs(adapters: World, api: Api, cluster: Cluster, tmp_path: Path) -> None:
    graph = adapters.shells.chain(adapters.shells.stage("read"), adapters.shells.stage("write"))
    with pytest.raises(Refused, match="clara apply"):
        adapters.runner.submit(graph, secrets.token_hex(16), adapters.payload)
    templates.apply(graph, cluster.target, api)
    job = adapters.start(graph)
    assert adapters.end(job).state is JobState.SUCCEEDED
    assert "read speaks" in [line.text for line in adapters.runner.logs(job, "read")]
    result = adapters.runner.result(job, tmp_path / "result")
    assert (result / "trace").read_text().split() == ["read", "write"]
    assert job in [listed.id for listed in adapters.runner.list()]
    adapters.runner.collected(job)


def test_the_adapters_account_can_stop_and_retry(adapters: World, api: Api, cluster: Cluster) -> None:
    graph = adapters.shells.chain(adapters.shells.stage("read"), adapters.shells.stage("fail", "exit 3"))
    templates.apply(graph, cluster.target, api)
    job = adapters.start(graph)
    assert adapters.end(job).state is JobState.FAILED
    adapters.runner.retry(job)
    assert adapters.runner.stop(job).state.ended


def test_the_adapters_account_is_for_nothing_else(api: Api, cluster: Cluster, accounts: None, tmp_path: Path) -> None:
    path = as_account(api, cluster, "clara-adapter", tmp_path / "adapter")
    with Api(access.find(str(path)), api.namespace) as adapter:
        with pytest.raises(Refused):
            adapter.create(TEMPLATES, {"metadata": {"name": "mine"}, "spec": {"templates": []}}, dry_run=True)
        with pytest.raises(Refused):
            adapter.list(SECRETS)


def test_a_developers_role_applies_and_runs(
    world: World, api: Api, cluster: Cluster, accounts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without settings of the store: the role reads them from the cluster."""
    name = f"clara-test-{secrets.token_hex(4)}"
    account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    binding: Object = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "clara-developer"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": api.namespace}],
    }
    for item in (account, binding):
        api.apply(item)
    try:
        monkeypatch.setenv("KUBECONFIG", str(as_account(api, cluster, name, tmp_path / "developer")))
        if cluster.node:
            for variable in ("CLARA_S3_ENDPOINT", "CLARA_S3_ACCESS_KEY", "CLARA_S3_SECRET_KEY", "CLARA_S3_BUCKET"):
                monkeypatch.delenv(variable)
        with open_runner("argo", apply=True) as runner:
            job = secrets.token_hex(16)
            runner.submit(world.shells.chain(world.shells.stage("one")), job, world.payload)
            assert list(runner.watch(job))[-1].state is JobState.SUCCEEDED
            runner.delete(job)
    finally:
        for item in (binding, account):
            api.delete(api.kind(item), name)


def test_the_doctor_finds_a_cluster_that_runs_jobs_fit(api: Api, accounts: None) -> None:
    target = targets.find("argo")
    checks = list(examine(Site(api=api, target=target, store=ClusterStore(api, target, targets.credentials))))
    levels = {check.part: check.level for check in checks}
    for part in ("api", "definitions", "alive", "strict", "your rights", "repository", "store"):
        assert levels[part] is Level.OK, checks
    for name in rights.ACCOUNTS:
        assert levels[f"account {name}"] is Level.OK, checks
    left = [item["metadata"]["name"] for item in api.list(WORKFLOWS).items]
    assert not [name for name in left if name.startswith("clara-doctor-")]


def test_the_doctor_asks_no_more_than_an_adapter_may(
    api: Api, cluster: Cluster, accounts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(as_account(api, cluster, "clara-adapter", tmp_path / "adapter")))
    done = CliRunner().invoke(main, ["cluster", "doctor"])
    lines = done.stdout.splitlines()
    assert "you may run jobs" in done.stdout and "may not read ConfigMap" in done.stdout, done.output
    assert [line for line in lines if line.startswith("ok") and "store:" in line], done.output
    assert not [line for line in lines if line.startswith("fail") and "images:" not in line], done.output


def test_the_cluster_takes_every_manifest(api: Api) -> None:
    manifests.kubectl()
    for overlay in ("kind", "single-node"):
        command = ["cluster", "install", "--overlay", overlay, "--dry-run", "--no-argo", "--force", "--adapter"]
        done = CliRunner().invoke(main, [*command, str(manifests.MANIFESTS / "adapter" / "adapter.yaml")])
        assert done.exit_code == 0, done.output
        assert "statefulset.apps/clara-adapter serverside-applied (server dry run)" in done.output
        assert "networkpolicy.networking.k8s.io/clara-nobody" in done.output


def test_a_restricted_namespace_takes_the_pods_of_store_and_adapter(api: Api, tmp_path: Path) -> None:
    """They start nowhere: the namespace only judges them."""
    built = manifests.build(manifests.copy(tmp_path) / "overlays" / "single-node" / "namespace")
    adapter = manifests.build(tmp_path / "manifests" / "adapter")
    name = f"clara-test-{secrets.token_hex(4)}"
    namespace = manifests.named(built, "Namespace", "clara")
    api.apply(namespace | {"metadata": namespace["metadata"] | {"name": name}})
    try:
        judge = api.within(name)
        for owner, pod in manifests.pods([*built, *adapter]):
            spec = pod["spec"] | {"containers": pod["spec"]["containers"]}
            spec.pop("serviceAccountName", None)
            judge.create(PODS, {"metadata": {"name": owner}, "spec": spec | {
                "volumes": spec.get("volumes", []) + [{"name": v, "emptyDir": {}} for v in ("data", "state")],
                "nodeSelector": {DOES_NOT_SCHEDULE: "true"}}}, dry_run=True)  # fmt: skip
        with pytest.raises(Refused, match="PodSecurity"):
            wrong = {"hostNetwork": True, "containers": [{"name": "x", "image": "x"}]}
            judge.create(PODS, {"metadata": {"name": "x"}, "spec": wrong})
    finally:
        api.delete(NAMESPACES, name)


@pytest.mark.parametrize("fused", [False, True], ids=["a pod each", "one pod"])
def test_a_restricted_namespace_takes_the_pods_of_stages(world: World, api: Api, tmp_path: Path, fused: bool) -> None:
    """What Argo makes of a compiled template, with what our settings tell it about containers of its own."""
    job = world.start(world.shells.chain(world.shells.stage("one")), fused=fused)
    world.end(job)
    (pod, *_) = api.list(PODS, labels=f"workflows.argoproj.io/workflow=clara-{job}").items
    built = manifests.build(manifests.copy(tmp_path) / "argo")
    settings = manifests.named(built, "ConfigMap", "workflow-controller-configmap")["data"]
    executor = yaml.safe_load(settings["executor"])["securityContext"]
    spec = {name: value for name, value in pod["spec"].items() if name not in OF_ONE_NODE}
    for container in (*spec["initContainers"], *spec["containers"]):
        container.pop("ports", None)
        if container["name"] in ("init", "wait"):
            container["securityContext"] = executor
    namespace = {"metadata": {"name": f"clara-test-{secrets.token_hex(4)}", "labels": RESTRICTED}}
    name = api.create(NAMESPACES, namespace)["metadata"]["name"]
    try:
        judge = api.within(name)
        judge.create(PODS, {"metadata": {"name": "stage"}, "spec": spec}, dry_run=True)
        del spec["initContainers"][0]["securityContext"]
        with pytest.raises(Refused, match="PodSecurity"):
            judge.create(PODS, {"metadata": {"name": "stage"}, "spec": spec}, dry_run=True)
    finally:
        api.delete(NAMESPACES, name)
