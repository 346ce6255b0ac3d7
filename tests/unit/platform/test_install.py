"""Install: a wish becomes a kustomization, no cluster is changed that was not named, waiting says for what."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from unit import manifests as built
from unit.kubernetes.stub import Stub

from clara_argo import project
from clara_argo.cli import main
from clara_argo.errors import DefinitionError, NotFound, Refused, TryAgain, UsageError
from clara_argo.kubernetes.kinds import DEPLOYMENTS, NAMESPACES, NODES, PODS, SECRETS, STATEFUL_SETS
from clara_argo.model.target import Credentials, StoreAccess
from clara_argo.platform import install, manifests
from clara_argo.platform.manifests import Wish
from clara_argo.platform.parts import JOBS

ADAPTER = built.MANIFESTS / "adapter" / "adapter.yaml"
OUTSIDE = StoreAccess(endpoint="s3.example:9000", bucket="imaging", secure=True, region="eu-1")
CREDENTIALS = Credentials(access_key="clara", secret_key="a=b/c+d'\"#$x")


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as stub:
        stub.kinds |= {JOBS}
        yield stub


def objects(tmp_path: Path, wish: Wish) -> list[built.Object]:
    return built.build(manifests.lay(tmp_path / "copy", wish, CREDENTIALS))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    path = tmp_path / "namespace-install.yaml"
    path.write_text(built.ARGO)
    return path


# What is wished


def test_everything_for_kind(tmp_path: Path, release: Path) -> None:
    wish = Wish(overlay="kind", release=release, adapter=ADAPTER, registry="registry.example/team/")
    made = objects(tmp_path, wish)
    assert built.named(made, "Service", "clara-adapter")["spec"]["type"] == "NodePort"
    pod = built.named(made, "StatefulSet", "clara-adapter")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example/team/clara-argo/adapter:0.1.0"
    built.named(made, "Deployment", "workflow-controller")


def test_credentials_arrive_letter_by_letter_and_are_for_us_alone(tmp_path: Path) -> None:
    made = objects(tmp_path, Wish(overlay="single-node", argo=False))
    secret = built.named(made, "Secret", "clara-s3")["data"]
    assert {key: base64.b64decode(value).decode() for key, value in secret.items()} == {
        "accesskey": CREDENTIALS.access_key,
        "secretkey": CREDENTIALS.secret_key,
    }
    assert stat.S_IMODE((tmp_path / "copy/credentials/s3.env").stat().st_mode) == 0o600


def test_a_store_outside_is_told_to_argo_and_to_the_adapter(tmp_path: Path) -> None:
    made = objects(tmp_path, Wish(overlay="cluster", argo=False, adapter=ADAPTER, store=OUTSIDE))
    value = yaml.safe_load(built.named(made, "ConfigMap", "artifact-repositories")["data"]["clara-v1"])
    shipped = yaml.safe_load((built.MANIFESTS / "stages" / "repository.yaml").read_text())["data"]["clara-v1"]
    ours = yaml.safe_load(shipped)
    assert value == ours | {
        "s3": ours["s3"] | {"endpoint": "s3.example:9000", "bucket": "imaging", "insecure": False, "region": "eu-1"}
    }
    container = built.named(made, "StatefulSet", "clara-adapter")["spec"]["template"]["spec"]["containers"][0]
    told = {item["name"]: item.get("value") for item in container["env"]}
    assert told["CLARA_S3_ENDPOINT"] == "s3.example:9000"
    assert (told["CLARA_S3_BUCKET"], told["CLARA_S3_SECURE"], told["CLARA_S3_REGION"]) == ("imaging", "true", "eu-1")
    assert not [item for item in made if item["metadata"]["name"] == "clara-s3" and item["kind"] == "StatefulSet"]


def ports(made: list[built.Object], policy: str) -> set[int]:
    (rule,) = built.named(made, "NetworkPolicy", policy)["spec"]["egress"]
    return {port["port"] for port in rule["ports"]}


def test_policies_let_through_to_the_store_and_the_destinations_that_are_named(tmp_path: Path) -> None:
    file = adapter(tmp_path, "host: 10.0.0.9, port: 11112", "host: 10.0.0.9, port: 2104")
    store = StoreAccess(endpoint="s3.example:7480", bucket="imaging")
    made = objects(tmp_path, Wish(overlay="cluster", argo=False, adapter=file, store=store))
    assert 2104 in ports(made, "clara-adapter")
    assert 7480 in ports(made, "clara-store-outside")


@pytest.mark.parametrize(("secure", "port"), [(None, 443), (False, 80)])
def test_a_store_without_a_port_has_the_usual_one(tmp_path: Path, secure: bool | None, port: int) -> None:
    store = StoreAccess(endpoint="s3.example", bucket="imaging", secure=secure)
    made = objects(tmp_path, Wish(overlay="cluster", argo=False, store=store))
    assert port in ports(made, "clara-store-outside")


def test_the_adapters_image_is_pulled_with_the_targets_secrets(tmp_path: Path) -> None:
    made = objects(tmp_path, Wish(overlay="kind", argo=False, adapter=ADAPTER, pull_secrets=("hospital",)))
    pod = built.named(made, "StatefulSet", "clara-adapter")["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "hospital"}]
    assert "CLARA_S3_ENDPOINT" in {item["name"] for item in pod["containers"][0]["env"]}


def test_workflows_of_ones_own_come_along(tmp_path: Path) -> None:
    """The pod's folder of the configuration holds what the project's does, as far as it says what jobs are."""
    mine = tmp_path / "mine"
    project.init(mine)
    text = ADAPTER.read_text().replace("[ct-organs]", "[bone]")
    (mine / "adapter.yaml").write_text(text)
    made = objects(tmp_path, Wish(overlay="single-node", argo=False, adapter=mine / "adapter.yaml"))
    volume = built.named(made, "StatefulSet", "clara-adapter")["spec"]["template"]["spec"]["volumes"][0]
    there = tmp_path / "there"
    for source in (part["configMap"] for part in volume["projected"]["sources"]):
        data = built.named(made, "ConfigMap", source["name"])["data"]
        for item in source.get("items", [{"key": key, "path": key} for key in data]):
            path = there / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(data[item["key"]])
    assert (there / "adapter.yaml").read_text() == text
    assert project.workflow(there, "bone").digest == project.workflow(mine, "bone").digest
    assert {str(path.relative_to(there)) for path in there.rglob("*.yaml")} == {
        "adapter.yaml", "workflow.yaml", "stages/my-stage/stage.yaml",
    }  # fmt: skip


def test_an_adapter_with_a_workflow_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="bones"):
        manifests.check(Wish(overlay="kind", adapter=adapter(tmp_path, "[ct-organs]", "[bones]")))


def test_without_argo_nothing_of_it_is_touched(tmp_path: Path) -> None:
    made = objects(tmp_path, Wish(overlay="kind", argo=False, namespace="radiology"))
    assert not [item for item in made if item["kind"] == "Deployment"]
    assert {item["metadata"].get("namespace", "radiology") for item in made} == {"radiology"}


def test_a_users_own_s3_env_is_not_taken_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = built.copy(tmp_path)
    (checkout / "credentials" / "s3.env").write_text("accesskey=other\nsecretkey=other\n")
    monkeypatch.setattr("clara_argo.shipped.folder", lambda name: checkout)
    manifests.lay(tmp_path / "copy", Wish(overlay="kind"), CREDENTIALS)
    assert "other" not in (tmp_path / "copy/credentials/s3.env").read_text()


def adapter(tmp_path: Path, old: str, new: str) -> Path:
    text = ADAPTER.read_text()
    assert old in text
    path = tmp_path / "adapter.yaml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("host: 0.0.0.0", "host: 127.0.0.1", "heard by nobody"),
        ("port: 11112\nspool", "port: 104\nspool", "port 104"),
        ("/var/lib/clara/spool ", "/tmp/spool ", "volume"),
        ("runner: argo ", "runner: local ", "runner local"),
        ("runner: argo ", "runner: hospital ", "runner hospital"),
    ],
)
def test_an_adapter_that_could_not_work_in_a_pod(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        manifests.check(Wish(overlay="kind", adapter=adapter(tmp_path, old, new)))


def test_an_adapters_file_that_is_wrong_says_where(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="adapter.yaml"):
        manifests.check(Wish(overlay="kind", adapter=adapter(tmp_path, "sources: [CT1]", "sources: [CT2]")))


@pytest.mark.parametrize(
    ("wish", "error", "said"),
    [
        (Wish(overlay="cluster"), UsageError, "CLARA_S3_ENDPOINT"),
        (
            Wish(overlay="cluster", store=StoreAccess(endpoint="s3:1", bucket="b12", authority="ca.pem")),
            UsageError,
            "caSecret",
        ),
        (Wish(overlay="kind", release=Path("/nowhere.yaml")), NotFound, "namespace-install.yaml"),
    ],
)
def test_wishes_that_cannot_be(wish: Wish, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        manifests.check(wish)


@pytest.mark.parametrize("secret", ["", "two words", "line\nbreak", "ß"])
def test_secrets_that_no_file_of_variables_holds(tmp_path: Path, secret: str) -> None:
    with pytest.raises(UsageError, match="secret key"):
        manifests.lay(tmp_path / "copy", Wish(overlay="kind"), Credentials(access_key="a", secret_key=secret))


# What is there


def test_an_overlay_is_chosen_by_what_is_there(stub: Stub) -> None:
    with stub.api() as api:
        assert install.choose(api, "kind-clara")[0] == "kind"
        stub.put(NODES, {"metadata": {"name": "one"}})
        assert install.choose(api, "hospital")[0] == "single-node"
        stub.put(NODES, {"metadata": {"name": "two"}})
        assert install.choose(api, "hospital")[0] == "cluster"


@pytest.mark.parametrize(
    ("namespace", "options", "alone"),
    [("argo", [], False), ("argo", ["--namespaced"], True), ("clara", ["--namespaced"], True), ("clara", [], True)],
)
def test_a_second_controller_is_not_put_beside_one_that_serves_us(
    stub: Stub, namespace: str, options: list[str], alone: bool
) -> None:
    container = {"image": "quay.io/argoproj/workflow-controller:v4.1.2", "args": options}
    deployment = {
        "metadata": {"name": "workflow-controller"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    stub.put(DEPLOYMENTS, deployment, namespace)
    with stub.api() as api:
        if alone:
            install.check_alone(api)
        else:
            with pytest.raises(UsageError, match="--no-argo"):
                install.check_alone(api)


def test_credentials_stay_unless_others_are_given(stub: Stub) -> None:
    own, outside = Wish(overlay="kind"), Wish(overlay="cluster", store=OUTSIDE)
    with stub.api() as api:
        assert install.credentials(api, own, CREDENTIALS)[0] == CREDENTIALS
        first, second = (install.credentials(api, own, None)[0] for _ in range(2))
        assert len(first.secret_key) >= 30 and first != second
        with pytest.raises(UsageError, match="CLARA_S3_ACCESS_KEY"):
            install.credentials(api, outside, None)
        data = {name: base64.b64encode(name.encode()).decode() for name in ("accesskey", "secretkey")}
        stub.put(SECRETS, {"metadata": {"name": "clara-s3"}, "data": data})
        kept = Credentials(access_key="accesskey", secret_key="secretkey")
        assert install.credentials(api, own, None)[0] == install.credentials(api, outside, None)[0] == kept
        stub.change(SECRETS, "clara-s3", {"data": {"secretkey": None}})
        with pytest.raises(Refused, match="secretkey"):
            install.credentials(api, own, None)


def put(stub: Stub, kind: Any, name: str, status: built.Object) -> None:
    usual = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}
    stub.put(kind, {"metadata": {"name": name}, "spec": {"replicas": 1}, "status": usual | status})


def test_waiting_ends_when_everything_is_ready(stub: Stub) -> None:
    put(stub, DEPLOYMENTS, "workflow-controller", {"readyReplicas": 1})
    put(stub, STATEFUL_SETS, "clara-s3", {"readyReplicas": 1})
    put(stub, STATEFUL_SETS, "clara-adapter", {"readyReplicas": 1})
    put(stub, JOBS, "clara-bucket", {"succeeded": 1})
    said: list[str] = []
    with stub.api() as api:
        install.wait(api, install.parts(Wish(overlay="kind", adapter=ADAPTER)), 0, said.append)
    assert sorted(said) == [f"{n}: ready" for n in ("clara-adapter", "clara-bucket", "clara-s3", "workflow-controller")]


IMAGE = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}
PLACE = {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no volume"}]}


@pytest.mark.parametrize(
    ("status", "said"),
    [(IMAGE, "ImagePullBackOff: no such image"), (PLACE, "Unschedulable: no volume"), ({}, "not ready")],
)
def test_waiting_says_for_what(stub: Stub, status: built.Object, said: str) -> None:
    put(stub, STATEFUL_SETS, "clara-s3", {"readyReplicas": 0})
    put(stub, JOBS, "clara-bucket", {"succeeded": 1})
    labels = {"app.kubernetes.io/name": "clara-s3"}
    stub.put(PODS, {"metadata": {"name": "clara-s3-0", "labels": labels}, "status": status})
    with stub.api() as api, pytest.raises(TryAgain, match=f"clara-s3: {said}"):
        install.wait(api, install.parts(Wish(overlay="kind", argo=False)), -1, lambda line: None)


def test_a_job_that_has_failed_is_not_waited_for_without_a_word(stub: Stub) -> None:
    put(stub, STATEFUL_SETS, "clara-s3", {"readyReplicas": 1})
    put(stub, JOBS, "clara-bucket", {"conditions": [{"type": "Failed", "status": "True", "message": "too often"}]})
    with stub.api() as api, pytest.raises(TryAgain, match=r"failed: too often; .*delete job clara-bucket"):
        install.wait(api, install.parts(Wish(overlay="kind", argo=False)), -1, lambda line: None)


@pytest.mark.parametrize("numbers", [{"updatedReplicas": 0}, {"replicas": 2}])
def test_a_pod_from_before_the_change_is_not_taken_for_the_new_one(stub: Stub, numbers: built.Object) -> None:
    put(stub, STATEFUL_SETS, "clara-s3", {"readyReplicas": 1} | numbers)
    put(stub, JOBS, "clara-bucket", {"succeeded": 1})
    with stub.api() as api, pytest.raises(TryAgain, match="clara-s3: not ready"):
        install.wait(api, install.parts(Wish(overlay="kind", argo=False)), -1, lambda line: None)


# The command

KUBECTL = """#!/bin/sh
echo "$@" >> "$KUBECTL_LOG"
case "$1 $2 $3" in
  kustomize*) cat "$2/kustomization.yaml" > "$KUBECTL_LOG.top" && echo objects ;;
  *create*) echo namespace/clara ;;
  *apply*) if test -n "$KUBECTL_FAILS"; then echo "$KUBECTL_FAILS" >&2; exit 1; fi
           echo "Warning: old version" >&2; echo "namespace/clara serverside-applied" ;;
esac
"""


class Shell:
    """`clara cluster install` with a kubectl that writes down how it was called, on a stub."""

    def __init__(self, stub: Stub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = folder / "calls"
        program = folder / "bin" / "kubectl"
        program.parent.mkdir()
        program.write_text(KUBECTL)
        program.chmod(0o755)
        config = {
            "current-context": "lab",
            "clusters": [{"name": "c", "cluster": {"server": stub.url}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": n, "context": {"cluster": "c", "user": "u"}} for n in ("lab", "kind-clara")],
        }
        (folder / "kubeconfig").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(folder / "kubeconfig"))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("KUBECTL_LOG", str(self.log))
        stub.put(NODES, {"metadata": {"name": "node"}})

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(main, ["cluster", "install", "--timeout", "0", *words])

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def shell(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(stub, tmp_path, monkeypatch)


@pytest.fixture
def ready(stub: Stub) -> None:
    put(stub, STATEFUL_SETS, "clara-s3", {"readyReplicas": 1})
    put(stub, JOBS, "clara-bucket", {"succeeded": 1})


def test_a_cluster_that_was_not_named_is_not_changed(shell: Shell) -> None:
    done = shell("--no-argo")
    assert done.exit_code == 64
    assert "nothing was changed" in done.stderr and "--context" in done.stderr
    assert "single-node (there is one node)" in done.stdout
    assert shell.calls == []


@pytest.mark.parametrize(
    ("words", "context"), [(("--yes",), ""), (("--context", "kind-clara"), "--context=kind-clara ")]
)
def test_a_cluster_that_was_named(shell: Shell, ready: None, words: tuple[str, ...], context: str) -> None:
    done = shell("--no-argo", *words)
    assert done.exit_code == 0, done.output
    build, apply = shell.calls
    assert build.startswith("kustomize ")
    assert apply.startswith(f"{context}apply --server-side -f ")
    assert "namespace/clara serverside-applied" in done.stdout
    assert "Warning: old version" in done.stderr and "clara-s3: ready" in done.stderr
    assert ("kind-clara" in done.stdout) == bool(context)
    assert not Path(build.split()[1]).exists(), "the copy with the secret stays"


def test_what_a_target_says_of_images_is_said_of_the_adapters(shell: Shell, ready: None, tmp_path: Path) -> None:
    settings = tmp_path / "config" / "clara-argo" / "targets.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("hospital: {registry: 'registry.example:5000', pull-secrets: [imaging]}")
    shell("--no-argo", "--yes", "--on", "hospital", "--adapter", str(ADAPTER))
    top = (tmp_path / "calls.top").read_text()
    assert "registry.example:5000/clara-argo/adapter" in top and "imaging" in top


def test_warnings_of_the_adapters_file_are_said(shell: Shell, tmp_path: Path) -> None:
    file = adapter(tmp_path, "    destinations: [PACS]\n", "    destinatoins: [PACS]\n")
    done = shell("--no-argo", "--dry-run", "--adapter", str(file))
    assert done.exit_code == 0 and "adapter.yaml:" in done.stderr and "destinatoins" in done.stderr


def test_a_dry_run_lets_the_cluster_judge(shell: Shell, stub: Stub) -> None:
    assert shell("--no-argo", "--dry-run").exit_code == 0
    assert "create --dry-run=client" in shell.calls[-1]
    stub.put(NAMESPACES, {"metadata": {"name": "clara"}})
    assert shell("--no-argo", "--dry-run", "--force").exit_code == 0
    assert "apply --server-side --dry-run=server --force-conflicts" in shell.calls[-1]
    assert not [request for request in stub.requests if request.method != "GET"]


def test_what_kubectl_says_is_shown(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_FAILS", "no room")
    done = shell("--no-argo", "--yes")
    assert done.exit_code == 64 and "no room" in done.stderr and "--force" not in done.stderr


def test_what_somebody_else_has_set_is_taken_over_when_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_FAILS", "conflict with helm; run it with the `--force-conflicts` flag")
    assert "'clara cluster install --force' takes it over" in shell("--no-argo", "--yes").stderr


def test_without_kubectl(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = shell("--no-argo", "--yes")
    assert done.exit_code == 3 and "kubectl" in done.stderr


def test_secrets_are_printed_nowhere(shell: Shell, ready: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARA_S3_ACCESS_KEY", "clara")
    monkeypatch.setenv("CLARA_S3_SECRET_KEY", "do-not-print-me")
    done = shell("--no-argo", "--yes")
    assert done.exit_code == 0
    assert "do-not-print-me" not in done.output + "".join(shell.calls)


def test_both_ways_to_have_argo_are_none(shell: Shell, tmp_path: Path) -> None:
    assert shell("--no-argo", "--argo", str(tmp_path / "x")).exit_code == 64
