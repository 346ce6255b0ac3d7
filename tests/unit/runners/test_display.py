from __future__ import annotations

from datetime import UTC, datetime

from clara_argo.model.job import Job, JobState, StageRun, StageState
from clara_argo.runners import display

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
    running = StageRun(name="x", state=StageState.RUNNING, attempt=2, started=START)
    assert display.sentence(running) == "x: running (attempt 2)"
    failed = StageRun(name="x", state=StageState.FAILED, started=START, finished=START, message="why")
    assert display.sentence(failed) == "x: failed in 0.0 s: why"
