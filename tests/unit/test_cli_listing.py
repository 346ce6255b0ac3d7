"""`clara workflows` and `clara stages` as a user types them: the project's first, then what is shipped."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from clara_argo import needs, project, shipped, source
from clara_argo.cli import main
from clara_argo.graph import Graph
from clara_argo.model.workflow import Image, Resources, StageSpec, Step, Workflow

FILES = [path for path in (shipped.folder("templates") / "workflows").glob("*.yaml") if ".argo." not in path.name]


def clara(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False, color=True)  # as a terminal gets it
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project, where the user is."""
    clara("init", str(tmp_path / "p"))
    monkeypatch.chdir(tmp_path / "p")
    return tmp_path / "p"


def listed(what: str) -> dict[str, dict[str, Any]]:
    value = json.loads(clara(what, "list", "-o", "json").stdout)
    assert value["schema"] == 1
    return {entry["name"]: entry for entry in value[what]}


def test_workflows_of_the_project_and_shipped_ones(folder: Path) -> None:
    found = listed("workflows")
    assert list(found)[0] == "bone" and found["bone"]["file"] == "workflow.yaml"
    assert len(found) == len(FILES) + 1 and [name for name in found if not found[name]["shipped"]] == ["bone"]
    ct = found["ct-ai"]
    assert (ct["id"], ct["takes"], ct["gives"]) == ("0fcdcdea-89c6-456f-b20a-bc7379c54ef2", ["dicom"], ["dicom"])
    assert (ct["memory"], ct["gpu"], ct["models"]) == ("4Gi", 0, ["ct-organs"]) and len(ct["images"]) == 3
    heading, *rows = clara("workflows", "list").stdout.splitlines()
    assert heading.split() == ["NAME", "ID", "TAKES", "GIVES", "NEEDS", "FROM", "STAGES"]
    assert [row.split()[0] for row in rows] == list(found)
    assert next(row for row in rows if row.startswith("ct-ai ")).endswith("dicom-reader, ct-organ-seg, dicom-writer")


def test_every_shipped_workflow_says_what_it_is_for_and_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, entry in listed("workflows").items():
        assert entry["takes"] and entry["gives"] and entry["memory"], name
        assert entry["description"] or name == "ct-organs"


def test_a_wrong_workflow_is_listed_as_such(folder: Path) -> None:
    path = folder / "workflow.yaml"
    path.write_text(path.read_text().replace("my-stage", "no-stage"))
    assert "no stage 'no-stage'" in listed("workflows")["bone"]["wrong"]
    row = clara("workflows", "list").stdout.splitlines()[1]
    assert row.startswith("bone ") and "clara lint" in row and "workflow.yaml" in row


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "other.yaml").write_text("stages: [\n")
    done = clara("workflows", "list")
    assert "other.yaml" in done.stderr and "clara lint" in done.stderr and "other.yaml" not in done.stdout
    assert json.loads(clara("workflows", "list", "-o", "json").stdout)["unreadable"] == ["other.yaml"]


def test_a_folder_that_cannot_be_listed_is_named(folder: Path) -> None:
    (folder / "workflows").symlink_to("workflows")
    done = clara("workflows", "list")
    assert "workflows: its workflows cannot be read; see clara lint" in done.stderr and "bone" in done.stdout
    assert "not readable: workflows" in clara("workflows", "show", "ct-x", code=6).stderr
    assert "cannot be read, and may hold another" in clara("workflows", "show", "ct-ai").stderr


def test_each_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen = source.read, list[Path]()
    monkeypatch.setattr(source, "read", lambda path: seen.append(path) or read(path))  # type: ignore[func-returns-value]
    clara("workflows", "list")
    assert folder / "workflow.yaml" in seen and len(seen) == len(set(seen))


def test_a_folder_of_stages_that_cannot_be_looked_into_is_said(folder: Path) -> None:
    """A stage of the user's could be in it, and the shipped one of that name would run in its place."""
    shutil.rmtree(folder / "stages")
    (folder / "stages").symlink_to("stages")
    assert "stages may be there" in clara("stages", "list", code=64).stderr


def test_a_folder_that_can_be_no_stage_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume has one that only the administrator may look into."""
    exists = Path.exists

    def refuse(path: Path) -> bool:
        if path.parent.name in ("lost+found", "mine"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refuse)
    (folder / "stages" / "lost+found").mkdir()
    assert "my-stage" in clara("stages", "list").stdout
    (folder / "stages" / "mine").mkdir()
    assert "Permission denied; stages may be there" in clara("stages", "list", code=64).stderr


def test_a_name_that_steers_a_terminal_is_shown_as_text(folder: Path) -> None:
    path = (folder / "workflow.yaml").rename(folder / "\x1b[2Jm.yaml")
    shown = clara("workflows", "show", "bone").stdout
    assert "\x1b" not in shown and r"\x1b[2Jm.yaml" in shown
    path.write_text(path.read_text().replace("name: bone", 'name: "\\e[2Jx"'))
    assert "\x1b" not in clara("workflows", "list").stdout


def test_two_files_with_one_name_are_both_listed(folder: Path) -> None:
    text = (folder / "workflow.yaml").read_text()
    (folder / "workflows").mkdir()
    other = "11111111-1111-1111-1111-111111111112"
    (folder / "workflows" / "b.yaml").write_text(re.sub(r"(?m)^id: .*", f"id: {other}", text))
    rows = clara("workflows", "list").stdout.splitlines()
    assert [row.split()[0] for row in rows[1:3]] == ["bone", "bone"] and other in rows[2]
    assert "rename all but one" in clara("workflows", "show", "bone", code=64).stderr


def test_one_workflow_by_name_and_by_id(folder: Path) -> None:
    text = clara("workflows", "show", "liver-seg").stdout
    assert "its volume in ml" in text and "[--report volumes]  → result" in text and "models: ct-organs" in text
    value = json.loads(clara("workflows", "show", "FD3EE8BFB9F34808BD60243F870FF9BD", "-o", "json").stdout)
    assert (value["schema"], value["name"], value["takes"]) == (1, "liver-seg", ["dicom"])
    assert "clara run workflow.yaml --input" in clara("workflows", "show", "bone").stdout
    assert "did you mean 'ct-ai'" in clara("workflows", "show", "ct-a", code=6).stderr


def test_stages(folder: Path) -> None:
    (folder / "stages" / "broken").mkdir()
    (folder / "stages" / "broken" / "stage.yaml").write_text("timeout: soon\n")
    found = listed("stages")
    assert (found["my-stage"]["takes"], found["my-stage"]["gives"]) == (["volume"], ["labels"])
    assert found["my-stage"]["folder"] == str(folder / "stages" / "my-stage")
    assert "'timeout'" in found["broken"]["wrong"]
    rows = {row.split()[0]: row for row in clara("stages", "list").stdout.splitlines()[1:]}
    assert list(rows) == list(found) == sorted(found)
    assert rows["dicom-reader"].endswith(" shipped") and "clara lint" in rows["broken"]


def test_one_stage(folder: Path) -> None:
    text = clara("stages", "show", "my-stage").stdout
    assert "Marks bone in a CT by a threshold" in text and "takes:   volume" in text
    value = json.loads(clara("stages", "show", "dicom-writer", "-o", "json").stdout)
    assert value["schema"] == 1 and value["study"] and value["description"].startswith("Label maps and volumes in")
    (folder / "stages" / "my-stage" / "README.md").write_bytes(b"# x\n\n\xff\x1b[2J\n")
    assert "\x1b" not in clara("stages", "show", "my-stage").stdout
    (folder / "stages" / "my-stage" / "README.md").unlink()
    assert json.loads(clara("stages", "show", "my-stage", "-o", "json").stdout)["description"] == ""
    assert "did you mean 'my-stage'" in clara("stages", "show", "mystage", code=6).stderr


def test_needs_are_those_of_the_stage_that_asks_for_most() -> None:
    steps = (Step(stage="a", reads=("a/input",)), Step(stage="b", reads=("a/output",), waits_for=("a.lock",)))
    workflow = Workflow(id="7b413e24-d018-4689-8c41-73272f6649d4", name="w", steps=steps, results=("b/output",))
    stages = {
        "a": StageSpec(name="a", takes=("x",), resources=Resources(memory="900Mi", gpu=2), models=("m", "n")),
        "b": StageSpec(
            name="b", gives=("y", "z"), study=True, resources=Resources(memory="1G"), models=("n",),
            image=Image(repository="r", tag="1"),
        ),
    }  # fmt: skip
    found = needs.of(Graph.of(workflow, stages))
    assert (found.takes, found.gives, found.images) == (("dicom", "x"), ("y", "z"), ("r:1",))
    assert found.machine == "1G, 2 GPUs, model m, model n"


@given(st.integers(1, 999), st.sampled_from(["", "k", "Ki", "M", "Mi", "G", "Gi", "T", "Ti", "P", "Pi", "E", "Ei"]))
def test_a_quantity_is_the_number_times_its_suffix(number: int, suffix: str) -> None:
    plain = suffix.removesuffix("i").upper()
    power = ["", "K", "M", "G", "T", "P", "E"].index(plain)
    assert needs.size(f"{number}{suffix}") == number * (1024 if suffix.endswith("i") else 1000) ** power
    assert needs.size(f"{number}e3") == number * 1000 and needs.size("") == 0


def test_what_is_listed_can_be_resolved_without_reading_it_again(folder: Path) -> None:
    stages = project.stage_specs(folder)
    for workflow in project.workflows(folder):
        assert project.resolved(workflow, stages).digest == project.workflow(folder, workflow.name).digest
