"""What runs again and what is kept: digests decide, dates play no part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from unit.runners import graphs

from clara_argo.graph import PAYLOAD, Graph
from clara_argo.model.job import Job, JobState
from clara_argo.model.workflow import StageSpec
from clara_argo.runners.local import LocalRunner

JOB = "00000000000000000000000000000001"


class Place:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.payload = graphs.payload(root, a="one", b="two")
        # Each stage hands on what it reads and counts its runs outside the job.
        script = (
            'echo x >> "{root}/runs-$CLARA_STAGE"; cat "$CLARA_INPUT"/* "$CLARA_INPUT"/*/* > "$CLARA_OUTPUT/x" || true'
        )
        self.specs = [graphs.shell(root, name, script.format(root=root)) for name in ("first", "second", "third")]
        self.args: dict[str, tuple[str, ...]] = {}

    def graph(self) -> Graph:
        names = [PAYLOAD, *(spec.name for spec in self.specs)]
        nodes = [
            graphs.node(spec, before, args=self.args.get(spec.name, ()))
            for spec, before in zip(self.specs, names, strict=False)
        ]
        return graphs.graph(*nodes)

    def run(self) -> Job:
        """In a runner of its own, as another process would."""
        with LocalRunner(self.root / "home") as runner:
            runner.resume(self.graph(), JOB, self.payload)
            job = list(runner.watch(JOB))[-1]
        assert job.state is JobState.SUCCEEDED, job
        return job

    def ran(self) -> list[str]:
        """Stages that ran since the last question."""
        found = []
        for spec in self.specs:
            path = self.root / f"runs-{spec.name}"
            if path.exists():
                found.append(spec.name)
                path.unlink()
        return found

    def code(self, spec: StageSpec) -> Path:
        assert spec.folder is not None
        return spec.folder

    def output(self, name: str) -> Path:
        return self.root / "home/jobs" / JOB / name / "output"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    made.run()
    assert made.ran() == ["first", "second", "third"]
    yield made


def test_nothing_changed_nothing_runs(place: Place) -> None:
    before = [(stage.started, stage.finished, stage.attempt) for stage in place.run().stages]
    assert place.ran() == []
    job = place.run()
    assert [(stage.started, stage.finished, stage.attempt) for stage in job.stages] == before
    assert job.attempt == 3


def test_dates_play_no_part(place: Place) -> None:
    for path in [*place.payload.folder.iterdir(), *(place.root / "stages").rglob("*"), place.output("first") / "x"]:
        os.utime(path, (2_000_000_000, 2_000_000_000))
    place.run()
    assert place.ran() == []


def test_same_date_and_size_but_other_content(place: Place) -> None:
    path = place.payload.folder / "a"
    date = path.stat().st_mtime
    path.write_text("eno")
    os.utime(path, (date, date))
    place.run()
    assert place.ran() == ["first", "second", "third"]


def test_arguments_changed(place: Place) -> None:
    """`third` reads the same as before, because what `second` wrote is the same."""
    place.args["second"] = ("--threshold", "1")
    place.run()
    assert place.ran() == ["second"]


def test_code_changed(place: Place) -> None:
    script = place.code(place.specs[1]) / "run.sh"
    script.write_text(script.read_text() + 'echo more >> "$CLARA_OUTPUT/x"\n')
    place.run()
    assert place.ran() == ["second", "third"]


def test_a_file_beside_the_code_changed(place: Place) -> None:
    (place.code(place.specs[2]) / "weights").write_text("1")
    place.run()
    assert place.ran() == ["third"]
    (place.code(place.specs[2]) / "__pycache__").mkdir()
    (place.code(place.specs[2]) / "__pycache__" / "x.pyc").write_text("1")
    (place.code(place.specs[2]) / ".#run.sh").symlink_to("user@host.4711")
    place.run()
    assert place.ran() == []


def test_models_beside_the_project_changed(place: Place) -> None:
    (place.root / "models").mkdir()
    (place.root / "models/net").write_text("1")
    place.run()
    assert place.ran() == ["first", "second", "third"]
    place.run()
    assert place.ran() == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"env": {"X": "1"}}, ["second"]),
        ({"study": True}, ["second"]),
        ({"timeout": 99}, []),
        ({"retries": 7}, []),
    ],
)
def test_definition_changed(place: Place, change: dict[str, object], expected: list[str]) -> None:
    place.specs[1] = replace(place.specs[1], **change)  # type: ignore[arg-type]
    place.run()
    assert place.ran() == expected


def test_an_output_somebody_worked_in_is_made_again(place: Place) -> None:
    (place.output("second") / "x").write_text("touched")
    place.run()
    assert place.ran() == ["second"]
    assert (place.output("second") / "x").read_text() != "touched"
    (place.output("first") / "link").symlink_to("x")
    place.run()
    assert place.ran() == ["first"]
    (place.output("third") / "x").unlink()
    place.run()
    assert place.ran() == ["third"]


def test_a_damaged_record_counts_as_none(place: Place) -> None:
    for text in ("", "{", "[1]", '{"key": "x"}'):
        (place.output("second").parent / "done.json").write_text(text)
        place.run()
        assert place.ran() == ["second"]


def test_a_stage_that_was_added(place: Place) -> None:
    place.specs.append(graphs.shell(place.root, "fourth", (place.code(place.specs[0]) / "run.sh").read_text()))
    place.run()
    assert place.ran() == ["fourth"]


def test_creation_stays(place: Place) -> None:
    first = place.run()
    place.args["first"] = ("again",)
    second = place.run()
    assert first.created == second.created
    assert second.stage("first").attempt == 2


def test_another_process_retries_from_what_is_on_disk(place: Place) -> None:
    with LocalRunner(place.root / "home") as runner:
        runner.retry(JOB, "second")
        job = list(runner.watch(JOB))[-1]
    assert job.state is JobState.SUCCEEDED
    assert place.ran() == ["second", "third"]
