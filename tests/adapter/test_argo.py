"""The adapter with jobs on a cluster, and what can be away there: a study is returned once, or reported with the why.

The cluster is pretended (`adapter.argo`); tests/cluster does the same on a real one.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pydicom
import pytest
from adapter.argo import RESULT, Site, site
from adapter.hospital import Study, send, wait_until
from unit.runners.pretend import Failure

from clara_adapter import overview, pauses
from clara_argo.artifacts.errors import NoBucket, StoreAway
from clara_argo.kubernetes.kinds import TEMPLATES, WORKFLOWS

PATCH = ("patch", "workflows")
AWAY = StoreAway("store http://s3: the store does not answer")
CREATE = "/apis/argoproj.io/v1alpha1/namespaces/clara/workflows"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"FIRST": 0.02, "MOST": 0.1, "AWAY_FIRST": 0.02, "AWAY_MOST": 0.1}.items():
        monkeypatch.setattr(pauses, name, seconds)


def receive(here: Site, studies: int = 1) -> None:
    for _ in range(studies):
        assert set(send(Study().slices(2), here.clinic.port).values()) == {0}


def created(here: Site) -> int:
    """How often a Workflow was made."""
    return len([one for one in here.stub.requests if (one.method, one.path) == ("POST", CREATE)])


def test_a_study_goes_to_the_cluster_and_its_result_to_the_pacs(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        study = Study()
        send(study.slices(3), here.clinic.port)
        here.returned()
        (made,) = here.stub.list(WORKFLOWS)
        assert study.patient not in str(made) and study.study not in str(made)
    result = pydicom.dcmread(io.BytesIO(next(iter(here.pacs.kept.values()))), force=True)
    assert (result.PatientID, result.StudyInstanceUID) == (study.patient, study.study)
    assert made["metadata"]["labels"]["clara.dev/delivered"] == "true"


def test_jobs_wait_for_a_template_and_receiving_goes_on(tmp_path: Path) -> None:
    with site(tmp_path, apply=False) as here:
        receive(here)
        waiting = here.says("clara apply FILE --on argo")
        assert waiting.state == "submitting" and "WorkflowTemplate 'derive'" in waiting.message
        receive(here)
        here.until("submitting", "submitting")
        here.apply()
        here.returned(2)


def test_jobs_wait_for_the_version_of_a_template(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        mark = {"metadata": {"annotations": {"clara.dev/workflow-digest": "another"}}}
        here.stub.change(TEMPLATES, "derive", mark)
        receive(here)
        here.says("another version of workflow 'derive'")
        here.apply()
        here.returned()


# -- the API ----------------------------------------------------------------------------------------------------------


def test_the_api_is_away_and_studies_are_sealed_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="clara_adapter")
    with site(tmp_path, hold=True) as here:
        receive(here, 2)
        here.until("running", "running")
        here.stub.down()
        receive(here, 2)
        here.until("running", "running", "submitting", "submitting")
        wait_until(lambda: all("cannot be reached" in job.message for job in here.jobs()[2:]), "why they wait")
        here.stub.up()
        here.pretend.release()
        here.returned(4)
        assert created(here) == 4
    assert "all jobs have to wait" in caplog.text and "answers again" in caplog.text
    ids = [job.id for job in overview.open_store(str(tmp_path / "spool")).jobs()]
    assert not [line for line in caplog.messages if line.startswith(tuple(f"{one} has to wait" for one in ids))]


def test_an_api_that_does_not_answer_is_asked_once_for_all_jobs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with site(tmp_path, hold=True) as here:
        receive(here, 3)
        here.until("running", "running", "running")
        here.stop()
        here.start(patience=0.5)
        here.until("running", "running", "running")
        here.stub.slow(60)
        begun, waits = len(here.stub.requests), "all jobs have to wait"
        wait_until(lambda: caplog.text.count(waits) >= 4, "four times nobody answers")
        asked, waited = len(here.stub.requests) - begun, caplog.text.count(waits)
        assert asked <= waited + 2  # the one that was under way when it became slow, and the next one
        receive(here)
        here.until("running", "running", "running", "submitting")
        here.stub.slow(0)
        here.pretend.release()
        here.returned(4)


def test_the_answer_to_a_submission_is_lost(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        here.stub.lose_reply_next()
        receive(here)
        here.returned()
        assert created(here) == 1


def test_the_api_fails_for_a_time_at_every_step(tmp_path: Path) -> None:
    with site(tmp_path, hold=True) as here:
        here.stub.fail_next(4, 503)
        receive(here)
        here.until("running")
        here.stub.fail_next(4, 500)
        here.pretend.release()
        here.returned()
        assert created(here) == 1


def test_wrong_credentials_are_waited_for(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        here.stub.token = "another"
        receive(here)
        here.says("renew the token")
        here.stub.token = ""
        here.returned()


def test_a_right_that_lacks_is_waited_for(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        here.stub.denied.add(("create", "workflows"))
        receive(here)
        here.says("give this account the right")
        here.stub.denied.clear()
        here.returned()


# -- the store --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [AWAY, NoBucket("the bucket does not exist")], ids=["away", "no bucket"])
def test_the_store_lacks_when_the_study_is_handed_over(tmp_path: Path, trouble: Exception) -> None:
    with site(tmp_path) as here:
        here.ours.error = trouble
        receive(here)
        here.says(str(trouble))
        assert created(here) == 0
        here.ours.error = None
        here.returned()


@pytest.mark.parametrize("trouble", [AWAY, NoBucket("the bucket does not exist")], ids=["away", "no bucket"])
def test_the_store_lacks_when_the_result_is_there(tmp_path: Path, trouble: Exception) -> None:
    with site(tmp_path, hold=True) as here:
        receive(here)
        here.until("running")
        here.ours.error = trouble
        here.pretend.release()
        here.says(str(trouble))
        assert here.clinic.states() == []
        here.ours.error = None
        here.returned()


def test_a_store_that_is_away_for_one_job_does_not_hold_up_another(tmp_path: Path) -> None:
    """The first study's upload fails for ever, and everything else answers."""
    with site(tmp_path) as here:
        put, first = here.ours.put_folder, ""

        def broken(key: str, folder: Path, *, follow: bool = False) -> str:
            nonlocal first
            first = first or key
            if key == first:
                raise AWAY
            return put(key, folder, follow=follow)

        here.ours.put_folder = broken  # type: ignore[method-assign]
        receive(here)
        here.says(str(AWAY))
        receive(here, 2)
        here.until("submitting", "succeeded", "succeeded")
        here.ours.put_folder = put  # type: ignore[method-assign]
        here.returned(3)


def test_a_result_that_is_gone_is_reported_and_made_again_when_asked_for(tmp_path: Path) -> None:
    with site(tmp_path, hold=True) as here:
        receive(here)
        here.until("running")
        here.ours.error = AWAY
        here.pretend.release()
        here.says(str(AWAY))
        for name in [name for name in here.bucket.objects if RESULT.match(name)]:
            del here.bucket.objects[name]
        here.ours.error = None
        (job,) = here.until("failed")
        assert "no result any more" in job.message
        overview.retry(here.clinic.adapter.store, job.id)
        here.returned()


# -- Workflows --------------------------------------------------------------------------------------------------------


def test_a_workflow_deleted_by_hand_is_submitted_again_once(tmp_path: Path) -> None:
    with site(tmp_path, hold=True) as here:
        receive(here)
        here.until("running")
        here.delete_workflow()
        wait_until(lambda: created(here) == 2, "the second Workflow")
        here.pretend.release()
        here.returned()


def test_a_workflow_deleted_twice_is_reported_and_comes_back_when_asked_for(tmp_path: Path) -> None:
    with site(tmp_path, hold=True) as here:
        receive(here)
        here.until("running")
        first = here.delete_workflow()
        wait_until(lambda: [one["metadata"]["uid"] for one in here.stub.list(WORKFLOWS)] not in ([], [first]), "a new")
        here.until("running")
        here.delete_workflow()
        (job,) = here.until("failed")
        assert "was deleted twice where it ran" in job.message
        overview.retry(here.clinic.adapter.store, job.id)
        here.pretend.release()
        here.returned()


def test_a_workflow_deleted_when_it_had_succeeded(tmp_path: Path) -> None:
    with site(tmp_path, hold=True) as here:
        receive(here)
        here.until("running")
        here.ours.error = AWAY
        here.pretend.release()
        here.says(str(AWAY))
        here.delete_workflow()
        here.ours.error = None
        here.returned()
        assert created(here) == 2


def test_a_failed_stage_is_reported_with_its_reason_and_runs_again_when_asked_for(tmp_path: Path) -> None:
    with site(tmp_path, failures=(Failure(code=3, error="the model is broken"),)) as here:
        receive(here)
        (job,) = here.until("failed")
        assert job.message.startswith("stage 'derive': ") and "the model is broken" in job.message
        assert here.clinic.states() == []
        overview.retry(here.clinic.adapter.store, job.id)
        here.returned()
        assert created(here) == 1


def test_a_job_stopped_on_the_cluster_is_reported(tmp_path: Path) -> None:
    with site(tmp_path, hold=True) as here:
        receive(here)
        (job,) = here.until("running")
        here.stub.change(WORKFLOWS, f"clara-{job.id}", {"spec": {"shutdown": "Terminate"}})
        here.until("stopped")
        overview.retry(here.clinic.adapter.store, job.id)
        here.pretend.release()
        here.returned()


def test_a_workflow_that_was_changed_takes_the_place_of_one_that_runs(tmp_path: Path) -> None:
    """Stopped on the cluster first, also when that is away at the start."""
    with site(tmp_path, hold=True) as here:
        receive(here)
        (job,) = here.until("running")
        here.stop()
        here.change()
        here.stub.down()
        here.start()
        here.says("cannot be reached")
        here.stub.up()
        here.until("stopped", "submitting")
        assert here.stub.get(WORKFLOWS, f"clara-{job.id}")["spec"]["shutdown"] == "Terminate"
        here.apply()
        here.pretend.release()
        here.returned()


# -- starts and stops -------------------------------------------------------------------------------------------------


def test_jobs_go_on_while_the_adapter_is_not_there(tmp_path: Path) -> None:
    with site(tmp_path, hold=True) as here:
        receive(here)
        here.until("running")
        here.stop()
        assert here.stub.list(WORKFLOWS)[0]["spec"].get("shutdown") is None
        here.pretend.release()
        wait_until(lambda: here.stub.list(WORKFLOWS)[0]["status"]["phase"] == "Succeeded", "the job")
        here.start()
        here.returned()
        assert created(here) == 1


def test_a_workflow_deleted_while_the_adapter_is_not_there(tmp_path: Path) -> None:
    with site(tmp_path, hold=True) as here:
        receive(here)
        here.until("running")
        here.stop()
        here.delete_workflow()
        here.pretend.release()
        here.start()
        here.returned()


def test_a_study_is_returned_though_its_copy_cannot_be_given_up_until_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with site(tmp_path) as here:
        here.stub.denied.add(PATCH)
        receive(here)
        wait_until(lambda: here.clinic.states() == ["sent"], "the delivery")
        wait_until(lambda: "stays where it was made" in caplog.text, "the warning")
        here.stop()
        here.stub.denied.clear()
        here.start()
        here.returned()


def test_kills_are_not_blamed_on_jobs_that_only_wait_or_run_on_the_cluster(tmp_path: Path) -> None:
    with site(tmp_path, hold=True) as here:
        receive(here)
        here.until("running")
        here.remove_template()
        receive(here, 2)
        wait_until(lambda: sum("clara apply" in job.message for job in here.jobs()) == 2, "two jobs wait")
        for _ in range(3):
            here.clinic.adapter.store.count_crashes()  # as a start after kill -9 does
        assert [job.crashes for job in here.jobs()] == [0, 0, 0]
        here.apply()
        here.pretend.release()
        here.returned(3)
