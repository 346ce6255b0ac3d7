"""The doctor on an API server in process: everything well, then one thing wrong at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from unit import manifests
from unit.kubernetes.stub import Stub

from clara_argo.artifacts import Stored
from clara_argo.artifacts.errors import NoBucket, WrongSecret
from clara_argo.artifacts.folder import FolderStore
from clara_argo.cli import main
from clara_argo.errors import Refused, TryAgain
from clara_argo.kubernetes.kinds import (
    ACCOUNTS,
    CONFIG_MAPS,
    DEFINITIONS,
    DEPLOYMENTS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    SECRETS,
    STATEFUL_SETS,
    TEMPLATES,
    WORKFLOWS,
    Kind,
)  # fmt: skip
from clara_argo.model.target import StoreAccess, Target
from clara_argo.platform import rights
from clara_argo.platform.doctor import Check, Level, Site, examine
from clara_argo.platform.doctor.engine import NEEDED
from clara_argo.platform.doctor.network import SLICES

Object = dict[str, Any]
STRICT = "workflows must use workflowTemplateRef to be executed when the controller is in reference mode"
IMAGE = "registry.example/ai:1"
PULL = {"imagePullSecrets": [{"name": "pull"}]}


class Store(FolderStore):
    """A folder, with the words of a bucket."""

    trouble: Exception | None = None
    where = "store http://127.0.0.1:8333, bucket 'clara'"
    objects: tuple[Stored, ...] = ()

    def check(self) -> None:
        if self.trouble:
            raise self.trouble

    def put_folder(self, key: str, folder: Path, *, follow: bool = False) -> str:
        return super().put_folder(key, folder)

    def read(self, name: str, limit: int = 1 << 20) -> bytes:
        raise NotImplementedError

    def delete_below(self, prefix: str) -> None:
        for key in self.list(prefix):
            self.delete(key)

    def stored(self, prefix: str = "") -> tuple[Stored, ...]:
        self.check()
        return tuple(one for one in self.objects if one.name.startswith(prefix))


def deployment(
    image: str = "quay.io/argoproj/workflow-controller:v4.1.2", requeue: str = "1s", ready: int = 1
) -> Object:
    container = {
        "name": "workflow-controller",
        "image": image,
        "command": ["workflow-controller"],
        "args": ["--namespaced"],
        "env": [{"name": "DEFAULT_REQUEUE_TIME", "value": requeue}] if requeue else [],
    }
    return {
        "metadata": {"name": "workflow-controller", "namespace": "clara"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        "status": {"readyReplicas": ready},
    }


SETTINGS = {
    "failedPodRestart": "enabled: true\n",
    "executor": yaml.safe_dump(
        {
            "env": [
                {"name": "EXECUTOR_RETRY_BACKOFF_STEPS", "value": "9"},
                {"name": "TRANSIENT_ERROR_PATTERN", "value": "workflowtaskresults.* is forbidden: User "},
            ],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ),
}
REPOSITORY: Object = {
    "archiveLogs": True,
    "s3": {
        "endpoint": "clara-s3:8333",
        "bucket": "clara",
        "insecure": True,
        "keyFormat": "jobs/{{workflow.parameters.job}}/logs/{{pod.name}}",
        "accessKeySecret": {"name": "clara-s3", "key": "accesskey"},
        "secretKeySecret": {"name": "clara-s3", "key": "secretkey"},
    },
}


def template(gpu: int = 1) -> Object:
    leaf = {"name": "ai", "container": {"image": IMAGE, "resources": {"limits": {"nvidia.com/gpu": gpu}}}}
    return {
        "metadata": {"name": "ct", "labels": {"clara.dev/workflow": "ct"}},
        "spec": PULL | {"templates": [{"name": "main", "dag": {"tasks": []}}, leaf]},
    }


class Clinic:
    """A stub with everything that a cluster needs, and a controller that looks at Workflows."""

    def __init__(self, stub: Stub, folder: Path) -> None:
        self.stub, self.store, self.theirs = stub, Store(folder), Store(folder)
        self.target = Target()
        self.answer: Object | None = {"phase": "Error", "message": STRICT}  # of the controller
        stub.kinds |= {SLICES}
        known = {kind.plural for kind in stub.kinds}
        stub.kinds |= {Kind("argoproj.io/v1alpha1", plural) for plural in NEEDED if plural not in known}
        stub.judge = lambda body: 'strict decoding error: unknown field "spec.clara"' if "clara" in body["spec"] else ""
        stub.on_change(self._controller)
        for name, needed in rights.ACCOUNTS.items():
            stub.put(ACCOUNTS, {"metadata": {"name": name}})
            may = {(right.verb, right.resource) for right in needed}
            stub.rights[f"system:serviceaccount:clara:{name}"] = may
        for kind, name, rest in (
            (NAMESPACES, "clara", {}),
            (DEPLOYMENTS, "workflow-controller", deployment()),
            (CONFIG_MAPS, "workflow-controller-configmap", {"data": SETTINGS}),
            (CONFIG_MAPS, "artifact-repositories", {"data": {"clara-v1": yaml.safe_dump(REPOSITORY)}}),
            (SECRETS, "clara-s3", {"data": {"accesskey": "", "secretkey": ""}}),
            (SECRETS, "pull", {}),
            (TEMPLATES, "ct", template()),
            (NODES, "node", {"status": {"images": [{"names": [IMAGE]}], "allocatable": {"nvidia.com/gpu": "1"}}}),
        ):
            stub.put(kind, {"metadata": {"name": name}} | rest)
        self.enforce("restricted")

    def _controller(self, change: str, kind: Kind, object: Object) -> None:
        if kind == WORKFLOWS and change == "ADDED" and self.answer:
            self.stub.change(WORKFLOWS, object["metadata"]["name"], {"status": self.answer})

    def enforce(self, level: str) -> None:
        labels = {"pod-security.kubernetes.io/enforce": level}
        self.stub.change(NAMESPACES, "clara", {"metadata": {"labels": labels}})

    def replace(self, kind: Kind, name: str, object: Object) -> None:
        self.stub.remove(kind, name)
        self.stub.put(kind, {"metadata": {"name": name}} | object)

    def repository(self, **s3: Any) -> None:
        value = REPOSITORY | {"s3": {key: v for key, v in (REPOSITORY["s3"] | s3).items() if v is not None}}
        self.replace(CONFIG_MAPS, "artifact-repositories", {"data": {"clara-v1": yaml.safe_dump(value)}})

    def examine(self, *, sweep: bool = False) -> list[Check]:
        with self.stub.api() as api:
            site = Site(api=api, target=self.target, store=self.store, theirs=self.theirs, sweep=sweep)
            return list(examine(site))


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    with Stub() as stub:
        yield Clinic(stub, tmp_path / "store")


def test_a_cluster_in_which_all_is_well(clinic: Clinic) -> None:
    checks = clinic.examine()
    assert [check for check in checks if check.level is not Level.OK] == []
    assert {"api", "namespace", "definitions", "controller", "release", "requeue time", "alive", "strict", "settings",
            "account clara-stage", "your rights", "repository", "store", "network", "images", "gpu", "deletions"} <= {
        check.part for check in checks
    }  # fmt: skip
    assert not clinic.stub.list(WORKFLOWS), "the Workflow that was asked about stays"
    assert clinic.store.list() == (), "the probe stays in the store"


def wrong_repository(**s3: Any) -> Callable[[Clinic], None]:
    return lambda clinic: clinic.repository(**s3)


def wrong_settings(**data: str) -> Callable[[Clinic], None]:
    return lambda clinic: clinic.replace(CONFIG_MAPS, "workflow-controller-configmap", {"data": SETTINGS | data})


def wrong_controller(**what: Any) -> Callable[[Clinic], None]:
    return lambda clinic: clinic.replace(DEPLOYMENTS, "workflow-controller", deployment(**what))


def without(kind: Kind, name: str) -> Callable[[Clinic], None]:
    return lambda clinic: (clinic.stub.remove(kind, name), None)[1]


def not_allowed(verb: str, resource: str) -> Callable[[Clinic], None]:
    return lambda clinic: clinic.stub.denied.add((verb, resource))


def of_account(name: str, *, gains: tuple[str, str] | None = None, loses: tuple[str, str] | None = None):  # type: ignore[no-untyped-def]
    def change(clinic: Clinic) -> None:
        may = clinic.stub.rights[f"system:serviceaccount:clara:{name}"]
        may |= {gains} if gains else set()
        may -= {loses} if loses else set()

    return change


def kindless(clinic: Clinic) -> None:
    clinic.stub.kinds = {kind for kind in clinic.stub.kinds if not kind.version.startswith("argoproj.io")}


def minimal(clinic: Clinic) -> None:
    clinic.stub.judge = lambda body: ""


def loose(clinic: Clinic) -> None:
    clinic.answer = {"phase": "Running"}


def no_store(trouble: Exception) -> Callable[[Clinic], None]:
    return lambda clinic: setattr(clinic.store, "trouble", trouble)


def other_secret(clinic: Clinic) -> None:
    clinic.theirs.trouble = WrongSecret("not its own")


def forgotten(clinic: Clinic) -> None:
    old = Stored(name="payloads/aa/input.tgz", size=2_000_000, modified=datetime(2026, 1, 1, tzinfo=UTC))
    clinic.store.objects = (old,)


def other_bucket(clinic: Clinic) -> None:
    clinic.store.trouble = NoBucket("it does not exist either")
    clinic.target = Target(store=StoreAccess(bucket="elsewhere"))


def with_policies(server: str = "10.1.2.3", port: int = 6443, store: str = "clara-s3:8333") -> Callable[[Clinic], None]:
    """Those that are shipped; where the API server and the store are."""

    def change(clinic: Clinic) -> None:
        for file in ("stages", "overlays/cluster/namespace"):
            for policy in yaml.safe_load_all((manifests.MANIFESTS / file / "policies.yaml").read_text()):
                clinic.stub.put(NETWORK_POLICIES, policy)
        meta = {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}}
        ends = {"endpoints": [{"addresses": [server]}] if server else None, "ports": [{"name": "https", "port": port}]}
        clinic.stub.put(SLICES, {"metadata": meta} | ends, "default")
        clinic.repository(endpoint=store)

    return change


def no_pod(name: str) -> Callable[[Clinic], None]:
    spec: Object = {"spec": {"replicas": 1}, "status": {"replicas": 1, "updatedReplicas": 1}}
    return lambda clinic: (clinic.stub.put(STATEFUL_SETS, {"metadata": {"name": name}} | spec), None)[1]


def three_gpus(clinic: Clinic) -> None:
    clinic.replace(TEMPLATES, "ct", template(gpu=3))


def bare_image(clinic: Clinic) -> None:
    text = template()
    text["spec"]["templates"][1]["container"]["image"] = "clara-argo/ai:1"
    clinic.replace(TEMPLATES, "ct", text)


FAIL, WARN, UNKNOWN = Level.FAIL, Level.WARN, Level.UNKNOWN


@pytest.mark.parametrize(
    ("change", "part", "level", "said"),
    [
        (without(NAMESPACES, "clara"), "namespace", FAIL, "no namespace 'clara'"),
        (lambda clinic: clinic.enforce("privileged"), "namespace", WARN, "any right"),
        (not_allowed("get", "namespaces"), "namespace", UNKNOWN, "may not"),
        (kindless, "definitions", FAIL, "workflowtemplates"),
        (minimal, "definitions", WARN, "minimal"),
        (not_allowed("create", "workflows"), "definitions", UNKNOWN, "may not"),
        (without(DEPLOYMENTS, "workflow-controller"), "controller", UNKNOWN, "no Deployment"),
        (not_allowed("list", "deployments"), "controller", UNKNOWN, "may not"),
        (wrong_controller(ready=0), "controller", FAIL, "none of 1 is ready"),
        (wrong_controller(image="quay.io/argoproj/workflow-controller:v4.0.5"), "release", FAIL, "4.0.5"),
        (wrong_controller(image="quay.io/argoproj/workflow-controller:v3.7.15"), "release", FAIL, "3.7.15"),
        (wrong_controller(image="mirror:5000/workflow-controller:latest"), "release", UNKNOWN, "names no release"),
        (wrong_controller(requeue=""), "requeue time", WARN, "10s"),
        (wrong_controller(requeue="30s"), "requeue time", WARN, "30s"),
        (loose, "strict", WARN, "images"),
        (wrong_settings(failedPodRestart="enabled: false"), "settings", WARN, "throws out"),
        (wrong_settings(executor=""), "settings", FAIL, "restricted"),
        (wrong_settings(executor="a: [b"), "settings", UNKNOWN, "not understood"),
        (
            wrong_settings(executor="env: [{name: EXECUTOR_RETRY_BACKOFF_STEPS, value: '9'}]"),
            "settings",
            WARN,
            "starts",
        ),
        (wrong_settings(executor="env: [{name: TRANSIENT_ERROR_PATTERN, value: 'a('}]"), "settings", WARN, "starts"),
        (not_allowed("get", "configmaps"), "settings", UNKNOWN, "may not read"),
        (without(ACCOUNTS, "clara-stage"), "account clara-stage", FAIL, "every job"),
        (without(ACCOUNTS, "clara-adapter"), "account clara-adapter", UNKNOWN, "no adapter"),
        (of_account("clara-stage", loses=("patch", "workflowtaskresults")), "account clara-stage", FAIL, "patch"),
        (of_account("clara-adapter", gains=("get", "secrets")), "account clara-adapter", WARN, "get secrets"),
        (not_allowed("delete", "pods"), "your rights", FAIL, "delete pods"),
        (not_allowed("patch", "workflowtemplates"), "your rights", UNKNOWN, "somebody else"),
        (without(CONFIG_MAPS, "artifact-repositories"), "repository", FAIL, "artifact-repositories"),
        (wrong_repository(createBucketIfNotPresent={}), "repository", WARN, "every object"),
        (wrong_repository(keyFormat=None), "repository", WARN, "outside"),
        (wrong_repository(secretKeySecret={"name": "clara-s3", "key": "wrong"}), "repository", FAIL, "no key wrong"),
        (without(SECRETS, "clara-s3"), "repository", FAIL, "clara-s3"),
        (not_allowed("get", "secrets"), "repository", UNKNOWN, "clara-s3"),
        (no_store(Refused("wrong secret")), "store", FAIL, "wrong secret"),
        (other_secret, "store", FAIL, "the Secret that stages have: not its own"),
        (other_bucket, "store", FAIL, "the bucket 'elsewhere', and stages look for them in 'clara'"),
        (with_policies(server="34.1.2.3"), "network", WARN, "API server (34.1.2.3 port 6443)"),
        (with_policies(port=7443), "network", WARN, "API server (10.1.2.3 port 7443)"),
        (with_policies(store="10.0.0.9:9443"), "network", WARN, "store (10.0.0.9 port 9443)"),
        (with_policies(server=""), "network", UNKNOWN, "where the API server is"),
        (not_allowed("list", "networkpolicies"), "network", UNKNOWN, "may not"),
        (forgotten, "leftovers", WARN, "1 studies or results in the store, 2 MB"),
        (no_store(Refused("wrong secret")), "leftovers", UNKNOWN, "could not"),
        (no_pod("clara-adapter"), "clara-adapter", FAIL, "not ready"),
        (not_allowed("get", "statefulsets"), "clara-s3", UNKNOWN, "may not"),
        (without(SECRETS, "pull"), "images", FAIL, "pull"),
        (without(TEMPLATES, "ct"), "images", UNKNOWN, "no template"),
        (bare_image, "images", WARN, "no registry"),
        (not_allowed("list", "nodes"), "images", UNKNOWN, "nodes"),
        (three_gpus, "gpu", FAIL, "asks for 3"),
    ],
)
def test_one_thing_is_wrong(
    clinic: Clinic, change: Callable[[Clinic], None], part: str, level: Level, said: str
) -> None:
    change(clinic)
    found = [check for check in clinic.examine() if check.part == part and check.level is level]
    assert any(said in check.said for check in found), found
    if level in (FAIL, WARN) and part != "store":
        assert all(check.hint for check in found), "it does not say how it is mended"


@pytest.mark.parametrize("port", [443, 6443, 8443, 16443])
def test_shipped_policies_leave_a_way_to_the_api_server_and_the_store(clinic: Clinic, port: int) -> None:
    """k3s and kind, minikube, MicroK8s: behind the Service the port is the API server's own."""
    with_policies(port=port, store="10.0.0.9:9000")(clinic)
    found = [check for check in clinic.examine() if check.part == "network"]
    assert [check.level for check in found] == [Level.OK, Level.OK], found


def test_nobody_looks_at_workflows(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clara_argo.platform.doctor.engine.ANSWER", 0.0)
    monkeypatch.setattr("clara_argo.platform.doctor.engine.TICK", 0.05)
    clinic.answer = None
    (alive,) = [check for check in clinic.examine() if check.part == "alive"]
    assert alive.level is Level.FAIL
    assert not clinic.stub.list(WORKFLOWS)


def test_what_is_away_is_told_from_what_is_wrong(clinic: Clinic) -> None:
    clinic.store.trouble = TryAgain("no answer")
    failed = [check for check in clinic.examine() if check.level is Level.FAIL]
    assert [(check.part, check.away) for check in failed] == [("store", True)]


def test_without_an_api_server_nothing_else_is_asked(clinic: Clinic) -> None:
    with clinic.stub.api(timeout=1.0) as api:
        clinic.stub.down()
        (check,) = examine(Site(api=api, target=Target(), store=clinic.store))
    assert (check.part, check.level, check.away) == ("api", Level.FAIL, True)


def stuck(job: str) -> Object:
    return {
        "metadata": {
            "name": f"clara-{job}",
            "labels": {"app.kubernetes.io/managed-by": "clara-argo", "clara.dev/job": job},
            "finalizers": ["workflows.argoproj.io/artifact-gc"],
            "deletionTimestamp": "2026-01-31T08:15:30Z",
        },
        "spec": {},
    }


def test_what_hangs_is_counted_and_freed_when_asked(clinic: Clinic) -> None:
    clinic.answer = None
    job = "0123456789abcdef0123456789abcdef"
    clinic.stub.put(WORKFLOWS, stuck(job))
    clinic.answer = {"phase": "Error", "message": STRICT}
    (check,) = [check for check in clinic.examine() if check.part == "deletions"]
    assert check.level is Level.WARN and job in check.said and "--sweep" in check.hint
    (check,) = [check for check in clinic.examine(sweep=True) if check.part == "deletions"]
    assert check.level is Level.OK and job in check.said
    assert not clinic.stub.list(WORKFLOWS)


def test_no_account_is_given_what_is_too_much() -> None:
    for name, needed in rights.ACCOUNTS.items():
        assert not set(needed) & set(rights.TOO_MUCH[name])


def test_definitions_are_not_read(clinic: Clinic) -> None:
    """Three megabytes each, and a right that only administrators have."""
    clinic.examine()
    assert not [request for request in clinic.stub.requests if DEFINITIONS.plural in request.path]


# The command


@pytest.fixture
def doctor(clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    config = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": clinic.stub.url}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("clara_argo.runners.clusterstore.ClusterStore", lambda *_: clinic.store)
    return lambda *words: CliRunner().invoke(main, ["cluster", "doctor", *words])


def test_the_command_on_a_cluster_in_which_all_is_well(doctor: Callable[..., Result]) -> None:
    done = doctor()
    assert done.exit_code == 0, done.output
    assert "store: a folder was written, read and deleted" in done.stdout
    assert "0 fail" in done.stderr


def test_the_command_says_how_it_is_mended(doctor: Callable[..., Result], clinic: Clinic) -> None:
    kindless(clinic)
    done = doctor()
    assert done.exit_code == 2
    assert "fail     definitions: " in done.stdout and "-> clara cluster install" in done.stdout


def test_the_command_tells_what_is_away(doctor: Callable[..., Result], clinic: Clinic) -> None:
    clinic.store.trouble = TryAgain("no answer")
    assert doctor().exit_code == 75
    clinic.stub.down()
    assert doctor().exit_code == 75


def test_the_command_for_programs(doctor: Callable[..., Result], clinic: Clinic) -> None:
    clinic.enforce("privileged")
    done = doctor("-o", "json", "--context", "c")
    value = json.loads(done.stdout)
    assert (done.exit_code, value["schema"], value["target"]) == (0, 1, "argo")
    (found,) = [check for check in value["checks"] if check["part"] == "namespace"]
    assert found["level"] == "warn" and found["hint"]


def test_the_command_without_that_context(doctor: Callable[..., Result]) -> None:
    done = doctor("--context", "other")
    assert done.exit_code == 6 and "other" in done.stderr
