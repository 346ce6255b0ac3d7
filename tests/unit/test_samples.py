"""Input made by code: it fits what a workflow's first stages take, is the same each time, or the reason is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import run_stage

from clara_argo import project
from clara_argo.artifacts import tree
from clara_argo.demo import samples
from clara_argo.errors import UsageError
from clara_argo.graph import Graph
from clara_argo.model.workflow import StageSpec, Step, Workflow

ID = "7b413e24-d018-4689-8c41-73272f6649d4"


def one(**spec: object) -> Graph:
    """A workflow of one stage."""
    workflow = Workflow(id=ID, name="w", steps=(Step(stage="a", reads=("a/input",)),), results=("a/output",))
    return Graph.of(workflow, {"a": StageSpec(name="a", **spec)})  # type: ignore[arg-type]


def test_the_volume_is_the_one_that_the_reader_reads_from_the_images(tmp_path: Path) -> None:
    told = samples.lay(one(takes=("dicom",)), tmp_path / "dicom")
    assert "40 images" in told and "\n" not in told
    assert "a CT volume" in samples.lay(one(takes=("volume",)), tmp_path / "volume")
    done = run_stage("dicom-reader", input=tmp_path / "dicom")
    assert done.code == 0, done.log
    read, made = ({path.name: path for path in folder.iterdir()} for folder in (done.output, tmp_path / "volume"))
    assert read.keys() == made.keys() and len(read) == 3
    for name in read:
        if name.endswith(".json"):
            assert json.loads(read[name].read_text()) == json.loads(made[name].read_text())
        else:
            assert read[name].read_bytes() == made[name].read_bytes()


def test_the_same_workflow_has_the_same_input_each_time(tmp_path: Path) -> None:
    graph = project.workflow(tmp_path, "dicom-writer-only")
    for name in ("1", "2"):
        samples.lay(graph, tmp_path / name)
        samples.patient.cache_clear()
    assert tree.digest(tmp_path / "1") == tree.digest(tmp_path / "2")
    files = [path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file()]
    assert sum(path.parts[0] == "study" for path in files) == 40 and sum(path.suffix == ".mhd" for path in files) == 2


def test_only_the_stages_that_read_the_input_are_asked(tmp_path: Path) -> None:
    steps = (Step(stage="a", reads=("a/input",)), Step(stage="b", reads=("a/output",), waits_for=("a.lock",)))
    workflow = Workflow(id=ID, name="w", steps=steps, results=("b/output",))
    stages = {"a": StageSpec(name="a", takes=("volume",)), "b": StageSpec(name="b")}
    samples.lay(Graph.of(workflow, stages), tmp_path / "in")
    assert not (tmp_path / "in" / samples.STUDY).exists()
    stages["b"] = StageSpec(name="b", study=True)
    samples.lay(Graph.of(workflow, stages), tmp_path / "in")
    assert (tmp_path / "in" / samples.STUDY).is_dir()


def test_a_stage_that_does_not_say_what_it_takes_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"stage 'a' .*takes: dicom.*--input"):
        samples.lay(one(), tmp_path / "in")
    with pytest.raises(UsageError, match=r"kind nifti, x can be made; say --input"):
        samples.lay(one(takes=("x", "volume", "nifti")), tmp_path / "in")
    assert not (tmp_path / "in").exists()
