"""Pipelines of operators (Clara Deploy 0.2 to 0.7): what they become, what is repaired, refused, and never raised."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from clara_argo import project
from clara_argo.cli import main
from clara_argo.compile import compile_graph
from clara_argo.compile.check import check_text
from clara_argo.compile.text import as_yaml
from clara_argo.errors import DefinitionError, Level
from clara_argo.formats import load, operators
from clara_argo.formats.fields import Fields
from clara_argo.formats.keys import Fate
from clara_argo.formats.operators import imports, table
from clara_argo.graph import Graph
from clara_argo.migrate import written
from clara_argo.migrate.text import kept
from clara_argo.model.workflow import StageSpec, Workflow
from clara_argo.source import Findings, Node, Text

FOLDER = Path(__file__).parent / "operators"
VALUES: Mapping[str, Mapping[str, str]] = {
    "0.2": {},
    "0.3": {"CLARA_TRITON_URL": "triton.example:8001"},
    "0.4": {"site-name": "north", "THRESHOLD": "0.25"},
    "0.5": {},
    "0.6": {"CLARA_TRITON_URL": "triton.example:8001"},
    "0.7": {"CLARA_TRITON_URL": "triton.example:8001"},
}
NAMES = sorted({word.removesuffix("[]") for key in operators.TABLE for word in key.path.split(".")} - {"*"})
JOB = "0123456789abcdef0123456789abcdef"
HEAD = "api-version: 0.4.0\nname: p\noperators:\n"
A = "- {name: a, container: {image: x/a, tag: 1, command: [/a]}, input: [{path: /input}], output: [{path: /output}]}\n"


def one(text: str, folder: Path | None = None, values: Mapping[str, str] | None = None) -> Workflow:
    """The workflow of a text that has no errors."""
    findings = Findings("p.yaml")
    (workflow,) = load.collect(text, findings, folder=folder, values=values)
    findings.check()
    return workflow


def found(text: str, folder: Path | None = None, values: Mapping[str, str] | None = None) -> list[str]:
    """What is said of a text that is more than a notice: `line:column code`."""
    findings = Findings("p.yaml")
    try:
        load.collect(text, findings, folder=folder, values=values)
        said = findings.all
    except DefinitionError as error:
        said = error.findings
    assert all(finding.message and finding.source for finding in said)
    return [f"{finding.line}:{finding.column} {finding.code}" for finding in said if finding.level is not Level.NOTICE]


def notices(text: str, values: Mapping[str, str] | None = None) -> list[str]:
    findings = Findings("p.yaml")
    load.collect(text, findings, values=values)
    return [f"{finding.line} {finding.code}" for finding in findings.all if finding.level is Level.NOTICE]


def stage(text: str, name: str = "a", values: Mapping[str, str] | None = None) -> StageSpec:
    return next(spec for spec in one(text, values=values).stages if spec.name == name)


def operator(**keys: str) -> str:
    """A pipeline of operator a; keys in place of its own, each in the form of a line."""
    usual = {
        "container": "{image: x/a, tag: 1, command: [/a]}",
        "input": "[{path: /input}]",
        "output": "[{path: /output}]",
    }
    lines = [f"  {key}: {value}" for key, value in (usual | keys).items()]
    return HEAD + "- name: a\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("version", VALUES)
def test_golden(version: str) -> None:
    graph = project.graph(FOLDER / f"{version}.yaml", values=VALUES[version])
    parts = [as_yaml(written.workflow(graph)) + kept(graph.workflow.extra)]
    parts += [as_yaml(written.stage(spec)) + kept(spec.extra) for spec in graph.workflow.stages]
    text = "---\n".join(parts)
    golden = FOLDER / f"{version}.ours"
    if os.environ.get("CLARA_REGENERATE"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("version", VALUES)
def test_who_only_looks_needs_no_values(version: str) -> None:
    assert not project.has_errors(project.check(FOLDER / f"{version}.yaml"))


# folders


def test_a_join_reads_in_the_order_of_its_paths() -> None:
    graph = project.graph(FOLDER / "0.2.yaml")
    join = graph.node("join")
    assert [(read.stage, read.folder, read.path) for read in join.reads] == [
        ("lung", "", "/lung"), ("Heart_v2", "masks", "/heart"), ("", "", "/dcm"),
    ]  # fmt: skip
    assert join.waits_for == ("lung", "Heart_v2")
    assert graph.results == ("join",)


def test_the_id_is_that_of_the_name() -> None:
    assert one(HEAD + A).id == one(HEAD.replace("0.4.0", "0.2.0") + A.replace("/output", "/out")).id
    assert one(HEAD + A).id != one(HEAD.replace("name: p", "name: q") + A).id


def test_without_results_that_are_registered_every_end_is_a_result() -> None:
    more = "".join(
        A.replace("name: a", f"name: {name}").replace("{path: /input}", "{from: a, path: /input}") for name in "bc"
    )
    assert one(HEAD + A + more).results == ("b/output", "c/output")


def test_clara_does_not_tell_capitals_apart() -> None:
    workflow = one(HEAD + A + A.replace("name: a", "name: b").replace("{path: /input}", "{from: A, path: /input}"))
    assert workflow.steps[1].reads == ("a/output",)
    read = workflow.steps[1].reads[0]
    assert isinstance(read, Text) and (read.source, read.line) == ("p.yaml", 5)
    named = A.replace("{path: /output}", "{path: /output, name: Seg}")
    (step,) = one(HEAD + named + LAST.replace("IN", "{from: a, name: sEG, path: /i}")).steps[1:]
    assert step.reads == ("a/output/Seg",)


def test_nvidias_writer_is_ours_and_gets_the_study() -> None:
    graph = project.graph(FOLDER / "0.4.yaml", values=VALUES["0.4"])
    writer = graph.node("dicom-writer")
    assert writer.spec.study and writer.spec.command == ("python3", "main.py") and writer.inputs == ("ai-lung",)
    assert writer.spec.env["NVIDIA_SEG_LABELS"] == '["Lung-seg"]'


WRITER = (
    "- name: w\n  container: {image: nvcr.io/nvidia/clara/dicom-seg-writer, tag: 1}\n"
    "  input: [{from: a, path: /input}]\n"
    "  output: [{path: /output, name: dicom}, {path: /logs, name: logs}]\n"
)
LAST = "- {name: z, container: {image: x/z, tag: 1, command: [/z]}, input: [IN], output: [{path: /o}]}\n"


def test_nvidias_writer_is_ours_also_with_a_folder_for_its_logs() -> None:
    workflow = one(HEAD + A + WRITER + LAST.replace("IN", "{from: w, name: DICOM, path: /i}"))
    assert [spec.image.repository for spec in workflow.stages] == ["x/a", "dicom-writer", "x/z"]
    assert workflow.steps[2].reads == ("w/output",)
    assert notices(HEAD + A + WRITER) == ["5 known-operator", "8 known-operator"]
    assert found(HEAD + A + WRITER + LAST.replace("IN", "{from: w, name: logs, path: /i}")) == ["9:85 unknown-output"]
    assert found(HEAD + A + WRITER + LAST.replace("IN", "{from: w, name: dcm, path: /i}")) == ["9:85 unknown-output"]


def test_of_a_writer_with_two_folders_ours_is_none() -> None:
    text = HEAD + A + WRITER.replace("/logs", "/reports")
    assert one(text).stages[1].image.repository == "nvcr.io/nvidia/clara/dicom-seg-writer"
    assert notices(text) == ["8 known-operator"]


@pytest.mark.parametrize(
    "image",
    ["registry.example/clara/dicom-reader", "nvcr.io/nvidia/dicom-reader", "me/dicom-reader", "x/clara/y/dicom-reader"],
)
def test_an_image_of_somebody_else_stays(image: str) -> None:
    spec = stage(operator(container=f"{{image: {image}, tag: 1, command: [/a]}}"))
    assert (spec.image.repository, spec.command) == (image, ("/a",))


def test_a_stream_is_a_folder() -> None:
    text = operator(input="[{path: /i, type: stream, element-type: dicom}]", output="[{path: /o, type: Stream}]")
    assert found(text) == [] and notices(text) == ["6 fastio", "7 fastio"]
    assert stage(text).input_paths == ("/i",)


# values


def test_a_value_that_is_given_goes_before_the_default() -> None:
    text = "parameters: {N: 1}\n" + operator(container="{image: x/a, tag: '${{N}}', command: [/a, '${{ N }}${{N}}']}")
    assert stage(text).command == ("/a", "11")
    spec = stage(text, values={"N": "${{N}}2"})
    assert spec.command == ("/a", "${{N}}2${{N}}2")  # put in once, not read again


def test_the_name_of_a_parameter_has_no_capitals() -> None:
    text = "parameters: {Site-Name: 1}\n" + operator(
        container="{image: x/a, tag: 1, command: [/a, '${{ SITE-name }}', '${{job_id}}']}"
    )
    assert stage(text).command == ("/a", "1", "${{JOB_ID}}")
    assert stage(text, values={"site-NAME": "2"}).command[1] == "2"
    assert found(text.replace("1}", "1, site-name: 2}", 1)) == ["1:28 duplicate-key"]


def test_a_parameter_without_a_value_is_an_error_for_who_runs() -> None:
    text = "parameters: {N: }\n" + operator(container="{image: x/a, tag: 1, command: [/a, '${{N}}']}")
    assert notices(text) == ["6 parameter"] and found(text) == []
    assert found(text, values={}) == ["6:49 parameter"]
    assert found(text, values={"N": ""}) == []
    assert found(text, values={"M": "1", "N": "1"}) == ["0:0 parameter"]


def test_a_file_of_another_kind_has_no_parameters() -> None:
    text = "id: 7b413e24-d018-4689-8c41-73272f6649d4\nname: w\nstages: [a]\nioFolders: [a/input, a/output]\n"
    assert found(text, values={"N": "1"}) == ["1:1 parameter"]


def test_variables_of_the_container() -> None:
    spec = stage(
        operator(
            container="{image: x/a, tag: 1, command: [/a, $(ONE), $$(ONE), $(CLARA_OUTPUT), $(date), $]}",
            variables="{ONE: 1, TWO: $(ONE)$(ONE), RUN: '${{JOB_ID}}'}",
        )
    )
    assert spec.command == ("/a", "1", "$(ONE)", "${{CLARA_OUTPUT}}", "$(date)", "$")
    assert spec.env == {"ONE": "1", "TWO": "11", "RUN": "${{JOB_ID}}"}


def test_values_cannot_make_a_text_without_end() -> None:
    text = "parameters: {N: " + "x" * 100_000 + "}\n" + operator(variables="{A: '" + "${{N}}" * 10_000 + "'}")
    assert found(text) == ["9:18 too-large"]
    text = operator(
        container="{image: x/a, tag: 1, command: [" + "$(N)" * 10_000 + "]}", variables="{N: " + "x" * 100_000 + "}"
    )
    assert found(text) == ["5:45 too-large"]


# servers


def test_an_operator_gets_the_variables_of_its_server() -> None:
    spec = next(
        node.spec for node in project.graph(FOLDER / "0.3.yaml", values=VALUES["0.3"]).nodes if node.name == "ai-organ"
    )
    assert spec.env["NVIDIA_CLARA_TRTISURI"] == "triton.example:8000"
    assert spec.env["ORGAN_GRPC"] == spec.env["CLARA_TRITON_URL"] == "triton.example:8001"
    assert spec.command[2:] == ("--server", "triton.example:8000", "--date", "$(date)")


@pytest.mark.parametrize(
    "keys",
    [
        {"models": "[{name: m}]"},
        {"services": "[{name: s, container: {image: x/tritonserver}}]"},
        {"variables": "{U: $(NVIDIA_TRITON_HTTPURI)}"},
    ],
)
def test_without_a_server_who_needs_one_is_not_run(keys: dict[str, str]) -> None:
    assert found(operator(**keys)) == []
    assert found(operator(**keys), values={}) == ["4:9 server"]
    assert found(operator(**keys), values={"CLARA_TRITON_URL": "h:8001"}) == []
    assert found(operator(**keys), values={"CLARA_TRITON_URL": "grpc://h:8001"}) == ["0:0 server", "4:9 server"]


def test_a_server_may_stand_in_the_file() -> None:
    text = operator(
        models="[{name: m}]", container="{image: x/a, command: [/a], variables: {CLARA_TRITON_URL: h:8001}}"
    )
    assert found(text, values={}) == ["5:22 image-tag", "5:42 R4"]
    spec = stage(operator(variables="{U: $(NVIDIA_TRITON_HTTPURI)}"), values={"CLARA_TRITON_URL": "h:8001"})
    assert spec.env == {"CLARA_TRITON_URL": "h:8001", "U": "${{NVIDIA_TRITON_HTTPURI}}"}


# register-results


def registered(command: str, **keys: str) -> str:
    entry = "- name: r\n  container: {image: clara/register-results, tag: 1}\n  input: [{from: a, path: /input}]\n"
    return HEAD + A + entry.replace("tag: 1", f"tag: 1, command: {command}")


@pytest.mark.parametrize(
    ("command", "data"),
    [
        ("""[python, register.py, --agent, ClaraSCU, --data, '["ONE"]']""", '["ONE"]'),
        (r"""[python, register.py, --agent, ClaraSCU, --data, "[\"ONE\", \"TWO\"]"]""", '["ONE", "TWO"]'),
        (r"""[python, register.py, --agent=ClaraSCU, '--data=[\"ONE\"]']""", '["ONE"]'),
        (r"""python register.py --agent clarascu --data '["ONE"]'""".replace("'", "''").join("''"), '["ONE"]'),
    ],
)
def test_what_is_registered_is_the_result(command: str, data: str) -> None:
    workflow = one(registered(command))
    assert workflow.results == ("a/output",) and [step.stage for step in workflow.steps] == ["a"]
    assert workflow.extra["register-results"] == f'[{{"agent": "ClaraSCU", "data": {data}, "from": ["a"]}}]'


def test_only_what_is_sent_is_called_a_result() -> None:
    part = A.replace("{path: /output}", "{path: /output, name: seg}")
    text = registered("[register.py, --agent, AGENT]").replace(A, part).replace("from: a", "from: a, name: seg")
    assert notices(text.replace("AGENT", "renderserver")) == ["6 render"]
    sent = text.replace("AGENT", "ClaraSCU, --data, '[\"X\"]'")
    assert notices(sent) == ["6 register-results"] and one(sent).results == ("a/output/seg",)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("[]", "6:44 register-results"),
        ("[register.py, --agent, Nobody]", "6:60 register-results"),
        ("[register.py, --agent, ClaraSCU]", "6:60 register-results"),
        ("[register.py, --agent, ClaraSCU, --data, PACS]", "6:60 register-results"),
        (r"""[register.py, --agent, ClaraSCU, --data, '["\u0000"]']""", "6:60 register-results"),
        ("[register.py, --agent, DICOMweb]", "6:60 dicomweb"),
    ],
)
def test_what_cannot_be_registered(command: str, code: str) -> None:
    assert {text.partition(" ")[2] for text in found(registered(command))} == {code.partition(" ")[2]}


# imports


def importing(path: str, args: str = "{}") -> str:
    return HEAD + f"- import: {{path: {path}, args: {args}}}\n"


def test_an_import_stays_in_its_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    text = A.removeprefix("- ")
    for path in (tmp_path / "out.yaml", inside / "in.yaml"):
        path.write_text(text)
    (inside / "link.yaml").symlink_to(tmp_path / "out.yaml")
    (inside / "loop.yaml").symlink_to(inside / "loop.yaml")
    assert [step.stage for step in one(importing("in.yaml"), inside).steps] == ["a"]
    for bad in (
        "../out.yaml",
        str(tmp_path / "out.yaml"),
        "link.yaml",
        "loop.yaml",
        ".",
        "absent.yaml",
        "x" * 5000,
        "''",
    ):
        assert len(found(importing(bad), inside)) == 1, bad
    assert found(importing("in.yaml")) == ["4:18 value"]  # a text has no folder


def test_imports_end(tmp_path: Path) -> None:
    (tmp_path / "self.yaml").write_text("import: {path: self.yaml}\n")
    assert found(importing("self.yaml"), tmp_path) == ["1:16 value"]
    for number in range(20):
        (tmp_path / f"{number}.yaml").write_text(f"import: {{path: {number + 1}.yaml}}\n")
    assert found(importing("0.yaml"), tmp_path) == ["1:16 value"]
    (tmp_path / "pipeline.yaml").write_text(HEAD + A)
    assert found(importing("pipeline.yaml"), tmp_path) == ["4:18 import"]
    (tmp_path / "broken.yaml").write_text("a: [\n")
    assert found(importing("broken.yaml"), tmp_path) == ["2:1 yaml"]


def test_arguments_fill_the_parameters_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "o.yaml").write_text(
        "parameters: {TAG: 1}\n"
        + "name: a\ncontainer: {image: x/a, tag: '${{TAG}}', command: [/a]}\noutput: [{path: /o}]\n"
    )
    (spec,) = one(importing("o.yaml", "{TAG: 2}"), tmp_path).stages
    assert spec.image.tag == "2"
    assert found(importing("o.yaml", "{TAGS: 2}"), tmp_path) == ["4:33 parameter"]
    assert found(importing("o.yaml", "{TAG: [2]}"), tmp_path) == ["4:38 value"]


def test_what_aliases_make_of_a_file_counts_as_often_as_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_TEXT", 50_000)
    bomb = "name: a\nx: &x [1,1,1,1,1,1,1,1,1]\ny: &y [*x,*x,*x,*x,*x,*x,*x,*x,*x]\nz: [*y,*y,*y,*y,*y,*y,*y,*y,*y]\n"
    (tmp_path / "o.yaml").write_text(bomb)
    text = HEAD + "".join(f"- {{name: o{number}, import: {{path: o.yaml}}}}\n" for number in range(20))
    assert "value" in {said.partition(" ")[2] for said in found(text, tmp_path)}


def test_parameters_stand_also_at_the_top() -> None:
    text = "parameters: {O: Argo, V: 0.4.0, S: key}\norchestrator: ${{O}}\npull-secrets: ['${{S}}']\n" + HEAD + A
    workflow = one(text.replace("api-version: 0.4.0", "api-version: ${{V}}"))
    assert workflow.pull_secrets == ("key",)
    assert found(text, values={"O": "Nomad"}) == ["2:15 value"]


# what is wrong

WRONG: Mapping[str, tuple[str, list[str]]] = {
    "unknown from": (operator(input="[{path: /input, from: b}]"), ["6:32 unknown-operator"]),
    "unknown output": (
        HEAD + A + A.replace("name: a", "name: b").replace("{path: /input}", "{path: /i, from: a, name: x}"),
        ["5:95 unknown-output"],
    ),
    "second unnamed output": (operator(output="[{path: /output}, {path: /o}]"), ["7:29 value"]),
    "one name for two outputs": (operator(output="[{path: /a, name: x}, {path: /o, name: x}]"), ["7:50 value"]),
    "one name for two outputs, but for capitals": (
        operator(output="[{path: /a, name: x}, {path: /o, name: X}]"), ["7:50 value"],
    ),
    "one name for two operators": (HEAD + A + A.replace("name: a", "name: A"), ["5:10 duplicate-operator"]),
    "no image": (operator(container="{tag: 1, command: [/a]}"), ["5:14 missing-key"]),
    "no container": (HEAD + "- {name: a, output: [{path: /o}]}\n", ["4:3 missing-key"]),
    "no name": (HEAD + A.replace("name: a, ", ""), ["4:3 missing-key"]),
    "no operators": (HEAD, ["3:11 no-operators"]),
    "not operators": (HEAD + "  a: b\n", ["4:3 value", "4:3 no-operators"]),
    "port": (
        operator(services="[{container: {image: tritonserver}, connections: {http: [{name: A, port: 80}]}}]"),
        ["8:86 value"],
    ),
    "no port": (
        operator(services="[{container: {image: tritonserver}, connections: {http: [{name: A, port: 65536}]}}]"),
        ["8:86 value"],
    ),
    "another service": (operator(services="[{name: db, container: {image: postgres}}]"), ["8:14 service"]),
    "a volume": (
        operator(services="[{container: {image: tritonserver}, connections: {volume: [{name: A, path: /a}]}}]"),
        ["8:72 service"],
    ),
    "memory that is shared": (operator(input="[{path: /i, type: array, shape: [1]}]"), ["6:28 fastio"]),
    "a stream with a shape": (operator(output="[{path: /i, type: stream, shape: [1]}]"), ["7:29 fastio"]),
    "an element without a type": (operator(output="[{path: /i, element-type: png}]"), ["7:37 fastio"]),
    "a shape alone": (operator(output="[{path: /i, shape: [1]}]"), ["7:30 fastio"]),
    "orchestrator": ("orchestrator: Nomad\n" + HEAD + A, ["1:15 value"]),
    "import as a whole": ("import: {path: a.yaml}\n" + HEAD + A, ["1:9 import"]),
    "pull secret": ("pull-secrets: [No_Name]\n" + HEAD + A, ["1:16 pull-secret"]),
    "path": (operator(input="[{path: input}]"), ["6:18 value"]),
    "path with dots": (operator(output="[{path: /a/../b}]"), ["7:19 value"]),
    "a path with a colon": (operator(output="[{path: '/o:ro'}]"), ["7:19 value"]),
    "a path with a line's end": (operator(output='[{path: "/o\\n"}]'), ["7:19 value"]),
    "a folder in a folder": (operator(output="[{path: /input/x, name: x}]"), ["7:19 path"]),
    "a folder deep in a folder": (operator(input="[{path: //output/./a/b/}]"), ["6:18 path"]),
    "what is read and written": (operator(output="[{path: /input}]"), ["7:19 path"]),
    "an output in another one by another name": (
        operator(output="[{path: /output}, {path: /output/x, name: y}]"), ["7:36 path"],
    ),
    "a path twice": (
        HEAD + A + A.replace("name: a", "name: b").replace("{path: /input}", "{path: /i}, {path: /i, from: a}"),
        ["5:88 path"],
    ),
    "an output twice": (operator(input="[{path: /i}, {path: /j}]"), ["6:30 input"]),
    "a name of the payload": (operator(input="[{path: /i, name: x}]"), ["6:28 value"]),
    "a name of a folder": (operator(output="[{path: /i, name: a/b}]"), ["7:29 value"]),
    "tag twice": (operator(container="{image: 'x/a:1', tag: 1, command: [/a]}"), ["5:36 value"]),
    "gpu": (operator(requests="{gpu: 0.5}"), ["8:19 value"]),
    "memory": (operator(requests="{memory: much}"), ["8:22 value"]),
    "a variable that is ours": (operator(variables="{CLARA_OUTPUT: /x}"), ["8:15 env"]),
    "a secret": (operator(variables="{NGC_API_KEY: x}"), ["8:15 secret"]),
    "an unknown variable": (operator(variables="{A: $(NOBODY)}"), ["8:18 variable"]),
    "a variable below": (operator(variables="{A: $(B), B: 1}"), ["8:18 variable"]),
    "an unknown parameter": (operator(variables="{A: '${{B}}'}"), ["8:18 parameter"]),
    "an expression": (operator(variables="{A: '${{B + 1}}'}"), ["8:18 parameter"]),
    "the job where it is not known": (operator(output="[{path: '/o/${{JOB_ID}}'}]"), ["7:19 parameter"]),
    "results of the payload": (
        registered("[register.py, --agent, renderserver]").replace("from: a, ", ""),
        ["7:18 register-results"],
    ),
    "a result of a result": (
        registered("[register.py, --agent, renderserver]") + A.replace("a, c", "b, c").replace("/input", "/i, from: r"),
        ["8:86 unknown-operator"],
    ),
    "an open quote": (operator(container="""{image: x/a, tag: 1, command: "/a 'b"}"""), ["5:44 args"]),
}  # fmt: skip
WARNED: Mapping[str, tuple[str, list[str]]] = {
    "no tag": (operator(container="{image: x/a, command: [/a]}"), ["5:22 image-tag"]),
    "api-version": (operator().replace("0.4.0", "0.8.0"), ["1:14 api-version"]),
    "api-version early": (operator().replace("0.4.0", "0.1.0"), ["1:14 api-version"]),
    "no output": (operator(output=""), ["4:9 no-output"]),
    "R4": (operator(container="{image: x/a, tag: 1, command: [/a], variables: {A: b}}"), ["5:50 R4"]),
    "R5": (operator(variables=r"""{NVIDIA_SEG_LABELS: '[\"A\"]'}"""), ["8:34 R5"]),
    "an unknown key": (operator(priority="1"), ["8:3 unknown-key"]),
    "an unknown key of the container": (operator(container="{image: x/a, tag: 1, comand: [/a]}"), ["5:35 unknown-key"]),
}


@pytest.mark.parametrize(("text", "codes"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_has_its_place(text: str, codes: list[str]) -> None:
    assert found(text) == codes
    with pytest.raises(DefinitionError):
        one(text)


@pytest.mark.parametrize(("text", "codes"), WARNED.values(), ids=WARNED)
def test_what_is_repaired_is_said_and_an_error_if_strict(text: str, codes: list[str]) -> None:
    assert found(text) == codes
    one(text)
    with pytest.raises(DefinitionError):
        load.workflows(text, strict=True)


def test_unknown_keys_are_kept() -> None:
    spec = stage(operator(priority="[1, x]", description="d"))
    assert spec.extra == {"priority": '["1", "x"]', "description": "d"}
    assert one("later: 1\n" + HEAD + A).extra == {"later": "1"}


def test_a_cycle_is_named() -> None:
    text = HEAD + "".join(
        A.replace("name: a", f"name: {name}").replace("{path: /input}", f"{{path: /i, from: {other}}}")
        for name, other in (("a", "b"), ("b", "a"))
    )
    workflow = one(text)
    with pytest.raises(DefinitionError, match="wait for each other: a -> b -> a"):
        Graph.of(workflow, {spec.name: spec for spec in workflow.stages})


# on a cluster and as processes


def test_what_is_compiled_has_no_findings() -> None:
    made = compile_graph(project.graph(FOLDER / "0.2.yaml", values={}))
    findings = Findings("made.yaml")
    check_text(as_yaml(made.template), findings)
    assert findings.all == ()
    assert made.template["spec"]["imagePullSecrets"] == [{"name": "registry-key"}]
    join = next(one for one in made.template["spec"]["templates"] if one["name"] == "join")
    assert {one["name"]: one["path"] for one in join["inputs"]["artifacts"] if one["name"].startswith("input")} == {
        "input-lung": "/lung", "input-heart-v2-529ce662_masks": "/heart", "input-payload": "/dcm",
    }  # fmt: skip
    assert join["container"]["command"] == ["/app/join", "--out", "/output"]


def test_the_job_is_named_when_the_stage_starts() -> None:
    made = compile_graph(project.graph(FOLDER / "0.4.yaml", values=VALUES["0.4"]))
    lung = next(one["container"] for one in made.template["spec"]["templates"] if one["name"] == "ai-lung")
    assert "--run {{workflow.parameters.job}} --in /input --pid $$(cat)" in lung["command"][2]
    assert {"name": "RUN", "value": "run-{{workflow.parameters.job}}"} in lung["env"]


def test_a_bare_image_is_a_stage_of_the_project_and_runs(tmp_path: Path) -> None:
    folder = tmp_path / "stages/keep"
    folder.mkdir(parents=True)
    (folder / "stage.yaml").write_text("stageName: keep\ncommand: [sh, run.sh, '${{CLARA_STAGE}}']\n")
    (folder / "run.sh").write_text('echo "$1 $RUN $SITE" > "$CLARA_OUTPUT/said"\n')
    text = "parameters: {SITE: }\n" + operator(
        container="{image: keep, tag: 1}", variables="{RUN: '${{JOB_ID}}', SITE: '${{SITE}}'}"
    )
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct/image").touch()
    words = [str(path), "--input", str(tmp_path / "ct"), "--output", str(tmp_path / "out"), "--job", JOB]
    environment = {"CLARA_HOME": str(tmp_path / "home")}
    lacking = CliRunner().invoke(main, ["run", *words], env=environment)
    assert lacking.exit_code == 2 and "--set SITE=VALUE" in lacking.output
    wrong = CliRunner().invoke(main, ["run", *words, "--set", "SITE"], env=environment)
    assert wrong.exit_code == 64 and "NAME=VALUE" in wrong.output
    done = CliRunner().invoke(main, ["run", *words, "--set", "SITE=a b"], env=environment, catch_exceptions=False)
    assert done.exit_code == 0
    assert (tmp_path / "out/said").read_text() == f"a {JOB} a b\n"


# the table of keys


def test_the_table_holds_what_the_reader_knows() -> None:
    assert {"operators", "parameters"} < table.keys("")
    assert table.keys("operators[].container") == {"image", "tag", "command", "variables"}
    assert len({key.path for key in operators.TABLE}) == len(operators.TABLE)
    assert {key.fate for key in operators.TABLE} == set(Fate)


def test_the_reader_asks_for_no_key_that_the_table_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    plainly = Fields.get

    def get(self: Fields, key: str) -> Node | None:
        asked.add(key)
        return plainly(self, key)

    monkeypatch.setattr(Fields, "get", get)
    for version, values in VALUES.items():
        findings = Findings("p.yaml")
        load.collect((FOLDER / f"{version}.yaml").read_text(), findings, folder=FOLDER, values=values)
    assert {"api-version", "http", "tag"} <= asked <= set(NAMES)


# any input


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    findings = Findings("p.yaml")
    try:
        load.collect("api-version: 0.4.0\noperators:\n" + text, findings, folder=FOLDER, values={})
    except DefinitionError as error:
        assert error.findings


WORDS = st.sampled_from([
    "a", "b", "/input", "/", "", "1", "-1", "${{N}}", "${{", "$(A)", "$$", "stream", "dicom", "array",
    "register-results", "clara/dicom-reader", "tritonserver", "parts/smooth.yaml", "../x",
    "x" * 300, '[\\"A\\"]', "--agent", "0.4.0",
])  # fmt: skip
ANYTHING = st.recursive(
    WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=6), st.lists(ANYTHING, max_size=3))
def test_any_keys_are_read_or_refused(top: dict[str, object], entries: list[object]) -> None:
    text = as_yaml({"api-version": "0.4.0", **top, "operators": entries})
    for values in (None, {"N": "1"}):
        findings = Findings("p.yaml")
        try:
            load.collect(text, findings, folder=FOLDER, values=values)
        except DefinitionError as error:
            assert error.findings
