"""Our own workflow form and stage.yaml: what is read, and every way in which it can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import examples

from clara_argo.errors import DefinitionError, Finding, Level
from clara_argo.formats import load, native, stage
from clara_argo.model.workflow import Image, Resources, StageSpec, Step, Workflow
from clara_argo.source import Findings, Text

ID = "7b413e24-d018-4689-8c41-73272f6649d4"
LISTS = f"""\
id: {ID}
name: user-workflow
stages: [dicom-reader, user-ai, dicom-writer]
waitLocks: ["", dicom-reader.lock, user-ai.lock]
ioFolders: [dicom-reader/input, dicom-reader/output, user-ai/output, dicom-writer/output]
args: ["", "--threshold 0.5", ""]
"""
LONG = f"""\
id: {ID}
name: user-workflow
stages:
  - name: dicom-reader
  - {{name: user-ai, input: dicom-reader/output, wait: dicom-reader.lock, args: --threshold 0.5}}
  - name: dicom-writer
    input: [user-ai/output]
    wait: [user-ai.lock]
"""


def only(text: str) -> Workflow:
    (workflow,), findings = load.workflows(text, "w.yaml")
    assert findings == ()
    return workflow


def refused(text: str) -> list[str]:
    """What is wrong with a text: `line:column code`, all of it."""
    with pytest.raises(DefinitionError) as caught:
        load.workflows(text, "w.yaml")
    assert all(finding.source == "w.yaml" and finding.message and finding.hint for finding in caught.value.findings)
    return [f"{finding.line}:{finding.column} {finding.code}" for finding in caught.value.findings]


def test_the_lists_are_read_entry_by_entry() -> None:
    workflow = only(LISTS)
    assert (workflow.id, workflow.name, workflow.dialect, workflow.source) == (ID, "user-workflow", "native", "w.yaml")
    assert workflow.steps == (
        Step(stage="dicom-reader", reads=("dicom-reader/input",)),
        Step(
            stage="user-ai",
            reads=("dicom-reader/output",),
            waits_for=("dicom-reader.lock",),
            args=("--threshold", "0.5"),
        ),
        Step(stage="dicom-writer", reads=("user-ai/output",), waits_for=("user-ai.lock",)),
    )
    assert workflow.results == ("dicom-writer/output",)
    lock = workflow.steps[1].waits_for[0]
    assert isinstance(lock, Text) and (lock.line, lock.column) == (4, 17)


def test_both_spellings_say_the_same() -> None:
    lists, long = only(LISTS), only(LONG)
    assert (long.id, long.name, long.steps, long.results) == (lists.id, lists.name, lists.steps, lists.results)


@pytest.mark.parametrize("text", [LISTS, LONG])
def test_secrets_for_the_registries_of_images(text: str) -> None:
    assert only(text + "pullSecrets: [registry-key, second.key]\n").pull_secrets == ("registry-key", "second.key")
    assert refused(text + "pullSecrets: [No_Name]\n") == [f"{len(text.splitlines()) + 1}:15 pull-secret"]
    assert refused(text + "pullSecrets: key\n") == [f"{len(text.splitlines()) + 1}:14 value"]


@pytest.mark.parametrize("text", [LISTS, LONG])
def test_a_description_may_have_several_lines(text: str) -> None:
    workflow = only(text + "description: |\n  A CT in.\n\n  A SEG out.\n")
    assert workflow.description == "A CT in.\n\nA SEG out."
    assert refused(text + "description: [x]\n") == [f"{len(text.splitlines()) + 1}:14 value"]


def test_json_is_read_as_well() -> None:
    import json

    value = {
        "id": ID,
        "name": "w",
        "stages": ["a", "b"],
        "waitLocks": ["", "a.lock"],
        "ioFolders": ["a/input", "a/output", "b/output"],
    }
    assert only(json.dumps(value, indent=2)).steps[1].waits_for == ("a.lock",)


def test_entries_may_be_lists() -> None:
    workflow = only(
        f"""\
id: {ID}
name: join
stages: [reader, liver, spleen, writer]
waitLocks: ["", reader.lock, [reader.lock], [liver.lock, spleen.lock]]
ioFolders: [reader/input, reader/output, reader/output, [liver/output, spleen/output], [writer/output, liver/output]]
"""
    )
    assert workflow.steps[3].waits_for == ("liver.lock", "spleen.lock")
    assert workflow.steps[3].reads == ("liver/output", "spleen/output")
    assert workflow.results == ("writer/output", "liver/output")


@pytest.mark.parametrize("args", ["[[--name, 'a b']]", "['--name ''a b''']", '["--name \\"a b\\""]'])
def test_args_are_split_as_a_shell_does_or_given_as_words(args: str) -> None:
    text = f"id: {ID}\nname: w\nstages: [a]\nioFolders: [a/input, a/output]\nargs: {args}\n"
    assert only(text).steps[0].args == ("--name", "a b")


def test_args_keep_what_a_shell_would_have_changed() -> None:
    text = f"id: {ID}\nname: w\nstages: [a]\nioFolders: [a/input, a/output]\nargs: ['$HOME; rm * | x']\n"
    assert only(text).steps[0].args == ("$HOME;", "rm", "*", "|", "x")


def test_several_workflows_in_a_file() -> None:
    second = LISTS.replace("7b41", "7b42").replace("user-workflow", "other")
    listed = "workflows:\n" + "".join("  - " + text.replace("\n", "\n    ").rstrip() + "\n" for text in (LISTS, second))
    for text in (f"{LISTS}---\n{second}", f"---\n{LISTS}---\n---\n{second}---\n", listed):
        workflows, findings = load.workflows(text)
        assert [workflow.name for workflow in workflows] == ["user-workflow", "other"] and not findings
        assert len({workflow.id for workflow in workflows}) == 2
        assert workflows[0].steps == workflows[1].steps


def test_an_unknown_key_is_kept_and_the_nearest_known_one_named() -> None:
    (workflow,), (finding,) = load.workflows(LISTS + "arg: {x: [1]}\n", "w.yaml")
    assert workflow.extra == {"arg": '{"x": ["1"]}'}
    assert (finding.level, finding.code, finding.where) == (Level.WARNING, "unknown-key", "w.yaml:7:1")
    assert "'args'" in finding.hint
    with pytest.raises(DefinitionError):
        load.workflows(LISTS + "arg: x\n", strict=True)


def change(old: str, new: str, text: str = LISTS) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (change(f"id: {ID}\n", ""), ["1:1 missing-key"]),
        (change("name: user-workflow\n", ""), ["1:1 missing-key"]),
        (change("name: user-workflow", "name:"), ["2:6 missing-key"]),
        (change("name: user-workflow", "name: [x]"), ["2:7 value"]),
        (change('["", dicom-reader.lock, user-ai.lock]', '["", dicom-reader.lock]'), ["4:12 count"]),
        (change("user-ai/output, ", ""), ["5:12 count"]),
        (change(', "--threshold 0.5", ""]', ', "--threshold 0.5"]'), ["6:7 count"]),
        (change("[dicom-reader, user-ai, dicom-writer]", "dicom-reader"), ["3:9 value"]),
        (change("user-ai, dicom-writer]", "[user-ai], dicom-writer]"), ["3:24 kind"]),
        (change("--threshold 0.5", "--threshold '0.5"), ["6:12 args"]),
        (change('"--threshold 0.5"', "{threshold: 0.5}"), ["6:12 kind"]),
        (change("dicom-reader/output", '""'), ["5:33 empty-folder"]),
        (change("dicom-reader/output", "[]"), ["5:33 empty-folder"]),
        (change("dicom-reader/output", "{a: b}"), ["5:33 kind", "5:33 empty-folder"]),
        (change("dicom-reader/output", "[a/output, [b]]"), ["5:44 kind"]),
        (LISTS + "---\n" + LISTS, ["8:5 duplicate-id", "9:7 duplicate-name"]),
        (LISTS + "---\n" + LISTS.replace("-", "").replace("userworkflow", "w").upper().replace("ID:", "id:"), None),
        ("workflows: []\n", ["1:1 no-workflow"]),
        (change("wait: dicom-reader.lock", "wait: {a: b}", LONG), ["5:55 kind"]),
        (change("input: dicom-reader/output, ", "", LONG), ["5:5 missing-key"]),
        (change("  - name: dicom-reader\n", "  - dicom-reader\n", LONG), ["4:5 kind", "4:5 missing-key"]),
        (change("  - name: dicom-reader\n", "  - input: x/output\n", LONG), ["4:5 missing-key"]),
        (LONG + "waitLocks: []\n", []),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text: str, expected: list[str] | None) -> None:
    if expected == []:
        _, findings = load.workflows(text, "w.yaml")
        assert [finding.code for finding in findings] == ["unknown-key"]
    elif expected is None:
        assert "duplicate-id" in {line.split()[1] for line in refused(text)}
    else:
        assert refused(text) == expected


def test_everything_is_said_at_once() -> None:
    text = LISTS.replace(f"id: {ID}\n", "").replace("user-ai.lock]", "user-ai.lock, x]").replace("0.5", "'")
    assert refused(text) == ["1:1 missing-key", "3:12 count", "5:12 args"]


OTHERS = {
    "adapter": "ae-title: X\nroutes: []\n",
    "adapter, article": "ae-titles: []\nworkflows: []\n",
    "adapter, as printed": f"name: x\n     clara-ae-title: CT_AI\n     workflow: {ID}\n",
    "adapter, 0.7": '{"DicomAdapter": {}}',
    "MONAI": '{"name": "x", "informatics_gateway": {}, "tasks": []}',
    "MONAI, wrapped": '{"id": "x", "workflow": {"informatics_gateway": {}, "tasks": []}}',
    "MAP": '{"command": "x", "input": {}, "output": {}}',
    "MAP package": '{"applicationRoot": "/opt"}',
    "mercure": '{"rules": {}, "targets": {}, "modules": {}}',
    "stage": "stageName: x\nimage: {}\n",
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_other_files_are_refused_by_name(text: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        load.workflows(text)
    (finding,) = caught.value.findings
    assert (
        finding.code in ("dialect", "adapter-configuration") and finding.message.startswith("this is ") and finding.hint
    )


@pytest.mark.parametrize("text", ["", "x", "[1, 2]", "a: b", "5"])
def test_a_file_that_is_nothing_known_says_what_was_looked_for(text: str) -> None:
    with pytest.raises(DefinitionError, match="ioFolders"):
        load.workflows(text)


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary()))
def test_any_text_raises_only_our_error(text: str | bytes) -> None:
    try:
        load.workflows(text)
    except DefinitionError as error:
        assert error.findings


WORDS = st.sampled_from(
    [
        *sorted(native.KEYS),
        *sorted(native.LONG_KEYS),
        *sorted(native.STAGE_KEYS),
        "workflows",
        "a",
        "a/output",
        "a.lock",
        ID,
        "",
        "'",
    ]
)


def containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=6))


VALUES: st.SearchStrategy[object] = st.recursive(WORDS, containers, max_leaves=20)


@settings(deadline=None, max_examples=examples(300))
@given(st.dictionaries(WORDS, VALUES, max_size=7))
def test_any_shape_raises_only_our_error(value: dict[str, object]) -> None:
    import json

    try:
        load.workflows(json.dumps(value))
    except DefinitionError as error:
        assert error.findings


# stage.yaml

STAGE = """\
stageName: user-ai
image: {repository: registry.example/user-ai, tag: "1.2"}
command: [python3, main.py]
mount: {in: {name: images}, out: {name: masks}}
appDir: /opt/app
inputs: in
outputs: out/labels
inputLock: /opt/app/locks/go.lock
lockDir: /opt/app/locks
lockName: ai.lock
logName: /opt/app/logs/ai.log
timeout: 0450
retries: 0
study: true
publish: on
resources: {cpu: 500m, memory: 4Gi, gpu: 1}
env: {OMP_NUM_THREADS: "2", EMPTY: ""}
models: [ct-organs]
takes: volume
gives: [labels, measures]
inputPaths: [/input, /dcm]
outputPaths: {"": /output, seg_1: /seg}
"""


def read_stage(text: str, name: str = "user-ai") -> tuple[StageSpec, tuple[Finding, ...]]:
    findings = Findings("stage.yaml")
    spec = stage.read(text, "stage.yaml", Path("/p/stages") / name, findings)
    return spec, findings.check()


def test_a_stage_with_every_key() -> None:
    spec, findings = read_stage(STAGE)
    assert findings == ()
    assert spec == StageSpec(
        name="user-ai",
        image=Image(repository="registry.example/user-ai", tag="1.2"),
        command=("python3", "main.py"),
        app_dir="/opt/app",
        inputs="in",
        outputs="out/labels",
        input_lock="/opt/app/locks/go.lock",
        lock_dir="/opt/app/locks",
        lock_name="ai.lock",
        log_name="/opt/app/logs/ai.log",
        mount_in="images",
        mount_out="masks",
        timeout=450,
        retries=0,
        study=True,
        publish=True,
        resources=Resources(cpu="500m", memory="4Gi", gpu=1),
        env={"OMP_NUM_THREADS": "2", "EMPTY": ""},
        models=("ct-organs",),
        takes=("volume",),
        gives=("labels", "measures"),
        input_paths=("/input", "/dcm"),
        output_paths={"": "/output", "seg_1": "/seg"},
        folder=Path("/p/stages/user-ai"),
    )
    assert spec.lock == "ai.lock"


def test_a_stage_that_says_little_has_the_defaults() -> None:
    spec, findings = read_stage("command: [sh, run.sh]\n")
    assert spec == StageSpec(name="user-ai", command=("sh", "run.sh"), folder=Path("/p/stages/user-ai"))
    assert (spec.timeout, spec.retries, spec.lock, findings) == (300, 2, "user-ai.lock", ())


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{repository: r/x, tag: 1_0}", "r/x:1_0"),
        ("{repository: r/x, tag: 20.10}", "r/x:20.10"),
        ("{repository: 'r:5000/x'}", "r:5000/x"),
        ("{repository: r/x, digest: 'sha256:0123'}", "r/x@sha256:0123"),
        ("'r:5000/x:1.0'", "r:5000/x:1.0"),
        ("'r:5000/x'", "r:5000/x"),
        ("r/x@sha256:0123", "r/x@sha256:0123"),
    ],
)
def test_images(written: str, expected: str) -> None:
    spec, findings = read_stage(f"image: {written}\n")
    assert str(spec.image) == expected and findings == ()
    assert spec.image.repository == expected.partition("@")[0].removesuffix(":" + spec.image.tag)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("stageName: other", "stage-name"),
        ("command: python3 main.py", "value"),
        ("command: []", "value"),
        ("command: ['']", "value"),
        ("command: [[a]]", "kind"),
        ("timeout: 0", "value"),
        ("timeout: -1", "value"),
        ("timeout: 5m", "value"),
        ("timeout: 1_0", "value"),
        ("timeout: 99999999999999999999999", "value"),
        ("timeout: ٣", "value"),
        ("timeout: [3]", "value"),
        ("retries: -1", "value"),
        ("retries: 1.5", "value"),
        ("study: maybe", "value"),
        ("resources: {cpu: 0}", "value"),
        ("resources: {cpu: two}", "value"),
        ("resources: {cpu: 1Gi}", "value"),
        ("resources: {memory: 4 GB}", "value"),
        ("resources: {memory: 0Gi}", "value"),
        ("resources: {gpu: 0.5}", "value"),
        ("resources: 3", "kind"),
        ("env: {1A: x}", "env"),
        ("env: {A-B: x}", "env"),
        ("env: {CLARA_INPUT: x}", "env"),
        ("env: {NGC_API_KEY: x}", "secret"),
        ("env: {CLARA_TRITON_URL: 'grpc://triton:8001'}", "value"),
        ("env: {CLARA_TRITON_URL: triton}", "value"),
        ("env: {A: [x]}", "value"),
        ("env: [A]", "kind"),
        ("image: {repository: r, tag: '1', digest: 'sha256:0'}", "image"),
        ("image: {tag: '1'}", "image"),
        ("image: [r]", "kind"),
        ("appDir: app", "value"),
        ("appDir: /app/../etc", "value"),
        ("inputs: ../input", "value"),
        ("outputs: /output", "value"),
        ("lockName: a/b", "value"),
        ("lockName: '..'", "value"),
        ("models: ct-organs", "value"),
        ("takes: DICOM", "value"),
        ("takes: {a: b}", "value"),
        ("gives: [a b]", "value"),
        ("gives: [[a]]", "kind"),
        ("inputPaths: /input", "value"),
        ("inputPaths: [input]", "value"),
        ("inputPaths: [/a/../b]", "value"),
        ("inputPaths: [/]", "value"),
        ("outputPaths: [/output]", "kind"),
        ("outputPaths: {seg: output}", "value"),
        ("outputPaths: {a/b: /output}", "value"),
        ("outputPaths: {seg: [/output]}", "value"),
    ],
)
def test_what_is_wrong_in_a_stage(line: str, code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        read_stage(line + "\n")
    assert {finding.code for finding in caught.value.findings} == {code}
    assert all(finding.line == 1 and "user-ai" in finding.message and finding.hint for finding in caught.value.findings)


def test_everything_wrong_in_a_stage_is_said_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        read_stage("timeout: 0\nretries: x\nresources: {cpu: a, memory: b}\nimage: {tag: '1'}\n")
    assert [finding.line for finding in caught.value.findings] == [1, 2, 3, 3, 4]


def test_unknown_keys_of_a_stage_are_kept() -> None:
    spec, findings = read_stage("timeOut: 3\nresources: {memmory: 1Gi}\nshm: {size: 1Gi}\n")
    assert spec.extra == {"timeOut": "3", "shm": '{"size": "1Gi"}'}
    assert [finding.code for finding in findings] == ["unknown-key"] * 3
    assert ["timeout" in findings[0].hint, "memory" in findings[1].hint] == [True, True]


@settings(deadline=None, max_examples=examples(200))
@given(st.dictionaries(st.sampled_from(sorted(stage.KEYS)), VALUES))
def test_any_stage_raises_only_our_error(value: dict[str, object]) -> None:
    import json

    try:
        read_stage(json.dumps(value))
    except DefinitionError as error:
        assert error.findings
