"""A workflow as a Helm chart: what Helm makes of it, with the default values and with others. Needs Helm 3 or 4."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import helm
import pytest
import yaml
from click.testing import CliRunner

from clara_adapter import plan
from clara_argo import charts, project, shipped
from clara_argo.charts.holes import Holes
from clara_argo.cli import clara_wf, main
from clara_argo.compile import DIGEST, Cluster, compile_graph
from clara_argo.compile.check import check_text
from clara_argo.compile.check.reading import Loader
from clara_argo.graph import Graph
from clara_argo.model.workflow import Image, Resources, StageSpec, Step, Workflow
from clara_argo.source import Findings

ID = "7b413e24-d018-4689-8c41-73272f6649d4"
PLAIN = StageSpec(name="", image=Image(repository="team/x", tag="1"), command=("./main.sh",))
PRINTED = Path(__file__).parents[2] / "article" / "workflow.yaml"
ORGANS = shipped.folder("templates") / "workflows" / "ct-organs.yaml"
# What a chart must hand through as it is: Helm's and Go's signs, quotes, YAML's own, other scripts.
HOSTILE = (
    "{{ .Values.x }}", "{{- fail `x` -}}", "}} {{", "`back`tick`", "it's \"quoted\"", "\\n \\\\ \\u0041",
    "#no: comment", "- {a: [b]}", "%d %s", "ü 漢字 \U0001f600", "trailing  ", "line\nbreak\ttab", "$(id) ${HOME} $$",
    "yes", "0x10", "0_8", "1e3", "<&>", "\u2028 \u2029 \x85",
)  # fmt: skip


def step(stage: str, reads: str, waits: str = "", *args: str) -> Step:
    return Step(stage=stage, reads=tuple(reads.split()), waits_for=tuple(waits.split()), args=args)


def graph(*steps: Step, name: str = "w", **specs: StageSpec) -> Graph:
    workflow = Workflow(id=ID, name=name, steps=steps, results=(f"{steps[-1].stage}/output",), source="w.yaml")
    stages = {one.stage: replace(specs.get(one.stage, PLAIN), name=one.stage) for one in steps}
    return Graph.of(workflow, stages)


READER, AI = step("reader", "reader/input"), step("ai", "reader/output", "reader.lock")
WRITER = step("writer", "ai/output", "ai.lock")
GPU = replace(PLAIN, resources=Resources(cpu="1", memory="4Gi", gpu=2), retries=0, env={"MONAI_TIMEOUT": "9"})
GRAPHS = {
    "chain": graph(READER, AI, WRITER),
    "join": graph(
        READER,
        step("liver", "reader/output", "reader.lock"),
        step("spleen", "reader/output", "reader.lock"),
        step("writer", "liver/output spleen/output reader/input", "liver.lock spleen.lock"),
        writer=replace(PLAIN, study=True, publish=True),
    ),
    "gpu": graph(READER, AI, ai=GPU),
    "names": graph(step("Reader_1", "Reader_1/input"), step("true", "Reader_1/output", "Reader_1.lock"), name="My_CT"),
}


def made(folder: Path, graph: Graph, **options: Any) -> Path:
    charts.publish(graph, "demo", folder / "demo", **options)
    return folder / "demo"


def template(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    (found,) = (one for (kind, _), one in objects.items() if kind == "WorkflowTemplate")
    return dict(found)


@pytest.mark.parametrize("major", helm.EACH_LONG)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", GRAPHS)
def test_with_default_values_it_is_what_compiling_writes(tmp_path: Path, name: str, fused: bool, major: int) -> None:
    chart = made(tmp_path, GRAPHS[name], fused=fused)
    objects = helm.template(major, chart)
    assert list(objects.values()) == [compile_graph(GRAPHS[name], fused=fused).template]


@pytest.mark.parametrize("major", helm.EACH)
def test_each_helm_reads_it_in_the_same_way(chain: Path, major: int) -> None:
    helm.lint(major, chain)
    assert list(helm.template(major, chain).values()) == [compile_graph(GRAPHS["chain"]).template]


@pytest.mark.parametrize("major", helm.EACH_LONG)
def test_no_text_of_a_workflow_is_read_as_a_template(tmp_path: Path, major: int) -> None:
    braces = [text for text in HOSTILE if "{{" not in text]
    hostile = replace(PLAIN, command=("./x", *braces), env={f"V{n}": text for n, text in enumerate(braces)})
    mine = graph(READER, step("ai", "reader/output", "reader.lock", *braces), ai=hostile)
    assert template(helm.template(major, made(tmp_path, mine))) == compile_graph(mine).template


def test_a_hole_fills_only_itself() -> None:
    """Also texts that no compiled object may hold."""
    holes = Holes.of(HOSTILE)
    object_ = {"texts": list(HOSTILE), "value": holes.value("toJson 1"), **{text: text for text in HOSTILE}}
    text = holes.yaml(object_)
    assert text.count("{{ toJson 1 }}") == 1
    back = text.replace('{{ "{{" }}', "{{").replace("{{ toJson 1 }}", "1")
    assert yaml.load(back, Loader=Loader) == {**object_, "value": 1}  # noqa: S506 (a SafeLoader)


@pytest.mark.parametrize("major", helm.EACH)
def test_helm_prints_what_stands_beside_the_holes(tmp_path: Path, major: int) -> None:
    """Three hundred texts of the signs that YAML and Go's templates read, drawn with a fixed seed."""
    draw = random.Random(7)
    signs = "{}{}{}\"'`-%$\\ #:&*!|>@,[]\n\tün0/(.)=~?"
    texts = ["".join(draw.choices(signs, k=draw.randrange(1, 24))) for _ in range(300)]
    data = {f"k{number}": text for number, text in enumerate([*HOSTILE, *texts])}
    holes = Holes.of(data)
    object_: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": dict(data)}
    object_["data"]["hole"] = holes.value("toJson .Release.Name")
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: x, version: 1.0.0}")
    (tmp_path / "templates" / "x.yaml").write_text(holes.yaml(object_))
    assert helm.template(major, tmp_path)["ConfigMap", "x"]["data"] == {**data, "hole": "rel"}


# Values, and what compiling would be told to get the same.
CHANGES: dict[str, tuple[tuple[str, ...], dict[str, Any], Cluster]] = {
    "times": (("stages.ai.timeout=77", "stages.ai.retries=7"), {"timeout": 77, "retries": 7}, Cluster()),
    "no retries": (("stages.ai.retries=0",), {"retries": 0}, Cluster()),
    "image": (
        ("stages.ai.image.repository=other/y", "stages.ai.image.tag=2.0"),
        {"image": Image(repository="other/y", tag="2.0")},
        Cluster(),
    ),
    "digest": (
        ("stages.ai.image.tag=", f"stages.ai.image.digest=sha256:{'a' * 64}"),
        {"image": Image(repository="team/x", digest=f"sha256:{'a' * 64}")},
        Cluster(),
    ),
    "registry": (
        ("registry=r.example:5000/a//", "pullSecrets={one,two}"),
        {},
        Cluster(registry="r.example:5000/a//", pull_secrets=("one", "two")),
    ),
    "registry of its own": (
        ("registry=r.example/a", "stages.ai.image.repository=localhost/x"),
        {"image": Image(repository="localhost/x", tag="1")},
        Cluster(registry="r.example/a"),
    ),
    "gpu": (
        ("stages.ai.gpu=1", "gpu.resource=amd.com/gpu", "stages.ai.resources.limits.memory=2Gi",
         "stages.ai.resources.requests.memory=2Gi"),
        {"resources": Resources(gpu=1, memory="2Gi")},
        Cluster(gpu="amd.com/gpu"),
    ),
    "whole": (
        ("accounts.stage=s", "accounts.collector=c", "store.configMap=m", "store.key=k", "waiting=5", "parallelism=2",
         "volumeSize=1Gi", "keep.succeeded=1", "keep.failed=2", "keep.pod=3"),
        {},
        Cluster(stage_account="s", collector_account="c", repository_map="m", repository_key="k", waiting=5,
                parallelism=2, volume_size="1Gi", keep_succeeded=1, keep_failed=2, keep_pod=3),
    ),
}  # fmt: skip


SHORT = {"times", "registry", "gpu", "whole"}  # the others in CI only


@pytest.mark.parametrize("major", helm.EACH_LONG)
@pytest.mark.parametrize("fused", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", [pytest.param(one, marks=() if one in SHORT else pytest.mark.long) for one in CHANGES])
def test_other_values_give_what_compiling_with_them_gives(tmp_path: Path, name: str, fused: bool, major: int) -> None:
    """But for the workflow's digest, which stays that of the file that was published."""
    values, of_stage, cluster = CHANGES[name]
    options = [word for value in values for word in ("--set", value)]
    got = template(helm.template(major, made(tmp_path, GRAPHS["chain"], fused=fused), *options))
    changed = graph(READER, AI, WRITER, ai=replace(PLAIN, **of_stage))
    text = json.dumps(compile_graph(changed, cluster, fused=fused).template)
    want = json.loads(text.replace(changed.digest, GRAPHS["chain"].digest))
    for one in (got, want):
        del one["metadata"]["annotations"][DIGEST]
    assert got == want


@pytest.mark.parametrize("major", helm.EACH_LONG)
def test_the_digest_is_of_what_helm_made(tmp_path: Path, major: int) -> None:
    options = ("--set", "registry=r.example")
    got = template(helm.template(major, made(tmp_path, GRAPHS["chain"]), *options, namespace="imaging"))
    assert got == compile_graph(GRAPHS["chain"], Cluster(registry="r.example", namespace="imaging")).template


NODES = {
    "nodeSelector": {"zone": "a"},
    "tolerations": [{"key": "x", "operator": "Exists"}],
    "gpu": {"nodeSelector": {"gpu": "yes"}},
    "stages": {"ai": {"nodeSelector": {"zone": "b"}, "tolerations": [{"key": "y", "value": "1"}]}},
}


@pytest.mark.parametrize("major", helm.EACH_LONG)
def test_stages_get_the_nodes_that_are_asked_for(tmp_path: Path, major: int) -> None:
    values = tmp_path / "nodes.yaml"
    values.write_text(yaml.safe_dump(NODES))
    found = template(helm.template(major, made(tmp_path, GRAPHS["gpu"]), "-f", str(values)))
    reader, ai = found["spec"]["templates"][1:]
    assert reader["nodeSelector"] == {"zone": "a"} and reader["tolerations"] == NODES["tolerations"]
    assert ai["nodeSelector"] == {"zone": "b", "gpu": "yes"}
    assert [one["key"] for one in ai["tolerations"]] == ["x", "y", "nvidia.com/gpu"]
    findings = Findings("t.yaml", strict=True)
    check_text(yaml.safe_dump(found), findings)
    assert not findings.check()


EVERYTHING = """\
accounts: {create: true}
networkPolicy: {create: true, egress: [{ports: [{protocol: TCP, port: 5000}]}]}
semaphore: {jobs: 2}
route:
  create: true
  called: CT AI
  sources: [{aeTitle: "0123", host: 10.0.0.5}, {name: second, aeTitle: "{{ x }}"}]
  settle: {quiet: 2.5, max: 60}
  destinations: [{name: PACS, aeTitle: DCM4CHEE, host: pacs.example, port: 104}]
"""


@pytest.mark.parametrize("major", helm.EACH_LONG)
def test_accounts_policy_limit_and_route_come_when_asked_for(tmp_path: Path, major: int) -> None:
    values = tmp_path / "all.yaml"
    values.write_text(EVERYTHING)
    chart = made(tmp_path, project.graph(ORGANS))
    helm.lint(major, chart, "-f", str(values))
    found = helm.template(major, chart, "-f", str(values), namespace="imaging")
    assert {kind for kind, _ in found} == {
        "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "ConfigMap", "WorkflowTemplate",
    }  # fmt: skip
    assert all(one["metadata"]["namespace"] == "imaging" for one in found.values())
    spec = template(found)["spec"]
    label = {"clara.dev/workflow": "ct-organs"}
    policy = found["NetworkPolicy", "ct-organs"]["spec"]
    assert spec["podMetadata"] == {"labels": label} and policy["podSelector"] == {"matchLabels": label}
    assert policy["egress"][-1] == {"ports": [{"protocol": "TCP", "port": 5000}]}
    (semaphore,) = spec["synchronization"]["semaphores"]
    asked = semaphore["configMapKeyRef"]
    assert found["ConfigMap", asked["name"]]["data"] == {asked["key"]: "2"}
    (subject,) = found["RoleBinding", "clara-stage"]["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "clara-stage", "namespace": "imaging"}


# What the schema must refuse: a misspelt key, a wrong kind, a value that no cluster takes.
WRONG = (
    "stages.ia.timeout=3", "stages.ai.timout=3", "regisrty=x", "stages.ai.timeout=0", "stages.ai.timeout=1h",
    "stages.ai.gpu=-1", "stages.ai.gpu=1.5", "stages.ai.image.tag=a b", "stages.ai.resources.limits.memory=lots",
    "stages.ai.resources.request.cpu=1", "stages.ai=null", "stages.ai.image=x", "pullSecrets=x", "parallelism=0",
    "imagePullPolicy=Sometimes", "volumeSize=big", "route.create=true", "route.called=SEVENTEEN_LETTERS",
    "semaphore.jobs=-1", "accounts.create=maybe", "store.key=a b", "namespace=x", "route.destinations[0].aeTitle=X",
    "registry=https://r.example", "route.settle.quiet=86401", "route.settle.max=604801", "route.sources[0].host=-x",
)  # fmt: skip


@pytest.mark.parametrize("major", helm.EACH)
def test_the_schema_names_all_that_is_wrong(chain: Path, major: int) -> None:
    values = [value for value in WRONG if value not in ("stages.ai=null", "stages.ai.image=x", "pullSecrets=x")]
    with pytest.raises(helm.Refused) as refused:
        helm.template(major, chain, *(word for value in values for word in ("--set", value)))
    for word in ("regisrty", "timout", "ia", "parallelism", "volumeSize", "imagePullPolicy", "semaphore", "namespace"):
        assert word in str(refused.value)


@pytest.mark.long
@pytest.mark.parametrize("major", helm.EACH_LONG)
@pytest.mark.parametrize("value", WRONG)
def test_the_schema_refuses(chain: Path, value: str, major: int) -> None:
    with pytest.raises(helm.Refused, match="values don't meet|at '|schema"):
        helm.template(major, chain, "--set", value)


# What only the adapter would see, and then it would not start: options beside a route that is right.
UNFIT = {
    "max is less than quiet": "route.settle.max=1",
    'route.sources: two of them are named "second"': "route.sources[0].name=second",
}


@pytest.mark.parametrize("major", helm.EACH_LONG)
@pytest.mark.parametrize("said", UNFIT)
def test_a_route_that_would_stop_the_adapter_is_refused(tmp_path: Path, chain: Path, said: str, major: int) -> None:
    values = tmp_path / "all.yaml"
    values.write_text(EVERYTHING)
    with pytest.raises(helm.Refused) as refused:
        helm.template(major, chain, "-f", str(values), "--set", UNFIT[said])
    assert said in str(refused.value)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("chain"), GRAPHS["chain"])


PIPELINE = """\
api-version: 0.4.0
name: bone
operators:
  - {name: reader, import: {path: parts/reader.yaml}}
  - name: ai
    container: {image: team/ai, tag: "1", command: [run]}
    input: [{from: reader, path: /input}]
    output: [{path: /output}]
"""
PART = """\
container: {image: team/reader, tag: "1", command: [./main.sh]}
input: [{path: /input}]
output: [{path: /output}]
"""


def a_project(root: Path) -> Graph:
    project.init(root)
    return project.graph(root / "workflow.yaml")


def a_pipeline(root: Path) -> Graph:
    (root / "parts").mkdir(parents=True)
    (root / "route.yaml").write_text(PIPELINE)  # a name that the route takes
    (root / "parts" / "reader.yaml").write_text(PART)
    return project.graph(root / "route.yaml")


def an_sdk(root: Path) -> Graph:
    """As the article has it: its workflow block, as printed."""
    assert CliRunner().invoke(main, ["init", "--sdk", str(root)]).exit_code == 0
    values = root / "clara-reference-workflow" / "charts" / "clara-workflow" / "values.yaml"
    with contextlib.chdir(root / "clara-reference-workflow"):
        assert CliRunner().invoke(clara_wf.main, ["cs", "user-ai"]).exit_code == 0
    values.write_text(values.read_text().rstrip() + "\n" + PRINTED.read_text().replace("user-workflow", "bone"))
    return project.workflow(project.find_root(values), "bone")


@pytest.mark.parametrize("major", helm.EACH_LONG)
@pytest.mark.parametrize("lay", [a_project, a_pipeline, an_sdk])
def test_the_adapter_reads_the_route_and_finds_the_workflow(
    tmp_path: Path, lay: Callable[[Path], Graph], major: int
) -> None:
    """As clara-platform mounts it: each key of the ConfigMap at the place that NOTES.txt names."""
    values = tmp_path / "all.yaml"
    values.write_text(EVERYTHING)
    mine = lay(tmp_path / "mine")
    chart = made(tmp_path, mine)
    data = helm.template(major, chart, "-f", str(values))["ConfigMap", "rel-route"]["data"]
    files = json.loads(yaml.safe_load((chart / "Chart.yaml").read_text())["annotations"]["clara.dev/files"])
    assert set(data) == set(files)
    etc = tmp_path / "etc"
    for key, path in files.items():
        where = etc / "routes" / "rel-route" / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(data[key])
    (etc / "adapter.yaml").write_text("{ae-title: CT, spool: spool, include: [routes/*/route.yaml]}")
    read = plan.read(etc / "adapter.yaml")
    assert read.configuration is not None and not read.failed, read.findings
    assert "any-address" in [one.code for one in read.findings]
    (route,) = read.configuration.routes
    assert (route.name, route.called, route.sources) == ("bone", "CT AI", ("0123", "second"))
    assert (route.settle.quiet, route.settle.max, route.destinations) == (2.5, 60, ("PACS",))
    assert [one.ae_title for one in read.configuration.sources] == ["0123", "{{ x }}"]
    assert read.graphs["bone"].digest == mine.digest
