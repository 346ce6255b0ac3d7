"""`clara init`, `lint`, `graph` as a user types them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clara_argo.cli import main

ID = "7b413e24-d018-4689-8c41-73272f6649d4"
PRINTED = f"""\
 {ID}
 name: "user-workflow"
 stages: ["dicom-reader", "ct-organ-seg", "dicom-writer"]
 waitLocks: ["", "dicom-reader.lock", "ct-organ-seg.lock"]
 ioFolders: ["dicom-reader/input", "dicom-reader/output", "ct-organ-seg/output", "dicom-writer/output"]
 args: ["", "", ""]
"""


def clara(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A new project."""
    clara("init", tmp_path / "my-workflows")
    return tmp_path / "my-workflows"


def replace(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_init_says_what_it_made_and_what_to_type_next(tmp_path: Path) -> None:
    result = clara("init", tmp_path / "p")
    assert all(name in result.stdout for name in ("workflow.yaml", "stages/my-stage/", "adapter.yaml"))
    assert f"cd {tmp_path / 'p'}" in result.stdout and "clara run workflow.yaml" in result.stdout
    assert "not an empty folder" in clara("init", tmp_path / "p", code=64).stderr


def test_init_leaves_no_half_project(tmp_path: Path) -> None:
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))  # noqa: E731  no file may be larger
    done = subprocess.run(
        [sys.executable, "-m", "clara_argo", "init", "my place"], cwd=tmp_path, preexec_fn=small, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 64 and "somewhere else" in done.stderr, done.stderr
    assert not (tmp_path / "my place").exists()
    assert "cd 'a b'\n" in clara("init", tmp_path / "a b").stdout.replace(f"{tmp_path}/", "")


def test_lint_of_right_files_prints_nothing_on_stdout(folder: Path) -> None:
    result = clara("lint", folder / "workflow.yaml", folder / "stages" / "my-stage" / "stage.yaml", "--strict")
    assert result.stdout == "" and result.stderr == "2 files: nothing to say\n"


def test_lint_says_everything_with_its_place(folder: Path) -> None:
    path = replace(folder / "workflow.yaml", "my-stage.lock", "my-stag.lock")
    replace(path, "args:", "arg:")
    result = clara("lint", path, code=2)
    where = [line.removeprefix(str(path)) for line in result.stdout.splitlines()]
    assert where == [
        ":6:36: error: stage 'dicom-writer' waits for the unknown lock 'my-stag.lock'; did you mean 'my-stage.lock'?"
        " [unknown-lock]",
        ":7:54: error: stage 'dicom-writer' reads 'my-stage/output' but does not wait for 'my-stage.lock';"
        " add 'my-stage.lock' to its waitLocks (entry 3) [missing-lock]",
        ":8:1: warning: workflow 'bone' has the unknown key 'arg'; did you mean 'args'? [unknown-key]",
    ]
    assert result.stderr == "1 file: 2 errors, 1 warning\n"


def test_lint_reads_the_adapters_configuration_too(folder: Path) -> None:
    assert clara("lint", folder / "adapter.yaml", "--strict").stdout == ""
    path = replace(folder / "adapter.yaml", "workflows: [bone]", "workflows: [bonne]")
    assert "'bone'" in clara("lint", path, code=2).stdout
    printed = folder / "dicom-server-config.yaml"
    lines = ["workflows:", " - name: user-workflow", "     clara-ae-title: CT_AI", "     destination-name: X"]
    printed.write_text("\n".join([*lines, f"     workflow: {ID}", ""]))
    found = json.loads(clara("lint", "-o", "json", printed, code=2).stdout)["files"][str(printed)]
    assert all(finding["code"] != "adapter-configuration" for finding in found) and "X" in str(found)


def test_warnings_alone_are_no_failure_unless_strict(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(PRINTED)
    assert "warning" in clara("lint", path).stdout
    assert "error" in clara("lint", path, "--strict", code=2).stdout


def test_lint_as_json(folder: Path) -> None:
    path = replace(folder / "workflow.yaml", "stages:", "stage:")
    clara("lint", "-o", "json", folder / "clara.yaml")
    value = json.loads(clara("lint", "-o", "json", path, folder / "clara.yaml", code=2).stdout)
    assert value["schema"] == 1 and list(value["files"]) == [str(path), str(folder / "clara.yaml")]
    assert value["files"][str(folder / "clara.yaml")] == []
    first = value["files"][str(path)][0]
    assert set(first) == {"level", "code", "message", "hint", "source", "line", "column"}
    assert {(finding["code"], finding["line"]) for finding in value["files"][str(path)]} == {
        ("unknown-key", 5),
        ("missing-key", 3),
    }


@pytest.mark.parametrize("command", ["lint", "graph"])
def test_files_that_are_not_there(command: str, folder: Path) -> None:
    assert "no such file" in clara(command, folder / "absent.yaml", code=6).stderr


def test_lint_of_anything_is_a_finding_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "large.yaml").write_bytes(b"a" * (1 << 21))
    (tmp_path / "empty.yaml").touch()
    for path in (*sorted(tmp_path.glob("*.yaml")), tmp_path):
        assert clara("lint", path, code=2).stdout.startswith(str(path))


def test_graph_for_people(folder: Path) -> None:
    lines = clara("graph", folder / "workflow.yaml").stdout.splitlines()
    assert lines[0].startswith("bone  ")
    assert lines[1:] == [
        "payload",
        "└─ dicom-reader",
        "   └─ my-stage  [--threshold 250]",
        "      └─ dicom-writer  → result",
    ]


def test_graph_on_a_terminal_without_unicode(folder: Path) -> None:
    result = CliRunner(charset="ascii").invoke(main, ["graph", str(folder / "workflow.yaml")], catch_exceptions=False)
    assert result.exit_code == 0 and "`- dicom-reader" in result.stdout and "-> result" in result.stdout


def test_graph_shows_arguments_that_steer_no_terminal(folder: Path) -> None:
    path = replace(folder / "workflow.yaml", '"--threshold 250"', r'["\e[2J\rx", "a b", "ü"]')
    result = clara("graph", path)
    assert r"['\x1b[2J\rx' 'a b' " in result.stdout and "\x1b" not in result.stdout


def test_graph_for_programs(folder: Path) -> None:
    assert clara("graph", folder / "workflow.yaml", "-o", "mermaid").stdout.startswith("flowchart")
    assert clara("graph", folder / "workflow.yaml", "-o", "dot").stdout.startswith('digraph "bone" {')
    value = json.loads(clara("graph", folder / "workflow.yaml", "-o", "json").stdout)
    assert (value["schema"], value["name"], value["results"]) == (1, "bone", ["dicom-writer"])
    assert [stage["name"] for stage in value["stages"]] == ["dicom-reader", "my-stage", "dicom-writer"]


def test_graph_keeps_stdout_clean_of_warnings(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(PRINTED)
    result = clara("graph", path, "-o", "dot")
    assert "[R2]" in result.stderr and "R2" not in result.stdout
    assert [f["code"] for f in json.loads(clara("graph", path, "-o", "json").stdout)["findings"]] == ["R2"]
    clara("graph", path, "--strict", code=2)


def test_graph_of_one_of_several_workflows(folder: Path) -> None:
    path = folder / "workflow.yaml"
    text = path.read_text()
    path.write_text(text + "---\n" + text.replace("name: bone", "name: other").replace("id: ", "id: x"))
    assert "'bone', 'other'; say which with --workflow" in clara("graph", path, code=64).stderr
    assert clara("graph", path, "--workflow", "other").stdout.startswith("other  x")


@pytest.mark.parametrize("command", ["init", "lint", "graph"])
def test_help_has_examples(command: str) -> None:
    assert "Example" in clara(command, "--help").stdout


def test_a_new_project_runs_as_it_is(folder: Path, tmp_path: Path) -> None:
    """A CT whose voxels tell their place goes in; the SEG that comes out marks exactly what is above the threshold."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'clara-argo[local]'")
    np = pytest.importorskip("numpy", reason="numpy is not installed: pip install 'clara-argo[local]'")
    from clara_argo import phantom

    files = phantom.encoded_series(tmp_path / "ct", shape=(5, 24, 32))
    replace(folder / "workflow.yaml", "--threshold 250", "--threshold -50")
    command = [sys.executable, "-m", "clara_argo", "run", "workflow.yaml", "--input", str(tmp_path / "ct")]
    done = subprocess.run(
        [*command, "--output", "result"], cwd=folder, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "result").rglob("*.dcm")
    seg = pydicom.dcmread(path)
    assert (seg.Modality, [item.SegmentLabel for item in seg.SegmentSequence]) == ("SEG", ["Bone"])
    wanted = {}
    for file in files:
        image = pydicom.dcmread(file)
        hu = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
        wanted[float(image.ImagePositionPatient[2])] = hu > -50.5
    found = {z: np.zeros_like(mask) for z, mask in wanted.items()}
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        found[float(groups.PlanePositionSequence[0].ImagePositionPatient[2])] |= frame > 0
    assert sum(mask.sum() for mask in wanted.values()) > 100
    assert all(np.array_equal(found[z], mask) for z, mask in wanted.items())


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_only_where_they_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    (tmp_path / "w.yaml").write_text("a: [")
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["lint", str(tmp_path / "w.yaml")], color=True)  # as on a terminal
    assert ("\x1b[31m" in done.stdout) is coloured and "error" in done.stdout


def test_parameters_of_a_pipeline_are_given_to_who_looks(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "api-version: 0.4.0\nname: w\nparameters: {GPUS: , WORD: }\noperators:\n- name: a\n"
        "  container: {image: x/a, tag: 1, command: [/a, '${{WORD}}']}\n  requests: {gpu: '${{GPUS}}'}\n"
        "  input: [{path: /input}]\n  output: [{path: /output}]\n"
    )
    found = clara("lint", file, "--set", "GPUS=1", "--set", "WORD=x")
    assert "error" not in found.stderr
    digests = {
        json.loads(clara("graph", file, "-o", "json", "--set", "GPUS=1", "--set", f"WORD={word}").stdout)["digest"]
        for word in ("here", "there")
    }
    assert len(digests) == 2
    assert "WORD" in clara("lint", file, "--set", "GPUS=1", code=2).stdout
