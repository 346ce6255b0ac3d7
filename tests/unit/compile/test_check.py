"""`clara check`: each rule has broken files that it alone finds; what Argo's own linter refuses, we refuse.

A broken file is a compiled workflow with a few values changed. The linter is asked where `argo` is installed.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clara_argo import compile as compiler
from clara_argo import project, shipped
from clara_argo.compile import check as package
from clara_argo.compile.check import check, check_text
from clara_argo.errors import DefinitionError, Finding, Level
from clara_argo.source import Findings

FOLDER = shipped.folder("templates") / "workflows"
ARGO = shutil.which("argo")
GONE = object()
Edit = tuple[str, Any]
T = "spec.templates"
TASK = f"{T}.0.dag.tasks"
SET = f"{T}.0.containerSet.containers"
TAG = "{{%s}}"
KEY = "jobs/{{workflow.parameters.job}}/dicom-reader/output.tgz"
TWICE = {"action": "get", "manifest": "m", "manifestFrom": {"artifact": {"name": "x"}}}
AGAIN = {"name": "dicom-writer", "template": "idle", "depends": "ct-organ-seg"}
GAUGE = {"realtime": True, "value": "{{resourcesDuration.cpu}}"}


def mount(path: str, folder: str) -> dict[str, str]:
    return {"name": "clara", "mountPath": path, "subPath": folder}


# Templates of the DAG: 0 main, 1 dicom-reader, 2 ct-organ-seg, 3 dicom-writer. `fused:` is the one of one pod.
# (code, what is changed, whether Argo's linter refuses it too)
BROKEN: list[tuple[str, list[Edit], bool]] = [
    # structure
    ("field", [(f"{T}.0.dag.failFsat", True)], True),
    ("field", [(f"{T}.1.container.volumeMounts.0.mountPaht", "/x")], True),
    ("field", [("spec.pendingTimeout", "5m")], True),
    ("field", [("status", {"phase": "Running"})], True),
    ("field", [("spec.parallelism", "8")], True),
    ("type", [("spec.parallelism", "many")], True),
    ("type", [(f"{T}.1.container.env.0.value", 5)], True),
    ("type", [(TASK, 5)], True),
    ("type", [(f"{T}.1.inputs.artifacts.0.name", GONE)], True),
    ("api-version", [("apiVersion", "argoproj.io/v2")], False),
    ("word", [(f"{T}.1.retryStrategy.retryPolicy", "Sometimes")], True),
    ("word", [("spec.podGC.strategy", "Later")], True),
    ("word", [("spec.artifactGC.strategy", "Later")], False),
    ("word", [(f"{T}.1.container.imagePullPolicy", "Perhaps")], False),
    ("quantity", [(f"{T}.1.container.resources.limits.memory", "lots")], True),
    ("quantity", [("spec.volumes.0.emptyDir.sizeLimit", "20 GB")], True),
    # names
    ("name", [(f"{T}.2.name", "CT-organ"), (f"{TASK}.1.template", "CT-organ")], False),
    ("name", [(f"{T}.2.name", "ct_organ"), (f"{TASK}.1.template", "ct_organ")], True),
    ("name", [("metadata.name", "x" * 64)], True),
    ("name", [("metadata.name", GONE)], False),
    ("name", [(f"{T}.1.outputs.artifacts.1.name", "my logs")], True),
    ("duplicate", [(f"{T}.4", {"name": "main", "suspend": {}})], True),
    ("duplicate", [(f"{T}.1.outputs.artifacts.1.name", "output")], True),
    ("duplicate", [(f"{TASK}.3", AGAIN), (f"{T}.4", {"name": "idle", "suspend": {}})], True),
    # templates
    ("entrypoint", [("spec.entrypoint", "mian")], True),
    ("entrypoint", [("spec.onExit", "bye")], True),
    ("template-type", [(f"{T}.4", {"name": "nothing"})], True),
    ("template-type", [(f"{T}.1.suspend", {})], True),
    ("template", [(f"{TASK}.1.template", "ct-organs-seg")], True),
    ("template", [(f"{TASK}.1.templateRef", {"name": "other", "template": "t"})], True),
    ("template", [(f"{TASK}.3", {"name": "idle"})], True),
    ("template-ref", [("kind", "Workflow"), ("spec.workflowTemplateRef", {"name": "ct-organs"})], True),
    ("deadline", [(f"{T}.0.activeDeadlineSeconds", 5)], True),
    ("deadline", [(f"{T}.0.timeout", "5m")], True),
    ("deadline", [(f"{T}.1.activeDeadlineSeconds", 0)], False),
    ("deadline", [(f"{T}.1.timeout", "5")], True),
    ("parallelism", [(f"{T}.1.parallelism", 2)], True),
    # fields that exclude each other
    ("exclusive", [(f"{T}.1.outputs.artifacts.1.raw", {"data": "x"})], False),
    ("exclusive", [(f"{TASK}.1.withItems", ["1"]), (f"{TASK}.1.withParam", "[1]")], True),
    ("exclusive", [(f"{TASK}.1.withSequence", {"count": "1", "end": "2"})], True),
    ("exclusive", [(f"{T}.4", {"name": "r", "resource": TWICE})], False),
    ("gauge", [(f"{T}.1.metrics", {"prometheus": [{"name": "m", "help": "h", "gauge": GAUGE}]})], True),
    # the graph
    ("cycle", [(f"{TASK}.0.depends", "dicom-writer")], True),
    ("depends", [(f"{TASK}.1.depends", "dicom-raeder.Succeeded || dicom-reader")], True),
    ("depends", [(f"{TASK}.1.depends", "dicom-reader &&")], False),
    ("depends", [(f"{TASK}.1.depends", "(dicom-reader")], False),
    ("depends", [(f"{TASK}.1.depends", "dicom-reader.Done")], True),
    ("depends", [(f"{TASK}.1.depends", "dicom-reader.AnySucceeded")], True),
    ("depends", [(f"{TASK}.1.depends", GONE), (f"{TASK}.1.dependencies", ["dicom-reader"])], True),
    ("depends", [(f"{TASK}.1.continueOn", {"failed": True})], True),
    ("depends", [(f"{TASK}.2.name", "1st")], True),
    ("depends", [(f"{T}.0.dag.target", "nobody")], True),
    ("no-task", [(TASK, [])], True),
    # what is given
    ("argument", [(f"{TASK}.1.arguments.artifacts", [])], True),
    ("argument", [(f"{TASK}.1.arguments.artifacts.0.from", GONE)], True),
    ("argument", [(f"{T}.1.inputs.parameters", [{"name": "level"}])], True),
    ("argument", [(f"{T}.1.inputs.artifacts.1.from", "{{inputs.artifacts.input}}")], True),
    ("argument", [(f"{T}.1.outputs.parameters", [{"name": "count"}])], True),
    ("argument-unused", [(f"{TASK}.1.arguments.parameters", [{"name": "levle", "value": "1"}])], False),
    # tags
    ("tag", [(f"{T}.1.container.args", [TAG % "workflow.parameters.jbo"])], False),
    ("tag", [(f"{T}.1.container.args", [TAG % "workflow.nmae"])], True),
    ("tag", [(f"{T}.1.container.args", [TAG % "inputs.parameters.level"])], True),
    ("tag", [(f"{TASK}.1.arguments.artifacts.0.from", TAG % "tasks.dicom-reader.outputs.artifacts.outptu")], True),
    ("tag", [(f"{TASK}.1.arguments.artifacts.0.from", TAG % "inputs.artifacts.stduy")], True),
    ("tag", [(f"{TASK}.1.arguments.artifacts.0.from", TAG % "tasks.dicom-raeder.outputs.artifacts.output")], True),
    ("tag", [(f"{TASK}.1.when", "{{item}} == 1")], False),
    ("tag", [(f"{T}.1.container.args", [TAG % "steps.a.status"])], True),
    ("tag", [(f"{T}.1.container.args", [TAG % "workflow.outputs.parameters.x"])], True),
    ("tag", [(f"{TASK}.1.when", "{{pod.name}} == a")], True),
    ("tag-ancestor", [(f"{TASK}.1.depends", GONE)], True),
    ("tag-ancestor", [(f"{TASK}.0.when", "{{tasks.ct-organ-seg.status}} == Failed")], True),
    ("tag-retry", [(f"{T}.1.retryStrategy", GONE)], False),
    ("tag-open", [(f"{T}.1.container.args", ["{{workflow.name"])], True),
    ("tag-unknown", [(f"{T}.1.container.args", ["{{anything}}"])], False),
    # leaves
    ("no-image", [(f"{T}.1.container.image", GONE)], True),
    ("no-command", [(f"{T}.1.container.command", GONE)], False),
    ("image-tag", [(f"{T}.1.container.image", "registry:5000/team/reader")], False),
    ("image-tag", [(f"{T}.1.container.image", "team/reader:latest")], False),
    ("input-mounted", [(f"{T}.1.container.volumeMounts.4", mount("/app/input/", "in"))], False),
    ("input-mounted", [(f"{T}.1.container.volumeMounts.4", mount("/app/input", "in"))], True),
    ("input-path", [(f"{T}.2.inputs.artifacts.2.path", "/app/locks/input.lock")], True),
    ("no-path", [(f"{T}.1.inputs.artifacts.0.path", GONE)], True),
    ("no-path", [(f"{T}.1.inputs.artifacts.0.path", "app/input")], False),
    ("output-mount", [(f"{T}.1.outputs.artifacts.0.path", "/app/results")], False),
    ("reserved", [(f"{T}.1.sidecars", [{"name": "wait", "image": "i:1", "command": ["c"]}])], True),
    ("volume", [(f"{T}.1.container.volumeMounts.0.name", "clra")], False),
    ("mount-path", [(f"{T}.1.container.volumeMounts.4", mount("/app/logs", "more"))], True),
    ("fused:mount-path", [(f"{SET}.0.volumeMounts.5", mount("/app/logs/", "more"))], False),
    (
        "mounted-twice",
        [(f"{T}.1.inputs.artifacts.0.path", "/tmp/in"), (f"{T}.1.container.volumeMounts.4", mount("/data", "tmp/in"))],
        False,
    ),
    # a container set
    ("fused:no-main", [(f"{SET}.2.name", "last")], True),
    ("fused:reserved", [(f"{SET}.0.name", "wait"), (f"{SET}.1.dependencies", ["wait"])], True),
    ("fused:depends", [(f"{SET}.2.dependencies.1", "nobody")], True),
    ("fused:cycle", [(f"{SET}.0.dependencies", ["main"])], True),
    ("fused:main-last", [(f"{SET}.2.dependencies", ["dicom-reader"])], False),
    ("fused:volume", [(f"{SET}.0.volumeMounts.0.name", "clra")], False),
    ("fused:no-command", [(f"{SET}.0.command", GONE)], False),
    # the store
    ("key", [(f"{T}.1.outputs.artifacts.0.s3.key", "jobs/reader/")], False),
    ("key", [(f"{T}.1.outputs.artifacts.0.s3.key", "jobs/../reader.tgz")], False),
    ("key-unique", [(f"{T}.2.outputs.artifacts.0.s3.key", KEY)], False),
    ("finalizer", [("spec.artifactGC.forceFinalizerRemoval", GONE)], False),
    ("fused:all-kept", [(f"{T}.0.outputs.artifacts.1.artifactGC", {"strategy": "Never"})], False),
    # ours
    ("retry-place", [(f"{T}.0.retryStrategy", {"limit": "2"})], False),
    ("retry-place", [("spec.templateDefaults", {"retryStrategy": {"limit": "2"}})], False),
    ("retry-pending", [(f"{T}.1.pendingTimeout", "5m")], False),
    ("retry-duration", [(f"{T}.1.retryStrategy.backoff.maxDuration", "5m")], False),
    ("user", [("spec.securityContext.runAsNonRoot", GONE)], False),
    ("user", [("spec.securityContext", GONE)], False),
    ("user", [(f"{T}.1.container.securityContext.privileged", True)], False),
    ("one-user", [(f"{T}.1.container.securityContext.runAsUser", 2000)], False),
    ("patient-data", [("spec.arguments.parameters.3", {"name": "PatientName"})], False),
    ("patient-data", [("spec.arguments.parameters.3", {"name": "mrn"})], False),
]  # fmt: skip


@cache
def compiled(fused: bool) -> dict[str, Any]:
    return compiler.compile_graph(project.graph(FOLDER / "ct-organs.yaml"), fused=fused).template


def changed(made: dict[str, Any], edits: list[Edit]) -> dict[str, Any]:
    """A copy with other values at `a.0.b`; a list takes one more behind its end."""
    made = copy.deepcopy(made)
    for path, value in edits:
        *before, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        holder: Any = made
        for step in before:
            holder = holder[step]
        if value is GONE:
            del holder[last]
        elif isinstance(holder, list) and last == len(holder):
            holder.append(value)
        else:
            holder[last] = value
    return made


def findings(text: str, *, strict: bool = False) -> tuple[Finding, ...]:
    found = Findings("x.yaml", strict=strict)
    check_text(text, found)
    return found.all


def argo_refuses(text: str, folder: Path) -> bool:
    file = folder / "x.yaml"
    file.write_text(text, encoding="utf-8")
    command = [str(ARGO), "lint", "--offline", str(file)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode != 0


def broken(code: str, edits: list[Edit]) -> tuple[str, str]:
    code = code.removeprefix("fused:") if (fused := code.startswith("fused:")) else code
    return code, compiler.as_yaml(changed(compiled(fused), edits))


def ids(value: object) -> str:
    return value if isinstance(value, str) else value[0][0] if isinstance(value, list) else ""


@pytest.mark.parametrize("code, edits, both", BROKEN, ids=ids)
def test_a_broken_file_is_found_by_its_rule_alone(code: str, edits: list[Edit], both: bool, tmp_path: Path) -> None:
    code, text = broken(code, edits)
    found = findings(text)
    assert {finding.code for finding in found} == {code}, [str(finding) for finding in found]
    for finding in found:
        assert finding.line and finding.column and finding.source == "x.yaml" and finding.hint
        assert re.match(r"(spec|metadata|apiVersion|status)\b[^:]*: .", finding.message), finding.message
    if ARGO:
        assert argo_refuses(text, tmp_path) == both


def test_every_rule_has_a_broken_file() -> None:
    sources = Path(package.__file__).parent.glob("*.py")
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    codes = set(re.findall(r'manifest\.(?:error|warning)\(\s*"([a-z-]+)"', text)) | {"entrypoint", "template"}
    assert len(codes) > 30 and codes - {"type", "field"} <= {code.removeprefix("fused:") for code, _, _ in BROKEN}


GOOD: list[list[Edit]] = [
    [],
    [(f"{T}.1.retryStrategy", GONE), (f"{T}.1.container.env", []), (f"{T}.1.pendingTimeout", "5m")],
    [(f"{T}.1.container.resources.requests.cpu", 2), (f"{T}.1.retryStrategy.limit", 2)],
    [("spec.arguments.parameters.0.value", 5)],
    [(f"{TASK}.2.depends", "ct-organ-seg && (dicom-reader.Succeeded || !dicom-reader.Failed)")],
    [(f"{TASK}.1.withItems", [1, "a"]), (f"{TASK}.1.when", "{{item}} != a")],
    [(f"{T}.1.container.image", "team/reader@sha256:" + "0" * 64)],
    [("metadata.creationTimestamp", None)],
    [
        (f"{T}.1.outputs.parameters", [{"name": "n", "globalName": "x", "valueFrom": {"path": "/app/output/n"}}]),
        (f"{T}.2.container.args", [TAG % "workflow.outputs.parameters.x", TAG % "pod.name"]),
    ],
]  # fmt: skip


@pytest.mark.parametrize("edits", GOOD, ids=lambda edits: edits[0][0] if edits else "as compiled")
def test_a_right_file_is_accepted_by_argo_and_by_us(edits: list[Edit], tmp_path: Path) -> None:
    text = compiler.as_yaml(changed(compiled(False), edits))
    assert findings(text) == ()
    if ARGO:
        assert not argo_refuses(text, tmp_path)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.argo.yaml")), ids=lambda path: path.name)
def test_golden_files_are_right(path: Path) -> None:
    assert check(path, strict=True) == ()


def test_the_small_workflow_is_right() -> None:
    made = compiler.compile_graph(project.graph(FOLDER / "ct-organs.yaml")).workflow
    assert findings(compiler.as_yaml(made)) == () == findings(compiler.as_json(made))
    assert findings(compiler.as_yaml(made | {"status": {"phase": "Running", "newer": 1}})) == ()


def test_places_are_those_of_the_file() -> None:
    text = compiler.as_yaml(changed(compiled(False), [("spec.entrypoint", "mian")]))
    (finding,) = findings(text)
    row = text.splitlines()[finding.line - 1]
    assert row[finding.column - 1 :] == "mian" and finding.message.startswith("spec.entrypoint: ")
    assert finding.hint == "did you mean 'main'?"


def test_several_documents_and_other_kinds() -> None:
    bad = compiler.as_yaml(changed(compiled(False), [("spec.entrypoint", "x")]))
    other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
    found = findings(f"{other}---\n{bad}---\n{compiler.as_yaml(compiled(True))}")
    assert [(one.code, one.level) for one in found] == [("kind", Level.NOTICE), ("entrypoint", Level.ERROR)]
    assert [one.code for one in findings(other)] == ["no-object", "kind"]
    assert [one.code for one in findings("---\n---\n- 1\n")] == ["no-object"]


@pytest.mark.parametrize(
    "plain, code", [("y", "type"), ("no", "type"), ("0o7", "type"), ("1e3", "type"), ("12:30", ""), ("2026-01-02", "")]
)
def test_plain_words_are_read_as_kubernetes_reads_them(plain: str, code: str, tmp_path: Path) -> None:
    marked = compiler.as_yaml(changed(compiled(False), [(f"{T}.1.container.workingDir", "PLAIN")]))
    text = marked.replace("workingDir: PLAIN", f"workingDir: {plain}")
    assert {one.code for one in findings(text)} == ({code} if code else set())
    if ARGO:
        assert argo_refuses(text, tmp_path) == bool(code)


def test_warnings_are_errors_when_strict() -> None:
    text = compiler.as_yaml(changed(compiled(False), [(f"{T}.1.container.image", "team/reader")]))
    assert [one.level for one in findings(text)] == [Level.WARNING]
    assert [one.level for one in findings(text, strict=True)] == [Level.ERROR]


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(path for key, one in pairs for path in paths(one, (*before, key)))]


VALUES = st.sampled_from(
    [GONE, None, "x", "", 7, -1, True, [], ["x"], {}, {"x": "y"}, [[]], "{{", "{{inputs.a}}", "{{=retries}}"]
)


@given(st.data(), st.booleans())
@settings(
    deadline=None,
    max_examples=150 if os.environ.get("CLARA_LONG") else 40,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_whatever_stands_in_a_file_is_a_finding_or_right(data: st.DataObject, fused: bool) -> None:
    made = copy.deepcopy(compiled(fused))
    for _ in range(2):
        path = data.draw(st.sampled_from([path for path in paths(made) if path]))
        holder: Any = made
        for step in path[:-1]:
            holder = holder[step]
        value = data.draw(VALUES)
        if value is GONE:
            del holder[path[-1]]
        else:
            holder[path[-1]] = copy.deepcopy(value)
    for finding in findings(json.dumps(made)):
        assert finding.hint and finding.code and "\n" not in finding.message


def test_what_is_no_yaml_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [", encoding="utf-8")
    assert [one.level for one in check(tmp_path / "x.yaml")] == [Level.ERROR]
    with pytest.raises(DefinitionError):
        findings("a: !!int x")
