"""The adapter as a whole, in this process: a study goes in, its result comes out, exactly once."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from adapter.hospital import CALLED, HOST, Pacs, Study, clinic, configuration, send, stage_project, tree, wait_until
from pydicom.uid import SegmentationStorage

from clara_adapter import checks, overview, pauses
from clara_argo.errors import Held, TryAgain, UsageError
from clara_argo.model.route import Route, Settle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stage_project(tmp_path / "project")


def test_a_study_becomes_one_result_at_the_destination(tmp_path: Path, folder: Path) -> None:
    study = Study()
    with Pacs() as pacs, clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site:
        answers = send(study.slices(3), site.port)
        assert list(answers.values()) == [0, 0, 0]
        wait_until(lambda: site.states() == ["sent"], "the delivery")
        jobs = site.adapter.store.jobs()
    assert [job.state for job in jobs] == ["succeeded"]
    assert list(pacs.times.values()) == [1]
    result = pydicom.dcmread(io.BytesIO(next(iter(pacs.kept.values()))), force=True)
    assert (result.PatientID, result.StudyInstanceUID) == (study.patient, study.study)
    assert result.ImageComments == "3 slices"
    assert result.SeriesInstanceUID != study.series


def test_two_workflows_and_two_destinations_make_two_jobs_and_four_deliveries(tmp_path: Path, folder: Path) -> None:
    stage_project(folder, name="echo", script='cp "$CLARA_INPUT"/* "$CLARA_OUTPUT"/\n', kind="sh")
    study = Study()
    with Pacs() as first, Pacs() as second:
        ports = {"first": first.port, "second": second.port}
        config = configuration(tmp_path / "spool", ports, workflows=["derive", "echo"])
        with clinic(config, folder) as site:
            send(study.slices(2), site.port)
            wait_until(lambda: site.states() == ["sent"] * 4, "four deliveries")
            assert len(site.adapter.store.jobs()) == 2
    originals = {image.SOPInstanceUID for image in study.slices(2)}
    for pacs in (first, second):
        assert len(pacs.kept) == 3 and originals < pacs.kept.keys()
        assert set(pacs.times.values()) == {1}


def test_the_same_study_called_by_two_titles_is_two_payloads(tmp_path: Path, folder: Path) -> None:
    with Pacs() as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port})
        other = replace(config.routes[0], name="other", called="OTHER")
        with clinic(replace(config, routes=(*config.routes, other)), folder) as site:
            images = Study().slices(2)
            assert set(send(images, site.port).values()) == {0}
            assert set(send(images, site.port, called="OTHER").values()) == {0}
            wait_until(lambda: site.states() == ["sent", "sent"], "both deliveries")
            jobs = site.adapter.store.jobs()
    assert len({job.payload for job in jobs}) == 2
    assert len(pacs.kept) == 1  # the same input and workflow: the same result


def test_one_association_that_two_routes_match_feeds_both(tmp_path: Path, folder: Path) -> None:
    with Pacs() as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port})
        with clinic(replace(config, routes=(*config.routes, replace(config.routes[0], name="b"))), folder) as site:
            assert set(send(Study().slices(2), site.port).values()) == {0}
            wait_until(lambda: site.states() == ["sent", "sent"], "both deliveries")
            payloads = {job.payload for job in site.adapter.store.jobs()}
    files = [len(list((tmp_path / "spool" / "payloads" / payload / "input").iterdir())) for payload in payloads]
    assert files == [2, 2]


def test_nothing_is_received_from_strangers(tmp_path: Path, folder: Path) -> None:
    with Pacs() as pacs, clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site:
        assert send(Study().slices(1), site.port, calling="NOBODY") == {}
        assert send(Study().slices(1), site.port, called="NOBODY") == {}
        assert site.adapter.store.receiving() == []


def test_a_result_that_the_pacs_sends_back_starts_nothing(tmp_path: Path, folder: Path) -> None:
    """A PACS that routes every stable study to us sends the whole study again, result included."""
    study = Study()
    with Pacs() as pacs, clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site:
        send(study.slices(2), site.port)
        wait_until(lambda: site.states() == ["sent"], "the delivery")
        result = pydicom.dcmread(io.BytesIO(next(iter(pacs.kept.values()))), force=True)
        ours = study.slice(99, SOPInstanceUID=result.SOPInstanceUID, SeriesInstanceUID=result.SeriesInstanceUID)
        renamed = study.slice(98, SeriesInstanceUID=result.SeriesInstanceUID)
        foreign = study.slice(97, SOPClassUID=SegmentationStorage)
        answers = send([*study.slices(2), ours, renamed, foreign], site.port)
        assert set(answers.values()) == {0} and len(answers) == 5
        assert site.adapter.store.receiving() == []
        assert len(site.adapter.store.jobs()) == 1
    aside = sorted(path.parent.name for path in (tmp_path / "spool" / "aside").rglob("*.dcm"))
    assert aside == ["derived", "ours", "ours"]  # acknowledged, so kept


def test_a_late_image_makes_a_new_payload_with_the_whole_study(tmp_path: Path, folder: Path) -> None:
    study = Study()
    with Pacs() as pacs, clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site:
        send(study.slices(2), site.port)
        wait_until(lambda: site.states() == ["sent"], "the first delivery")
        send(study.slices(1, first=3), site.port)
        wait_until(lambda: site.states() == ["sent", "sent"], "the second delivery")
    comments = [pydicom.dcmread(io.BytesIO(data), force=True).ImageComments for data in pacs.kept.values()]
    assert comments == ["2 slices", "3 slices"]


def test_two_patients_in_one_study_start_no_job(tmp_path: Path, folder: Path) -> None:
    study = Study()
    with Pacs() as pacs, clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site:
        images = [*study.slices(2), study.slice(3, PatientID="P2"), study.slice(4)]
        other = Study()
        assert set(send(images, site.port).values()) == {0}
        send(other.slices(1), site.port)
        wait_until(lambda: site.states() == ["sent"], "the other study's delivery")
        payload = site.adapter.store.last_payload("ct", study.study)
        assert payload is not None and payload.state == "held"
        assert len(site.adapter.store.own_instances(payload.id)) == 4
        assert len(site.adapter.store.jobs()) == 1
    assert len(tree(tmp_path / "spool" / "payloads" / payload.id)) == 4


def test_one_adapter_a_spool(tmp_path: Path, folder: Path) -> None:
    config = configuration(tmp_path / "spool", {})
    with clinic(config, folder):
        second = clinic(config, folder)
        with pytest.raises(Held, match="is held by process"):
            second.adapter.start()
    with second:
        assert second.port


def test_a_port_in_use_is_said_and_leaves_nothing_behind(tmp_path: Path, folder: Path) -> None:
    with Pacs() as pacs:
        config = replace(configuration(tmp_path / "spool", {}), port=pacs.port, host=HOST)
        site = clinic(config, folder)
        with pytest.raises(TryAgain, match=str(pacs.port)):
            site.adapter.start()
    with site:
        assert site.port == config.port


def test_a_restart_is_a_normal_start(tmp_path: Path, folder: Path) -> None:
    """Stopped while a study is open, then again while its result waits for a destination that is away."""
    study = Study()
    with Pacs() as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port}, quiet=30)
        with clinic(config, folder) as site:
            assert len(send(study.slices(3), site.port)) == 3
            (payload,) = site.adapter.store.receiving()
        port = pacs.port
    quick = replace(config, routes=tuple(replace(route, settle=Settle(quiet=0.2)) for route in config.routes))
    with clinic(quick, folder) as site:
        wait_until(lambda: any(one.attempts for one in site.adapter.store.deliveries()), "an attempt")
        assert [job.payload for job in site.adapter.store.jobs()] == [payload.id]
    with Pacs(port=port) as pacs, clinic(quick, folder) as site:
        wait_until(lambda: site.states() == ["sent"], "the delivery")
    assert list(pacs.times.values()) == [1]


def test_a_route_that_is_gone_holds_what_it_had_begun(tmp_path: Path, folder: Path) -> None:
    config = configuration(tmp_path / "spool", {}, quiet=30)
    study = Study()
    with clinic(config, folder) as site:
        send(study.slices(1), site.port)
    route = Route(name="new", called=CALLED, sources=("CT1",), workflows=("derive",), destinations=())
    with clinic(replace(config, routes=(route,)), folder) as site:
        payload = site.adapter.store.last_payload("ct", study.study)
        assert payload is not None and payload.state == "held"


def test_a_changed_workflow_replaces_the_job_that_had_not_finished(tmp_path: Path, folder: Path) -> None:
    """Nothing is left undone, and no job runs a workflow that it was not made for."""
    slow = stage_project(tmp_path / "slow", script="sleep 60\n", kind="sh")
    study = Study()
    with Pacs() as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port})
        with clinic(config, slow) as site:
            send(study.slices(1), site.port)
            wait_until(lambda: [job.state for job in site.adapter.store.jobs()] == ["running"], "the job")
        with clinic(config, folder) as site:
            wait_until(lambda: site.states() == ["sent"], "the delivery")
            states = [job.state for job in site.adapter.store.jobs()]
    assert states == ["stopped", "succeeded"]


def test_files_are_for_us_alone(tmp_path: Path, folder: Path) -> None:
    with Pacs() as pacs, clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site:
        send(Study().slices(1), site.port)
        wait_until(lambda: site.states() == ["sent"], "the delivery")
    spool = tmp_path / "spool"
    assert spool.stat().st_mode & 0o777 == 0o700
    for path in [spool / "state.db", spool / "log.key"]:
        assert path.stat().st_mode & 0o777 == 0o600, path
    for path in (spool / "payloads").rglob("*.dcm"):  # what was received is written once
        assert path.stat().st_mode & 0o777 == 0o400, path


# -- one job's trouble ------------------------------------------------------------------------------------------------

ODD_NAME = """
cp "$(ls -d "$CLARA_INPUT"/* | head -1)" "$CLARA_OUTPUT/$(printf 'bad\\377name')"
"""


def test_a_file_name_that_is_no_text_holds_one_result_and_stops_nobody(tmp_path: Path, folder: Path) -> None:
    stage_project(folder, name="odd", script=ODD_NAME, kind="sh")
    with Pacs() as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port}, workflows=["odd", "derive"])
        with clinic(config, folder) as site:
            send(Study().slices(2), site.port)
            wait_until(lambda: sorted(site.states()) == ["held", "sent"], "one held, one sent")
            (held,) = [one for one in site.adapter.store.deliveries() if one.state == "held"]
    assert "not UTF-8" in held.message


def test_an_error_of_ours_with_one_job_is_said_and_is_not_the_end_of_the_others(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage_project(folder, name="other", script='cp "$CLARA_INPUT"/* "$CLARA_OUTPUT"/\n', kind="sh")
    monkeypatch.setattr(pauses, "FIRST", 0.01)
    monkeypatch.setattr(pauses, "MOST", 0.02)
    check = checks.check

    def broken(folder: Path, *more: Any) -> Any:
        if len(list(folder.iterdir())) == 1:
            raise ZeroDivisionError
        return check(folder, *more)

    monkeypatch.setattr(checks, "check", broken)
    with Pacs() as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port}, workflows=["derive", "other"])
        with clinic(config, folder) as site:
            send(Study().slices(2), site.port)
            wait_until(lambda: {job.state for job in site.adapter.store.jobs()} == {"stopped", "succeeded"}, "both")
            wait_until(lambda: site.states() == ["sent"], "the delivery of the other")
            (stopped,) = [job for job in site.adapter.store.jobs() if job.state == "stopped"]
            assert "an error of ours" in stopped.message and "ZeroDivisionError" in caplog.text
            monkeypatch.setattr(checks, "check", check)
            assert overview.retry(site.adapter.store, stopped.id) == [f"job {stopped.id} runs again"]
            wait_until(lambda: site.states() == ["sent", "sent"], "the delivery of the job that was asked for again")


def test_a_failed_job_can_be_asked_for_again(tmp_path: Path, folder: Path) -> None:
    """The stage fails until somebody mends what it needs; then what it made goes out, once."""
    mended = tmp_path / "mended"
    script = (
        f'[ -e {mended} ] || {{ echo "Doe^Jane cannot be read" >&2; exit 3; }}\ncp "$CLARA_INPUT"/* "$CLARA_OUTPUT"/\n'
    )
    stage_project(folder, name="flaky", script=script, kind="sh")
    with Pacs() as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port}, workflows=["flaky"])
        with clinic(config, folder) as site:
            study = Study()
            send(study.slices(2), site.port)
            wait_until(lambda: [job.state for job in site.adapter.store.jobs()] == ["failed"], "the failure")
            mended.touch()
            (job,) = site.adapter.store.jobs()
            beside = overview.open_store(str(tmp_path / "spool"))  # as the command does, in another process
            assert overview.retry_all(beside) == [f"job {job.id} runs again"]
            with pytest.raises(UsageError):
                overview.retry(beside, job.id)
            beside.close()
            wait_until(lambda: site.states() == ["sent"], "the delivery")
            with pytest.raises(UsageError, match="nothing that failed"):
                overview.retry(site.adapter.store, job.id)
    assert set(pacs.times) == {image.SOPInstanceUID for image in study.slices(2)}


def test_what_a_stage_says_is_in_the_state_and_not_in_the_log(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage_project(folder, name="loud", script='echo "Doe^Jane is strange" >&2; exit 3\n', kind="sh")
    config = configuration(tmp_path / "spool", {}, workflows=["loud"])
    with clinic(config, folder) as site:
        send(Study().slices(1), site.port)
        wait_until(lambda: [job.state for job in site.adapter.store.jobs()] == ["failed"], "the failure")
        found = overview.overview(site.adapter.store)
    assert "Doe^Jane is strange" in found["jobs"][0]["message"]
    assert f"job {found['jobs'][0]['id']}  failed     loud" in "\n".join(overview.lines(found))
    assert "Doe^Jane" not in caplog.text and "clara adapter status" in caplog.text


CHANGE = """
for file in "$CLARA_INPUT"/*; do
  chmod u+w "$file"
  printf 'XX' | dd of="$file" bs=1 conv=notrunc seek=$(( $(stat -c %s "$file") - 2 )) 2>/dev/null
  cp "$file" "$CLARA_OUTPUT"/
done
"""


def test_a_stage_that_changes_what_was_received_changes_no_original_at_the_destination(
    tmp_path: Path, folder: Path
) -> None:
    stage_project(folder, name="spoil", script=CHANGE, kind="sh")
    study = Study()
    with Pacs() as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port}, workflows=["spoil"])
        with clinic(config, folder) as site:
            send(study.slices(2), site.port)
            wait_until(lambda: [job.state for job in site.adapter.store.jobs()] == ["failed"], "the stage to fail")
            assert "changed while it ran" in site.adapter.store.jobs()[0].message
            assert set(send(study.slices(2), site.port).values()) == {0}  # the same as was received, whatever is there
            send(study.slices(1, first=3), site.port)
            wait_until(lambda: bool(site.adapter.store.held_payloads()), "the new payload to be held")
            ((_, _, why),) = site.adapter.store.held_payloads()
    assert "2 instances were changed on disk" in why
    assert pacs.kept == {}


def test_two_persons_without_an_id_are_two_patients(tmp_path: Path, folder: Path) -> None:
    study = Study()
    with Pacs() as pacs, clinic(configuration(tmp_path / "spool", {"PACS": pacs.port}), folder) as site:
        one = study.slice(1, PatientID="", PatientName="Doe^Jane")
        two = study.slice(2, PatientID="", PatientName="Roe^Richard")
        send([one, two], site.port)
        wait_until(lambda: bool(site.adapter.store.held_payloads()), "the doubt")
        assert site.adapter.store.jobs() == []


def test_a_route_that_is_called_by_another_title_still_knows_its_studies(tmp_path: Path, folder: Path) -> None:
    study = Study()
    with Pacs() as pacs:
        config = configuration(tmp_path / "spool", {"PACS": pacs.port})
        with clinic(config, folder) as site:
            send(study.slices(2), site.port)
            wait_until(lambda: site.states() == ["sent"], "the delivery")
        renamed = replace(config, routes=(replace(config.routes[0], called="OTHER"),))
        with clinic(renamed, folder) as site:
            send(study.slices(3), site.port, called="OTHER")
            wait_until(lambda: site.states() == ["sent", "sent"], "the second delivery")
    comments = [pydicom.dcmread(io.BytesIO(data), force=True).ImageComments for data in pacs.kept.values()]
    assert comments == ["2 slices", "3 slices"]
