from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clara_argo.errors import NotFound
from clara_argo.model.job import Job, JobState, StageRun, StageState
from clara_argo.runners import display
from clara_argo.runners.fake import FakeRunner

NOW = datetime(2026, 1, 31, 8, 0, 10, tzinfo=UTC)
START = "2026-01-31T08:00:00.000Z"


def job(*stages: StageRun) -> Job:
    return Job(
        id="0" * 32, workflow="w", workflow_digest="", payload="p", state=JobState.RUNNING, created=START, stages=stages
    )


def test_bars_show_progress_time_and_message() -> None:
    rows = list(
        display.bars(
            job(
                StageRun(name="reader", state=StageState.SUCCEEDED, started=START, finished="2026-01-31T08:00:02.500Z"),
                StageRun(name="ai", state=StageState.RUNNING, started=START, progress="50/100"),
                StageRun(name="writer"),
            ),
            NOW,
            80,
        )
    )
    assert rows[0] == "  reader  " + "█" * 24 + "  done            2.5 s"
    assert rows[1] == "  ai      " + "█" * 12 + "░" * 12 + "  50/100         10.0 s"
    assert rows[2].startswith("  writer  " + "░" * 24 + "  waiting")


def test_rows_never_wrap() -> None:
    run = StageRun(name="x" * 300, state=StageState.FAILED, started=START, message="m" * 500)
    assert [len(row) for row in display.bars(job(run), NOW, 40)] == [40]


def test_odd_progress_is_no_trouble() -> None:
    for text, share in (("", 0.0), ("0/0", 0.0), ("9/3", 1.0)):
        assert display.share(StageRun(name="x", state=StageState.RUNNING, progress=text)) == share


def test_sentences() -> None:
    assert display.sentence(StageRun(name="x")) == ""
    assert display.sentence(StageRun(name="x", message="waits for a free GPU")) == "x: waits for a free GPU"
    running = StageRun(name="x", state=StageState.RUNNING, attempt=2, started=START)
    assert display.sentence(running) == "x: running (attempt 2)"
    failed = StageRun(name="x", state=StageState.FAILED, started=START, finished=START, message="why")
    assert display.sentence(failed) == "x: failed in 0.0 s: why"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Watched(FakeRunner):
    """Shows these jobs, one after the other; `wrong` is raised at the end."""

    def __init__(self, *jobs: Job, wrong: NotFound | None = None) -> None:
        super().__init__()
        self.jobs, self.wrong = jobs, wrong

    def watch(self, job: str) -> Iterator[Job]:
        yield from self.jobs
        if self.wrong is not None:
            raise self.wrong

    def get(self, job: str) -> Job:
        raise AssertionError("the runner is asked more often than it says something")


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_following_asks_the_runner_for_nothing_but_changes(stream: io.StringIO) -> None:
    going = job(StageRun(name="ai", state=StageState.RUNNING, started=START))
    ended = replace(going, state=JobState.FAILED).with_stage(replace(going.stages[0], state=StageState.FAILED))
    assert display.follow(Watched(going, ended), going.id, stream) == ended
    assert "failed" in stream.getvalue()


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_what_goes_wrong_while_following_is_raised(stream: io.StringIO) -> None:
    with pytest.raises(NotFound, match="deleted"):
        display.follow(Watched(job(), wrong=NotFound("deleted")), "0" * 32, stream)


@pytest.mark.parametrize(
    ("variables", "drawn", "coloured"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_a_terminal_gets_what_it_can_show(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], drawn: bool, coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    display.Display(stream).show(job(StageRun(name="ai", state=StageState.RUNNING, started=START)))
    assert ("\x1b[2K" in stream.getvalue(), "\x1b[36m" in stream.getvalue()) == (drawn, coloured)
