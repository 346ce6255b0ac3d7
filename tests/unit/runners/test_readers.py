"""Files that a stage, a user or a crash wrote: no content brings the runner down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clara_argo.errors import ClaraError
from clara_argo.model.job import JobState
from clara_argo.runners import attempt, command, keys
from clara_argo.runners.jobfolder import JobFolder
from clara_argo.runners.planfile import read_plan

JOB = "00000000000000000000000000000001"
SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
NAMES = st.sampled_from(
    ["schema", "state", "stages", "id", "workflow", "nodes", "payload", "results", "digest", "key", "output", "attempt"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | NAMES, inner, max_size=6),
    max_leaves=12,
)
CONTENT = st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 100_000)


@given(content=CONTENT)
@SAME_FOLDER
def test_records(tmp_path: Path, content: bytes) -> None:
    folder = JobFolder(tmp_path, JOB)
    folder.root.mkdir(exist_ok=True)
    for name in ("job.json", "plan.json", "lock", "done.json"):
        (folder.root / name).write_bytes(content)
    job = folder.look()
    assert job.state is JobState.FAILED and "job.json" in job.message
    with pytest.raises(ClaraError, match="start the job again"):
        read_plan(folder.plan)
    keys.read_done(folder.root / "done.json")
    assert folder.holder() is None


@given(text=st.text() | st.from_regex(r"[a-z.\-_]{1,9} ?(==|~=|>=|<|===)[0-9.]{0,9}(\.\*)?", fullmatch=True))
@SAME_FOLDER
def test_requirements(text: str) -> None:
    assert isinstance(command.missing(text), tuple)


def test_a_version_of_many_digits() -> None:
    assert command.missing("click>=" + "9" * 5000) != ()


@given(content=st.binary(max_size=100))
@SAME_FOLDER
def test_progress(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "progress").write_bytes(content)
    text = attempt.read_progress(tmp_path / "progress")
    assert text == "" or all(part.isdigit() for part in text.split("/"))


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"3/7\n", "3/7"), (b" 3/7", "3/7"), (b"3/", ""), (b"3/7\n4/7", ""), (b"-1/2", ""), (b"\xff", "")],
)
def test_progress_is_done_of_total(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "progress").write_bytes(content)
    assert attempt.read_progress(tmp_path / "progress") == text
