"""clara-platform: the manifests as a chart; what a site's values change, and what the schema refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import helm
import pytest
import yaml
from click.testing import CliRunner

from clara_adapter import plan
from clara_argo.charts import platform, writing
from clara_argo.cli import main
from clara_argo.errors import NotInstalled
from clara_argo.platform import kubectl

Object = dict[str, Any]
needs_kubectl = pytest.mark.skipif(shutil.which(kubectl.PROGRAM) is None, reason="no kubectl: no manifests are built")


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("platform") / "chart"
    writing.write(platform.chart(), folder)
    return folder


def settled(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """By kind and name, without what is meant to differ: the ConfigMap's name, which kustomize ends with a digest, and
    the annotation that Helm's pod has in its place; what Argo is told is compared as what it says."""
    made = {}
    for one in objects:
        if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith("clara-adapter"):
            one["metadata"]["name"] = "clara-adapter"
        if one["kind"] == "StatefulSet":
            pod = one["spec"]["template"]
            pod["spec"]["volumes"][0]["configMap"]["name"] = "clara-adapter"
            assert set(pod["metadata"].pop("annotations", {})) <= {"clara.dev/configuration"}
        if "clara-v1" in one.get("data", {}):
            one["data"]["clara-v1"] = yaml.safe_load(one["data"]["clara-v1"])
        made[one["kind"], one["metadata"]["name"]] = one
    return made


@needs_kubectl
@pytest.mark.parametrize("major", helm.EACH_LONG)
def test_with_default_values_it_is_the_manifests(chart: Path, major: int) -> None:
    got, want = settled(list(helm.template(major, chart).values())), settled(platform.built())
    assert got == want and len(want) > 20
    helm.lint(major, chart)


SITE = """\
registry: r.example:5000/a
pullSecrets: [team]
store: {endpoint: "s3.clinic:9443", bucket: images, secure: false, region: eu, secret: own, accessKey: a, secretKey: c,
  authority: {secret: ours, key: ca.pem}}
adapter: {ports: [4100]}
routes:
  - {configMap: ct-route, files: {route.yaml: route.yaml, stage-1.yaml: stages/ai/stage.yaml}}
service: {type: NodePort, nodePort: 31112, port: 104}
addresses: [192.0.2.0/24]
volume: {size: 1Gi, storageClass: fast}
nodeSelector: {edge: "yes"}
quota: {pods: 5}
"""


@needs_kubectl
@pytest.mark.parametrize("major", helm.EACH_LONG)
def test_a_sites_values(chart: Path, tmp_path: Path, major: int) -> None:
    values = tmp_path / "site.yaml"
    values.write_text(SITE)
    found = helm.template(major, chart, "-f", str(values), namespace="imaging")
    assert {one["metadata"]["namespace"] for one in found.values()} == {"imaging"}
    told = yaml.safe_load(found["ConfigMap", "artifact-repositories"]["data"]["clara-v1"])["s3"]
    assert (told["endpoint"], told["bucket"], told["insecure"], told["region"]) == (
        "s3.clinic:9443",
        "images",
        True,
        "eu",
    )
    assert told["accessKeySecret"]["name"] == "own" == found["Secret", "own"]["metadata"]["name"]
    assert found["Secret", "own"]["stringData"] == {"accesskey": "a", "secretkey": "c"}
    spec = found["StatefulSet", "clara-adapter"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert container["image"] == "r.example:5000/a/clara-argo/adapter:0.1.0"
    assert (env["CLARA_S3_SECURE"], env["CLARA_S3_REGION"]) == ("false", "eu")
    assert told["caSecret"] == {"name": "ours", "key": "ca.pem"}
    assert env["SSL_CERT_FILE"] == f"{container['volumeMounts'][-1]['mountPath']}/ca.pem"
    assert pod["volumes"][-1]["secret"] == {"secretName": "ours"}
    own, route = pod["volumes"][0]["projected"]["sources"]
    assert own == {"configMap": {"name": "clara-adapter"}} and route["configMap"]["optional"]
    assert {"key": "stage-1.yaml", "path": "routes/ct-route/stages/ai/stage.yaml"} in route["configMap"]["items"]
    assert spec["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "fast"
    policies = {name: one["spec"] for (kind, name), one in found.items() if kind == "NetworkPolicy"}
    assert {"protocol": "TCP", "port": 9443} in policies["clara-store-outside"]["egress"][0]["ports"]
    assert policies["clara-api"]["egress"][0]["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    assert policies["clara-adapter"]["egress"][0]["ports"][-1] == {"protocol": "TCP", "port": 4100}
    (port,) = found["Service", "clara-adapter"]["spec"]["ports"]
    assert (port["port"], port["nodePort"]) == (104, 31112)
    assert found["ResourceQuota", "clara"]["spec"]["hard"]["pods"] == 5


@needs_kubectl
@pytest.mark.parametrize("major", helm.EACH_LONG)
def test_another_configuration_starts_the_pod_again(chart: Path, tmp_path: Path, major: int) -> None:
    text = 'ae-title: X\nspool: /var/lib/clara/spool\n# {{ .Values.x }} `a` "b"\nroutes: []\n'
    (tmp_path / "adapter.yaml").write_text(text)
    noted = []
    for options in ((), ("--set-file", f"adapter.configuration={tmp_path / 'adapter.yaml'}")):
        found = helm.template(major, chart, *options)
        noted.append(found["StatefulSet", "clara-adapter"]["spec"]["template"]["metadata"]["annotations"])
    assert found["ConfigMap", "clara-adapter"]["data"]["adapter.yaml"] == text
    assert noted[0] != noted[1]


@needs_kubectl
@pytest.mark.parametrize("major", helm.EACH_LONG)
def test_routes_that_nobody_reads_are_refused(chart: Path, major: int) -> None:
    routes = "routes[0].configMap=x,routes[0].files.a=route.yaml"
    with pytest.raises(helm.Refused, match="adapter.configuration reads none of the routes"):
        helm.template(major, chart, "--set", f"{routes},adapter.configuration=none")


@needs_kubectl
@pytest.mark.parametrize("major", helm.EACH_LONG)
def test_a_service_inside_the_cluster(chart: Path, major: int) -> None:
    """Kubernetes refuses what belongs to the other kinds."""
    found = helm.template(major, chart, "--set", "service.type=ClusterIP", "--set", "service.nodePort=31112")
    spec = found["Service", "clara-adapter"]["spec"]
    assert "externalTrafficPolicy" not in spec and "nodePort" not in spec["ports"][0]


@needs_kubectl
@pytest.mark.parametrize("major", helm.EACH_LONG)
def test_without_an_adapter(chart: Path, major: int) -> None:
    found = helm.template(major, chart, "--set", "adapter.create=false")
    assert not [name for _, name in found if name.startswith("clara-adapter")]


@needs_kubectl
@pytest.mark.long
@pytest.mark.parametrize("major", helm.EACH)
@pytest.mark.parametrize(
    "value",
    ["stoer.bucket=x", "store.endpoint=https://x", "adapter.ports[0]=0", "service.type=Node", "addresses=null",
     "quota=5", "addresses[0]=everywhere", "routes[0].configMap=x", "image.tag=a b", "volume.size=big",
     "store.accessKey=x"],
)  # fmt: skip
def test_the_schema_refuses(chart: Path, value: str, major: int) -> None:
    with pytest.raises(helm.Refused):
        helm.template(major, chart, "--set", value)


@needs_kubectl
@pytest.mark.long
@pytest.mark.parametrize("major", helm.EACH)
@pytest.mark.parametrize("path", ["../x.yaml", "/etc/x", "a/../../x", ".hidden", "a//b"])
def test_no_route_leads_out_of_its_folder(chart: Path, tmp_path: Path, path: str, major: int) -> None:
    values = tmp_path / "routes.yaml"
    values.write_text(yaml.safe_dump({"routes": [{"configMap": "x", "files": {"route.yaml": path}}]}))
    with pytest.raises(helm.Refused):
        helm.template(major, chart, "-f", str(values))


@needs_kubectl
def test_the_configuration_of_the_default_values_is_one_that_starts(chart: Path, tmp_path: Path) -> None:
    values = yaml.safe_load((chart / "values.yaml").read_text())
    (tmp_path / "adapter.yaml").write_text(values["adapter"]["configuration"])
    assert not plan.read(tmp_path / "adapter.yaml").failed


@needs_kubectl
def test_the_command(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["cluster", "chart", "--output", str(tmp_path / "chart")])
    assert made.exit_code == 0 and "templates/adapter.yaml" in made.output
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    assert CliRunner().invoke(main, ["cluster", "chart", "--output", str(tmp_path / "mine")]).exit_code == 64


def test_without_kubectl_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotInstalled, match="kubectl"):
        platform.chart()
