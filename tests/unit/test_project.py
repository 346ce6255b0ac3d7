"""A project's folders: its root, its stages and workflows before the shipped ones, and a new one that is right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from array import array
from pathlib import Path

import pytest
from support import run_stage

from clara_argo import project, shipped
from clara_argo.errors import DefinitionError, Level, NotFound, UsageError
from clara_driver import volume

ID = "7b413e24-d018-4689-8c41-73272f6649d4"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def add_stage(root: Path, name: str, text: str = "command: [sh, run.sh]\n") -> None:
    write(root / "stages" / name / "stage.yaml", text)


def chain(name: str, *stages: str, id: str = ID) -> str:
    locks = ["''", *(f"{stage}.lock" for stage in stages[:-1])]
    folders = [f"{stages[0]}/input", *(f"{stage}/output" for stage in stages)]
    return (
        f"id: {id}\nname: {name}\nstages: [{', '.join(stages)}]\n"
        f"waitLocks: [{', '.join(locks)}]\nioFolders: [{', '.join(folders)}]\n"
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with stages a and b and the workflow w."""
    write(tmp_path / "p" / "clara.yaml", "")
    add_stage(tmp_path / "p", "a")
    add_stage(tmp_path / "p", "b", "command: [sh, run.sh]\ntimeout: 7\n")
    write(tmp_path / "p" / "w.yaml", chain("w", "a", "b"))
    return tmp_path / "p"


def codes(path: Path, *, strict: bool = False) -> list[str]:
    return [finding.code for finding in project.check(path, strict=strict)]


def test_the_root_is_the_nearest_marked_folder(root: Path) -> None:
    inner = write(root / "x" / "y" / "w.yaml", chain("w", "a"))
    assert project.find_root(inner) == project.find_root(root) == root.resolve()
    write(root / "x" / "clara.yaml", "")
    assert project.find_root(inner) == (root / "x").resolve()
    assert project.find_root(Path(os.sep) / "w.yaml") == Path(os.sep)


def test_without_a_marker_the_root_is_the_files_folder(tmp_path: Path) -> None:
    add_stage(tmp_path, "a")
    path = write(tmp_path / "w.yaml", chain("w", "a"))
    assert project.graph(path).node("a").spec.folder == tmp_path / "stages" / "a"
    deeper = write(tmp_path / "x" / "w.yaml", chain("w", "a"))
    with pytest.raises(DefinitionError, match="no stage 'a'"):
        project.graph(deeper)


def test_a_workflow_becomes_a_graph_with_the_projects_stages(root: Path) -> None:
    graph = project.graph(root / "w.yaml")
    assert [(node.name, node.spec.timeout, node.spec.folder) for node in graph.nodes] == [
        ("a", 300, root / "stages" / "a"),
        ("b", 7, root / "stages" / "b"),
    ]
    assert graph.findings == ()


def test_a_projects_stage_goes_before_the_shipped_one(root: Path) -> None:
    assert "dicom-reader" in project.stage_specs(root)
    assert project.stage_specs(root)["dicom-reader"].folder == shipped.folder("stages") / "dicom-reader"
    add_stage(root, "dicom-reader", "timeout: 5\n")
    own = project.stage_specs(root)["dicom-reader"]
    assert (own.timeout, own.folder) == (5, root / "stages" / "dicom-reader")
    assert set(project.stage_specs(root)) >= {"a", "b", "dicom-reader", "dicom-writer", "ct-organ-seg", "ct-recon"}
    with pytest.raises(KeyError):
        project.stage_specs(root)["../stages/a"]


def test_only_the_stages_that_are_used_are_read(root: Path) -> None:
    add_stage(root, "broken", "timeout: never\n")
    project.graph(root / "w.yaml")
    add_stage(root, "b", "timeout: never\n")
    assert [(f.code, f.line) for f in project.check(root / "w.yaml")] == [("value", 1)]


def test_findings_of_file_stages_and_graph_come_together(root: Path) -> None:
    add_stage(root, "a", "timeuot: 5\n")
    add_stage(root, "b", "retries: -1\n")
    path = write(root / "w.yaml", chain("w", "a", "b", "c").replace("b.lock", "x.lock") + "arg: []\n")
    found = {(finding.code, Path(finding.source).name, finding.line) for finding in project.check(path)}
    assert found == {
        ("unknown-key", "stage.yaml", 1),
        ("value", "stage.yaml", 1),
        ("unknown-stage", "w.yaml", 3),
        ("unknown-lock", "w.yaml", 4),
        ("missing-lock", "w.yaml", 5),
        ("unknown-key", "w.yaml", 6),
    }
    with pytest.raises(DefinitionError) as caught:
        project.graph(path)
    assert set(caught.value.findings) == set(project.check(path))


def test_lists_of_unequal_length_do_not_bring_findings_that_follow_from_it(root: Path) -> None:
    path = write(root / "w.yaml", chain("w", "a", "b").replace("['', a.lock]", "['']"))
    assert codes(path) == ["count"]
    path = write(root / "w.yaml", chain("w", "a", "b").replace(f"id: {ID}\n", "").replace("name: w\n", ""))
    assert codes(path) == ["missing-key", "missing-key"]


def test_warnings_travel_with_the_graph_and_strict_refuses_them(root: Path) -> None:
    add_stage(root, "a", "timeuot: 5\n")
    assert [finding.code for finding in project.graph(root / "w.yaml").findings] == ["unknown-key"]
    with pytest.raises(DefinitionError):
        project.graph(root / "w.yaml", strict=True)
    assert all(finding.level is Level.ERROR for finding in project.check(root / "w.yaml", strict=True))


def test_a_file_with_several_workflows_needs_a_name(root: Path) -> None:
    other = ID.replace("7", "8")
    path = write(root / "two.yaml", chain("one", "a") + "---\n" + chain("two", "a", "b", id=other))
    with pytest.raises(UsageError, match="'one', 'two'; say which with --workflow"):
        project.graph(path)
    assert project.graph(path, name="two").workflow.id == other
    assert project.graph(path, name=other.replace("-", "").upper()).workflow.name == "two"
    with pytest.raises(NotFound, match="did you mean 'one'"):
        project.graph(path, name="onne")
    assert codes(path) == []


def test_a_missing_file_and_a_file_without_workflow(root: Path) -> None:
    with pytest.raises(NotFound):
        project.graph(root / "absent.yaml")
    only = write(root / "only.yaml", "stages:\n  x: {image: {repository: r}}\n")
    with pytest.raises(NotFound, match="no workflow"):
        project.graph(only)


def test_a_workflow_is_found_by_name_and_id(root: Path) -> None:
    write(root / "workflows" / "v.yml", chain("v", "a", id=ID.replace("7", "8")))
    write(root / "adapter.yaml", "ae-title: X\nroutes: []\n")
    write(root / "broken.yaml", "a: [")
    assert project.workflow(root, "w").digest == project.graph(root / "w.yaml").digest
    assert project.workflow(root, ID.replace("-", "")).workflow.name == "w"
    assert project.workflow(root, "v").workflow.name == "v"
    assert {workflow.name for workflow in project.workflows(root)} >= {"w", "v", "ct-organs"}


def test_shipped_workflows_come_last(root: Path) -> None:
    graph = project.workflow(root, "ct-organs")
    assert [node.name for node in graph.nodes] == ["dicom-reader", "ct-organ-seg", "dicom-writer"]
    assert project.workflow(root, graph.workflow.id).digest == graph.digest
    write(root / "mine.yaml", chain("ct-organs", "a"))
    assert [node.name for node in project.workflow(root, "ct-organs").nodes] == ["a"]


def test_a_workflow_that_is_nowhere_names_the_nearest_and_what_could_not_be_read(root: Path) -> None:
    write(root / "broken.yaml", "a: [")
    with pytest.raises(NotFound, match=r"did you mean 'ct-organs'\?.*broken.yaml"):
        project.workflow(root, "ct-organ")


def test_two_files_with_one_name_are_refused(root: Path) -> None:
    write(root / "again.yaml", chain("w", "a"))
    with pytest.raises(UsageError, match=r"again.yaml.*w.yaml"):
        project.workflow(root, "w")


def test_a_wrong_workflow_found_by_name_says_what_is_wrong(root: Path) -> None:
    write(root / "w.yaml", chain("w", "a", "x"))
    with pytest.raises(DefinitionError, match="no stage 'x'"):
        project.workflow(root, "w")


EARLY = f"""\
stages:
  dicom-reader:
    image: {{repository: dicom-reader, tag: latest}}
    timeout: 11
  second-reader:
    image: {{repository: dicom-reader, tag: latest}}
    lockName: second.lock
  elsewhere:
    image: {{repository: registry.example/elsewhere}}
workflows:
  {ID}:
    name: old
    stages: [dicom-reader, second-reader, elsewhere, dicom-writer]
    waitLocks: ["", dicom-reader.lock, second.lock, elsewhere.lock]
    ioFolders: [dicom-reader/input, dicom-reader/input, second-reader/output, elsewhere/output, dicom-writer/output]
    args: ["", "", "", ""]
"""


def test_a_bare_image_name_of_the_old_dialect_is_the_shipped_stage(tmp_path: Path) -> None:
    graph = project.graph(write(tmp_path / "values.yaml", EARLY))
    reader = shipped.folder("stages") / "dicom-reader"
    first, second, third, fourth = (node.spec for node in graph.nodes)
    assert (first.folder, first.timeout, first.command) == (reader, 11, ("python3", "main.py"))
    assert (second.name, second.folder, second.lock) == ("second-reader", reader, "second.lock")
    assert (third.folder, third.command, str(third.image)) == (None, (), "registry.example/elsewhere")
    assert (fourth.study, fourth.folder) == (True, shipped.folder("stages") / "dicom-writer")
    assert [finding.code for finding in graph.findings if finding.level is Level.NOTICE] == ["shipped-stage"] * 2


def test_other_files_of_a_project_are_checked_too(root: Path) -> None:
    assert codes(root / "clara.yaml") == [] and codes(root / "stages" / "a" / "stage.yaml") == []
    write(root / "clara.yaml", "name: x\n")
    assert codes(root / "clara.yaml") == ["unknown-key"]
    add_stage(root, "a", "stageName: b\ntimeout: x\n")
    assert codes(root / "stages" / "a" / "stage.yaml") == ["stage-name", "value"]
    assert codes(write(root / "x.yaml", "a: [")) == ["yaml"]


@pytest.mark.long
def test_ten_thousand_stages_in_a_file(tmp_path: Path) -> None:
    names = [f"s{n}" for n in range(10_000)]
    stages = "".join(f"  {name}: {{image: r}}\n" for name in names)
    text = f"stages:\n{stages}{ID}:\n  " + chain("w", *names).split("\n", 1)[1].replace("\n", "\n  ")
    assert len(text) < 1 << 20
    assert codes(write(tmp_path / "w.yaml", text.rstrip() + "\n  args: []\n")) == ["args-short"]
    wrong = text.replace("/output", "/outptu").replace(".lock", ".lokc").rstrip() + "\n"
    found = codes(write(tmp_path / "w.yaml", wrong))
    assert {"unknown-lock", "unknown-folder"} <= set(found) and len(found) > 19_000


HOSTILE = {
    "blank lines": "\n" * 400_000,
    "blanks": " " * (1 << 20),
    "blanks behind an id": ID + " " * 1_000_000 + "x",
    "ids": f"{ID}\n" * 8_000,
    "id and sections": f"{ID}\nname: x\n" + "stages:\n- x\n" * 30_000,
    "markers": "##BEGIN_x##\n" * 60_000,
    "one long marker": "##BEGIN_" + "#" * 1_000_000,
    "one key again and again": "a: 1\n" * 50_000,
    "unknown keys": f"id: {ID}\nname: y\nstages: []\n" + "".join(f"k{n}: 1\n" for n in range(20_000)),
    "unknown locks of a long name": f"id: {ID}\nname: y\nstages: [{'a' * 400_000}]\n"
    f"waitLocks: [[{','.join(f'l{n}' for n in range(30_000))}]]\nioFolders: [a/input, a/output]\n",
    "one long key": "a" * 1_000_000 + ": 1",
    "quotes": "'" * 1_000_000,
    "comments": "#\n" * 500_000,
    "documents": "---\n" * 60_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_costs_no_more_than_its_size(text: str, tmp_path: Path) -> None:
    """Every one of these once cost, or would cost a careless reader, time that grows with the square of its size."""
    path = write(tmp_path / "w.yaml", text)
    found = project.check(path)
    assert found and all(len(str(finding)) < 2000 for finding in found)


# a new project


def test_a_new_project_has_nothing_to_say(tmp_path: Path) -> None:
    made = project.init(tmp_path / "new" / "my-workflows")
    folder = tmp_path / "new" / "my-workflows"
    assert all((folder / name).exists() for name in made)
    for name in ("workflow.yaml", "clara.yaml", "stages/my-stage/stage.yaml"):
        assert project.check(folder / name, strict=True) == ()
    graph = project.workflow(folder, "bone", strict=True)
    assert [node.name for node in graph.nodes] == ["dicom-reader", "my-stage", "dicom-writer"]
    assert graph.node("my-stage").spec.folder == folder / "stages" / "my-stage"
    project.init(tmp_path / "other")
    assert project.workflow(tmp_path / "other", "bone").workflow.id != graph.workflow.id


def test_a_new_project_may_take_an_empty_folder_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    project.init(tmp_path / "empty")
    for path in (tmp_path / "empty", write(tmp_path / "file", "x")):
        before = sorted(path.rglob("*"))
        with pytest.raises(UsageError, match="not an empty folder"):
            project.init(path)
        assert sorted(path.rglob("*")) == before
    with pytest.raises(UsageError, match="somewhere else"):
        project.init(tmp_path / "file" / "below")


def test_the_stage_of_a_new_project_marks_what_is_dense(tmp_path: Path) -> None:
    project.init(tmp_path / "p")
    header = volume.Header(size=(4, 3, 2), spacing=(1.0, 2.0, 5.0), origin=(1.0, 2.0, 3.0))
    values = array("h", [-1000, 0, 249, 250, 251, 3000] * 4)
    if sys.byteorder == "big":
        values.byteswap()
    (tmp_path / "in").mkdir()
    sidecar = {"schema": 1, "kind": "image", "series": {"SeriesInstanceUID": "1.2.3"}, "instances": []}
    volume.write(tmp_path / "in" / "1.2.3.mhd", header, values.tobytes(), sidecar)
    done = run_stage(tmp_path / "p" / "stages" / "my-stage", input=tmp_path / "in")
    assert done.code == 0, done.log
    assert done.progress == "2/2" and done.locks
    labels, voxels = volume.read(done.output / "1.2.3.mhd")
    assert bytes(voxels) == bytes([0, 0, 0, 1, 1, 1] * 4)
    assert labels._replace(element="", data_file="") == header._replace(element="", data_file="")
    written = volume.read_sidecar(done.output / "1.2.3.mhd")
    assert written is not None and written["kind"] == "labels" and written["series"] == sidecar["series"]
    assert written["segments"][0]["volume_ml"] == 12 * 10 / 1000
    assert "Not for clinical use" in written["notice"]


def test_the_stage_of_a_new_project_takes_a_threshold_and_refuses_no_input(tmp_path: Path) -> None:
    template = shipped.folder("templates") / "stage"
    (tmp_path / "in").mkdir()
    done = run_stage(template, input=tmp_path / "in")
    assert done.code == 1 and "no volume" in done.error
    header = volume.Header(size=(2, 1, 1), element="MET_UCHAR")
    volume.write(tmp_path / "in" / "x.mhd", header, bytes([99, 100]))
    done = run_stage(template, input=tmp_path / "in", args=["--threshold", "100"])
    assert bytes(volume.read(done.output / "x.mhd")[1]) == bytes([0, 1])


def test_the_stage_of_a_new_project_needs_nothing_but_python_3_8() -> None:
    import ast

    tree = ast.parse((shipped.folder("templates") / "stage" / "main.py").read_text(), feature_version=(3, 8))
    used = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    used |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {str(name).partition(".")[0] for name in used} <= sys.stdlib_module_names | {"clara_driver"}


def test_the_shipped_files_have_nothing_to_say() -> None:
    files = [
        *(path for path in (shipped.folder("templates") / "workflows").glob("*.yaml") if ".argo." not in path.name),
        *shipped.folder("stages").glob("*/stage.yaml"),
    ]
    assert len(files) >= 4
    for path in files:
        assert project.check(path, strict=True) == (), path


def test_the_control_side_reads_files_without_dicom_and_arrays() -> None:
    code = (
        "import sys; from pathlib import Path; from clara_argo import project, shipped; "
        "project.graph(shipped.folder('templates') / 'workflows' / 'ct-organs.yaml'); "
        "sys.exit(bool({'numpy', 'pydicom', 'pynetdicom', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_page_on_workflow_files_shows_files_that_are_right(root: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "workflow-files.md"
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    for name in ("liver", "spleen"):
        add_stage(root, name)
    graphs = [project.graph(write(root / "shown.yaml", block), strict=True) for block in blocks]
    assert len(graphs) == 2 and graphs[0].digest == graphs[1].digest


def test_a_shipped_workflow_takes_no_place_of_an_own_one_without_a_word(root: Path) -> None:
    assert not project.workflow(root, "ct-ai").findings
    (root / "own.yaml").write_text("name: ct-ai\nstages: [\n")
    (finding,) = project.workflow(root, "ct-ai").findings
    assert (finding.code, finding.source, finding.level) == ("unread", str(root / "own.yaml"), Level.WARNING)
    assert "may hold another workflow 'ct-ai'" in finding.message and "clara lint" in finding.hint
    with pytest.raises(DefinitionError, match="may hold another"):
        project.workflow(root, "ct-ai", strict=True)


def test_of_a_workflow_that_is_no_yaml_the_name_is_not_known_and_its_file_is_told(root: Path) -> None:
    write(root / "own.yaml", f"{ID[:-1]}5\n name: mine\n stages: [a, b\n")
    with pytest.raises(NotFound, match=r"not readable: .*own\.yaml"):
        project.workflow(root, "mine")
