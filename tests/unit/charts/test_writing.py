"""A chart as a folder: nothing that is not ours is touched, nothing outside is written. Needs no Helm."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from clara_argo import charts, project, shipped
from clara_argo.charts import writing
from clara_argo.charts.workflow import PLATFORM_CHART
from clara_argo.errors import TryAgain, UsageError

ORGANS = project.graph(shipped.folder("templates") / "workflows" / "ct-organs.yaml")
LIVER = project.graph(shipped.folder("templates") / "workflows" / "liver-seg.yaml")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_chart_is_renewed_and_what_a_user_added_stays(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "chart"
    charts.publish(ORGANS, "organs", folder)
    first = contents(folder)
    (folder / "values-site.yaml").write_text("parallelism: 2\n")
    (folder / "files").mkdir()
    (folder / "files" / "stage-9.yaml").write_text("left: over\n")
    charts.publish(ORGANS, "organs", folder)
    assert contents(folder) == first | {"values-site.yaml": b"parallelism: 2\n"}


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        charts.publish(ORGANS, "organs", tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "Chart.yaml").write_text("apiVersion: v2\nname: theirs\nversion: 1.0.0\n")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "Chart.yaml").write_bytes(b"\xff: [")
    before = contents(tmp_path)
    for name in ("file", "theirs", "broken"):
        with pytest.raises(UsageError, match=name):
            charts.publish(ORGANS, "organs", tmp_path / name)
    assert contents(tmp_path) == before


def test_a_chart_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    """A mixture of two would be installed as one."""
    platform = replace(charts.chart(ORGANS, "organs"), kind=PLATFORM_CHART)
    charts.publish(ORGANS, "organs", tmp_path / "workflow")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="of another kind, 'workflow'"):
        writing.write(platform, tmp_path / "workflow")
    assert contents(tmp_path) == before


def test_another_chart_is_left_alone(tmp_path: Path) -> None:
    charts.publish(ORGANS, "organs", tmp_path / "chart")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="holds the chart 'organs'; name a new folder"):
        charts.publish(ORGANS, "others", tmp_path / "chart")
    assert contents(tmp_path) == before


def test_values_that_somebody_has_edited_are_not_lost(tmp_path: Path) -> None:
    folder = tmp_path / "chart"
    charts.publish(LIVER, "organs", folder)
    first = (folder / "values.yaml").read_text()
    charts.publish(ORGANS, "organs", folder)  # nobody has edited them: renewed
    assert (folder / "values.yaml").read_text() != first
    (folder / "values.yaml").write_text("registry: ours\n")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="values.yaml was edited, and would be lost; move your values"):
        charts.publish(ORGANS, "organs", folder)
    assert contents(tmp_path) == before
    (folder / "values.yaml").unlink()
    charts.publish(ORGANS, "organs", folder)
    assert contents(folder) == charts_bytes(charts.chart(ORGANS, "organs").files)


def charts_bytes(files: Mapping[str, str]) -> dict[str, bytes]:
    return {path: text.encode() for path, text in files.items()}


def test_after_a_command_that_was_killed_it_is_published_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def replace_until(self: Path, target: Path) -> Path:
        if self.name == "Chart.yaml":
            raise Killed
        return rename(self, target)

    folder, rename = tmp_path / "chart", Path.rename
    charts.publish(LIVER, "organs", folder)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Path, "replace", replace_until)
        charts.publish(ORGANS, "organs", folder)
    charts.publish(ORGANS, "organs", folder)
    assert contents(folder) == charts_bytes(charts.chart(ORGANS, "organs").files)


def full(self: Path, *_: object, **__: object) -> int:
    if self.name == "values.schema.json":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return 0


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_changes_nothing(tmp_path: Path, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half of a chart is left, which Helm would install without a word."""
    if there:
        charts.publish(ORGANS, "organs", tmp_path / "chart", fused=True)
    before = contents(tmp_path)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(TryAgain):
        charts.publish(ORGANS, "organs", tmp_path / "chart")
    assert contents(tmp_path) == before


def test_what_a_killed_run_left_is_no_hindrance(tmp_path: Path) -> None:
    left = tmp_path / "chart" / writing.ROOM / "files" / "x.yaml"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    assert writing.ROOM in (shipped.folder("templates") / "charts" / "workflow" / ".helmignore").read_text().split()
    charts.publish(ORGANS, "organs", tmp_path / "chart")
    charts.publish(ORGANS, "organs", tmp_path / "whole")
    assert contents(tmp_path / "chart") == contents(tmp_path / "whole")


@pytest.mark.parametrize("link", ["templates", "values.yaml", "files"])
def test_no_link_leads_out_of_it(tmp_path: Path, link: str) -> None:
    folder, outside = tmp_path / "chart", tmp_path / "outside"
    charts.publish(ORGANS, "organs", folder)
    outside.mkdir()
    if (folder / link).is_dir():
        (folder / link).rename(folder / "moved")
    (folder / link).unlink(missing_ok=True)
    (folder / link).symlink_to(outside)
    with pytest.raises(UsageError, match="leads elsewhere"):
        charts.publish(ORGANS, "organs", folder)
    assert not contents(outside)


@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "-a", "x" * 54, "a\nb", "{{x}}"])
def test_a_name_that_no_chart_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="chart cannot be called"):
        charts.publish(ORGANS, name, tmp_path / "chart")
    with pytest.raises(UsageError, match="for example user-workflow$"):
        charts.publish(ORGANS, "User_Workflow", tmp_path / "chart")
    assert not (tmp_path / "chart").exists()


def test_the_schema_is_of_draft_7_and_knows_every_value(tmp_path: Path) -> None:
    files = charts.chart(ORGANS, "organs").files
    schema = json.loads(files["values.schema.json"])
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert list(schema["properties"]["stages"]["properties"]) == ["dicom-reader", "ct-organ-seg", "dicom-writer"]


def test_a_workflow_of_a_project_brings_what_the_adapter_needs(tmp_path: Path) -> None:
    project.init(tmp_path / "mine")
    made = charts.chart(project.graph(tmp_path / "mine" / "workflow.yaml"), "bone")
    assert made.files["files/workflow.yaml"] == (tmp_path / "mine" / "workflow.yaml").read_text()
    stage = tmp_path / "mine" / "stages" / "my-stage" / "stage.yaml"
    assert made.files["files/stage-0.yaml"] == stage.read_text()
    assert "stages/my-stage/stage.yaml" in made.files["Chart.yaml"]
