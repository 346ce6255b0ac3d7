"""The early-access values.yaml: the article's fragments as printed, their repairs, and what is beyond repair."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import examples

from clara_argo.errors import DefinitionError, Level
from clara_argo.formats import load
from clara_argo.graph import Graph
from clara_argo.model.workflow import StageSpec, Workflow

ID = "7b413e24-d018-4689-8c41-73272f6649d4"
STAGE = """\
stages:
    ##BEGIN_ai-vnet##
        ai-vnet:
            image:
                repository: ai-vnet
                tag: latest
        mount:
            in:
                name: "input"
            out:
                name: "output"
        stageName: "ai-vnet"
        appDir: "/app"
        inputLock: "/app/locks/input.lock"
        inputs: "input"
        logName: "/app/logs/ai-vnet.log"
        outputs: "output"
        lockDir: "/app/locks"
        lockName: "ai-vnet.lock"
        timeout: "300"
    ##END_ai-vnet##
"""
WORKFLOW = """\
 7b413e24-d018-4689-8c41-73272f6649d4
 name: "user-workflow"
 stages: ["dicom-reader", "user-ai", "dicom-writer"]
 waitLocks: ["", "dicom-reader.lock", "user-ai.lock"]
 ioFolders: ["dicom-reader/input", "dicom-reader/output", "user-ai/output", "dicom-writer/output"]
 args: ["", "", ""]
"""
SPECS = {name: StageSpec(name=name) for name in ("dicom-reader", "user-ai", "dicom-writer", "ai-vnet")}


def read(text: str) -> tuple[tuple[Workflow, ...], list[str]]:
    """The workflows, and warnings as `line:column code`."""
    workflows, findings = load.workflows(text, "values.yaml")
    assert all(finding.level is not Level.ERROR and finding.source == "values.yaml" for finding in findings)
    return workflows, [f"{f.line}:{f.column} {f.code}" for f in findings if f.level is Level.WARNING]


def refused(text: str, *, strict: bool = False) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        load.workflows(text, "values.yaml", strict=strict)
    return [f"{finding.line}:{finding.column} {finding.code}" for finding in caught.value.findings]


def nodes(workflow: Workflow) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    graph = Graph.of(workflow, {**SPECS, **{spec.name: spec for spec in workflow.stages}})
    return [(node.name, node.inputs, node.waits_for) for node in graph.nodes]


REFERENCE = [
    ("dicom-reader", ("",), ()),
    ("user-ai", ("dicom-reader",), ("dicom-reader",)),
    ("dicom-writer", ("user-ai",), ("user-ai",)),
]


def indented(text: str, by: int = 4) -> str:
    return "".join(" " * by + line for line in text.splitlines(keepends=True))


def proper() -> str:
    """The workflow block as YAML would have it: the id as a key, the others below it."""
    first, rest = WORKFLOW.split("\n", 1)
    return f"{first}:\n{indented(rest, 3)}"


FORMS = {
    "as printed": (WORKFLOW, ["1:2 R2"]),
    "not indented": (WORKFLOW.replace("\n ", "\n").lstrip(), ["1:1 R2"]),
    "with a colon": (WORKFLOW.replace(ID, ID + ":"), ["1:2 R2"]),
    "indented, no colon": (WORKFLOW.replace("\n ", "\n    "), ["1:2 R2"]),
    "indented and a colon": (proper(), []),
    "quoted": (WORKFLOW.replace(ID, f'"{ID}"'), ["1:3 R2"]),
    "dash": (WORKFLOW.replace(ID, f"- {ID}").replace("\n ", "\n   "), ["1:4 R2"]),
    "32 digits": (WORKFLOW.replace(ID, ID.replace("-", "")), ["1:2 R2"]),
    "comment behind": (WORKFLOW.replace(ID, ID + "  # ours"), ["1:2 R2"]),
    "CRLF": (WORKFLOW.replace("\n", "\r\n"), ["1:2 R2"]),
    "CR": (WORKFLOW.replace("\n", "\r"), ["1:2 R2"]),
    "below workflows": ("workflows:\n" + WORKFLOW, ["2:2 R2"]),
    "below workflows, proper": ("workflows:\n" + proper(), []),
    "both fragments": (STAGE + "workflows:\n" + WORKFLOW, ["7:9 R1", "23:2 R2"]),
    "workflow first": ("workflows:\n" + WORKFLOW + STAGE, ["2:2 R2", "14:9 R1"]),
    "workflow first, same indent": (WORKFLOW.replace("\n ", "\n").lstrip() + STAGE, ["1:1 R2", "13:9 R1"]),
    "comments and blank lines": (WORKFLOW.replace("\n ", "\n\n# note\n "), ["1:2 R2"]),
    "plain YAML list": ("stages: {}\nworkflows:\n  - id: " + WORKFLOW.strip().replace("\n", "\n   "), []),
}


@pytest.mark.parametrize(("text", "warnings"), FORMS.values(), ids=FORMS)
def test_every_form_gives_the_reference_graph(text: str, warnings: list[str]) -> None:
    (workflow,), found = read(text)
    assert workflow.id.replace("-", "") == ID.replace("-", "")
    assert (workflow.name, workflow.dialect) == ("user-workflow", "early-access")
    assert nodes(workflow) == REFERENCE and workflow.results == ("dicom-writer/output",)
    assert found == warnings


@pytest.mark.parametrize(("text", "warnings"), FORMS.values(), ids=FORMS)
def test_strict_makes_a_repair_an_error(text: str, warnings: list[str]) -> None:
    if warnings:
        assert [line for line in refused(text, strict=True) if line in warnings] == warnings
    else:
        load.workflows(text, strict=True)


def test_the_stage_block_as_printed() -> None:
    (workflow,), _ = read(STAGE + WORKFLOW)
    (spec,) = workflow.stages
    assert (spec.name, str(spec.image), spec.timeout, spec.lock) == ("ai-vnet", "ai-vnet:latest", 300, "ai-vnet.lock")
    assert (spec.app_dir, spec.inputs, spec.outputs, spec.log_name) == (
        "/app",
        "input",
        "output",
        "/app/logs/ai-vnet.log",
    )
    assert spec.extra == {}


def test_a_file_with_stage_definitions_only() -> None:
    workflows, warnings = read(STAGE)
    assert workflows == () and warnings == ["7:9 R1"]


def test_two_stages_between_markers_do_not_mix() -> None:
    second = STAGE.replace("stages:\n", "").replace("ai-vnet", "recon").replace('"300"', '"60"')
    (workflow,), warnings = read(STAGE + second + WORKFLOW)
    assert [(spec.name, spec.timeout, spec.lock_name) for spec in workflow.stages] == [
        ("ai-vnet", 300, "ai-vnet.lock"),
        ("recon", 60, "recon.lock"),
    ]
    assert warnings == ["7:9 R1", "27:9 R1", "42:2 R2"]


def test_two_workflows() -> None:
    other = WORKFLOW.replace("7b41", "7b42").replace("user-workflow", "other")
    workflows, warnings = read("workflows:\n" + WORKFLOW + other)
    assert [workflow.name for workflow in workflows] == ["user-workflow", "other"]
    assert [nodes(workflow) for workflow in workflows] == [REFERENCE, REFERENCE]
    assert warnings == ["2:2 R2", "8:2 R2"]


def without_markers(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if "##" not in line)


def test_keys_beside_the_only_stage_belong_to_it_without_markers_too() -> None:
    (workflow,), warnings = read(without_markers(STAGE) + "workflows:\n" + proper())
    assert (workflow.stages[0].name, workflow.stages[0].lock_name) == ("ai-vnet", "ai-vnet.lock")
    assert warnings == ["6:9 R1"]


def test_keys_beside_two_stages_cannot_be_told_apart() -> None:
    text = without_markers(STAGE).replace("        mount:", "        other:\n            image: x\n        mount:")
    assert "8:9 R1" in refused(text + "workflows:\n" + proper())
    with pytest.raises(DefinitionError, match="cannot tell whose keys these are; .*##BEGIN_x##"):
        load.workflows(text)


def test_proper_stages_need_no_repair() -> None:
    text = "stages:\n  a: {image: {repository: r}, lockName: x.lock}\n  b:\n    timeout: 5\nworkflows:\n" + proper()
    (workflow,), warnings = read(text)
    assert [(spec.name, spec.lock, spec.timeout) for spec in workflow.stages] == [
        ("a", "x.lock", 300),
        ("b", "b.lock", 5),
    ]
    assert warnings == []


def test_several_locks_in_one_entry() -> None:
    for entry in ('"a.lock, b.lock"', '"a.lock b.lock"', '"a.lock;b.lock"', '["a.lock", "b.lock"]'):
        text = WORKFLOW.replace('"user-ai.lock"', entry)
        (workflow,), _ = read(text)
        assert workflow.steps[2].waits_for == ("a.lock", "b.lock")


@pytest.mark.parametrize(
    "args",
    [f"args:\n- {ID}\n- ''\n", f"args:\n  - ''\n  - {ID}\n", f"args: [\n  '',\n  {ID}\n]\n", f"args: ['', {ID}]\n"],
)
def test_an_id_among_the_arguments_begins_no_workflow(args: str) -> None:
    head = f"id:\n  {ID}\nname: w\nstages: [a, b]\nwaitLocks: ['', a.lock]\n"
    folders = "ioFolders: [a/input, a/output, b/output]\n"
    for text in (head + args + folders, head + folders + args):
        (workflow,), warnings = read(text)
        assert (workflow.id, workflow.dialect, warnings) == (ID, "native", [])
        assert ID in workflow.steps[0].args + workflow.steps[1].args


def test_short_arguments_are_filled_up() -> None:
    for args in ('args: ["", "-x 1"]', "args:", "args: []"):
        (workflow,), warnings = read(WORKFLOW.replace('args: ["", "", ""]', args))
        assert len(workflow.steps) == 3 and workflow.steps[2].args == ()
        assert any(line.endswith("args-short") for line in warnings)
    (workflow,), warnings = read(WORKFLOW.replace(' args: ["", "", ""]\n', ""))
    assert workflow.steps[0].args == () and len(warnings) == 2


REFUSED = {
    "no END": (STAGE.replace("    ##END_ai-vnet##\n", "") + WORKFLOW, "2:5 marker"),
    "no BEGIN": (STAGE.replace("    ##BEGIN_ai-vnet##\n", "") + WORKFLOW, "20:5 marker"),
    "END of another": (STAGE.replace("##END_ai-vnet##", "##END_recon##") + WORKFLOW, "21:5 marker"),
    "BEGIN twice": (STAGE.replace("stages:\n", "stages:\n    ##BEGIN_a##\n") + WORKFLOW, "2:5 marker"),
    "marker of another name": (STAGE.replace("_ai-vnet##", "_recon##") + WORKFLOW, "3:9 marker"),
    "half a marker": (STAGE.replace("##END_ai-vnet##", "##END_ai-vnet") + WORKFLOW, "21:5 marker"),
    "empty block": ("stages:\n  ##BEGIN_a##\n  ##END_a##\n" + WORKFLOW, "2:3 marker"),
    "other stageName": (STAGE.replace('stageName: "ai-vnet"', 'stageName: "x"') + WORKFLOW, "12:20 stage-name"),
    "a key twice": (STAGE.replace("tag: latest\n", "tag: latest\n            timeout: 3\n"), "21:9 duplicate-key"),
    "a stage twice": (STAGE + STAGE.replace("stages:\n", "") + WORKFLOW, "23:9 duplicate-stage"),
    "an id twice": (WORKFLOW + WORKFLOW.replace("user-workflow", "x"), "7:2 duplicate-id"),
    "a name twice": (WORKFLOW + WORKFLOW.replace("7b41", "7b42"), "8:8 duplicate-name"),
    "nothing below the id": (f"{ID}\n", "1:1 no-workflow"),
    "tab": (WORKFLOW.replace("\n name", "\n\tname"), "2:1 tab"),
    "tab behind blanks": (STAGE.replace("            image", "    \timage"), "4:5 tab"),
    "too many locks": (WORKFLOW.replace('["", "dicom', '["", "", "dicom'), "4:13 count"),
    "too few folders": (WORKFLOW.replace('"user-ai/output", ', ""), "5:13 count"),
    "bad YAML in a block": (STAGE.replace("tag: latest", "tag: [latest"), "7:14 yaml"),
    "text among the sections": (STAGE + "junk\n", "22:1 yaml"),
    "bad time": (STAGE.replace('"300"', '"5 min"'), "20:18 value"),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_repaired_is_refused_with_its_place(text: str, expected: str) -> None:
    found = refused(text)
    assert expected in found, found


def test_of_a_block_that_is_no_yaml_only_that_is_said() -> None:
    """What it seems to lack is in it."""
    assert refused(WORKFLOW.replace('"", "", ""]', '"", ""')) == ["1:2 R2", "6:8 yaml"]
    assert refused(WORKFLOW.replace("stages: ", "stages:\xa0")) == ["1:2 R2", "3:9 blank"]


def test_a_folder_read_without_its_lock_is_repair_r7() -> None:
    (workflow,), _ = read(WORKFLOW.replace('"user-ai.lock"', '""'))
    graph = Graph.of(workflow, SPECS)
    assert [(node.name, node.inputs, node.waits_for) for node in graph.nodes] == REFERENCE
    (finding,) = graph.findings
    assert (finding.level, finding.code, finding.line, finding.column) == (Level.WARNING, "R7", 5, 59)
    assert "user-ai.lock" in finding.message and "user-ai.lock" in finding.hint
    with pytest.raises(DefinitionError, match="R7"):
        Graph.of(workflow, SPECS, strict=True)


def test_a_stage_may_not_wait_for_one_behind_it() -> None:
    text = WORKFLOW.replace('["", "dicom-reader.lock"', '["dicom-writer.lock", "dicom-reader.lock"')
    (workflow,), _ = read(text)
    with pytest.raises(DefinitionError, match="comes after it"):
        Graph.of(workflow, SPECS)


LINES = [
    *STAGE.splitlines(),
    *WORKFLOW.splitlines(),
    ID + ":",
    "workflows:",
    "  x",
    "- a",
    "",
    "##END_x##",
    "---",
    "\t",
]


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(st.sampled_from(LINES), max_size=25))
def test_any_order_of_lines_raises_only_our_error(lines: list[str]) -> None:
    try:
        load.workflows("\n".join(lines))
    except DefinitionError as error:
        assert error.findings


@settings(deadline=None, max_examples=examples(300))
@given(st.integers(0, len(STAGE + WORKFLOW)), st.integers(0, 40), st.text(max_size=5))
def test_any_damage_raises_only_our_error(at: int, cut: int, put: str) -> None:
    text = STAGE + WORKFLOW
    try:
        load.workflows(text[:at] + put + text[at + cut :])
    except DefinitionError as error:
        assert error.findings
