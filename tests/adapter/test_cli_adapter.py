"""`clara adapter check` and `clara adapter serve` as an administrator types them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from adapter.hospital import Pacs, Study, free_port, send, stage_project, wait_until
from adapter.process import AdapterProcess

from clara_adapter import overview

EXAMPLE = Path(__file__).parents[2] / "adapter" / "example.yaml"


def clara(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clara_argo", "adapter", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stage_project(tmp_path / "project")


def write(folder: Path, port: int, workflow: str = "derive", extra: str = "") -> Path:
    AdapterProcess(folder, folder / "spool", port, quiet=0.3)
    path = folder / "adapter.yaml"
    path.write_text(path.read_text().replace("[derive]", f"[{workflow}]") + extra)
    return path


def test_check_says_who_may_send_what_to_whom(folder: Path) -> None:
    done = clara("check", "--config", str(write(folder, 4242)))
    assert done.returncode == 0, done.stderr
    for line in (
        "route ct: called CT_AI",
        "from  CT1 (CT1 at 127.0.0.1)",
        "runs  derive: derive",
        "to    PACS (PACS at 127.0.0.1:4242)",
    ):
        assert line in done.stdout


def test_check_echoes_destinations(folder: Path) -> None:
    with Pacs() as pacs:
        done = clara("check", "--config", str(write(folder, pacs.port)), "--echo")
    assert done.returncode == 0, done.stderr
    assert "answers a C-ECHO" in done.stdout
    done = clara("check", "--config", str(write(folder, free_port())), "--echo", "-o", "json")
    assert done.returncode == 75
    assert "cannot be reached" in json.loads(done.stdout)["echo"]["PACS"]


def test_check_names_a_workflow_that_is_nowhere_with_its_place(folder: Path) -> None:
    path = write(folder, 4242, workflow="deriv")
    done = clara("check", "--config", str(path))
    assert done.returncode == 2
    row = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if "workflows" in line)
    assert f"{path}:{row}:" in done.stdout and "did you mean 'derive'" in done.stdout


def test_check_reports_every_error_at_once(folder: Path) -> None:
    path = write(folder, 4242)
    path.write_text(path.read_text().replace("sources: [CT1]", "sources: [CT2]").replace("port: 1\n", "port: 99999\n"))
    done = clara("check", "--config", str(path), "-o", "json")
    assert done.returncode == 2
    findings = json.loads(done.stdout)["findings"]
    assert sum(finding["level"] == "error" for finding in findings) >= 2
    assert all(finding["where"].startswith(f"{path}:") for finding in findings)


def test_warnings_are_errors_when_strict(folder: Path) -> None:
    path = write(folder, 4242, extra="colour: red\n")
    assert clara("check", "--config", str(path)).returncode == 0
    assert clara("check", "--config", str(path), "--strict").returncode == 2


def test_serve_refuses_a_wrong_configuration(folder: Path) -> None:
    done = clara("serve", "--config", str(write(folder, 4242, workflow="nothing")))
    assert done.returncode == 2 and "nothing" in done.stderr


def test_the_example_is_a_right_configuration() -> None:
    done = clara("check", "--config", str(EXAMPLE), "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["routes"][0]["workflows"]["ct-organs"]
    assert yaml.safe_load(EXAMPLE.read_text())["spool"] == "spool"


def test_serve_ends_cleanly_and_a_second_one_is_refused(folder: Path, tmp_path: Path) -> None:
    with Pacs() as pacs, AdapterProcess(folder, tmp_path / "spool", pacs.port, quiet=0.3) as adapter:
        adapter.start()
        second = clara("serve", "--port", "0", "--config", str(adapter.config))
        assert second.returncode == 5 and "is held by process" in second.stderr
        assert adapter.stop() == 0
        adapter.start()
        assert adapter.process is not None
        adapter.process.send_signal(signal.SIGINT)
        assert adapter.process.wait(timeout=60) == 130


def test_logs_are_json_lines_that_name_nobody(folder: Path, tmp_path: Path) -> None:
    """A study whose identifiers are unique strings goes through success, conflict, refusal and a held result."""
    canary, other = "CANARYPATIENT77", "CANARYPATIENT88"
    study = Study(patient=canary)
    secrets = (canary, other, study.study, study.series, study.frame, "Test^Case")
    with Pacs() as pacs, AdapterProcess(folder, tmp_path / "spool", pacs.port, quiet=0.3) as adapter:
        adapter.start()
        send(study.slices(2), adapter.port)
        wait_until(lambda: len(pacs.kept) == 1, "the result")
        send([study.slice(1, InstanceNumber=9), study.slice(3, PatientID=other)], adapter.port)
        send([study.slice(4, StudyInstanceUID="")], adapter.port)
        assert adapter.stop() == 0
    lines = adapter.log.read_text().splitlines()
    assert len(lines) > 5
    for line in lines:
        assert json.loads(line)["level"] in ("info", "warning", "error")
        assert not [secret for secret in secrets if secret in line], line


@pytest.mark.long
def test_what_failed_is_shown_and_asked_for_again_beside_the_running_adapter(folder: Path, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    script = folder / "stages" / "derive" / "main.py"
    guard = f"import pathlib, sys\nif not pathlib.Path({str(mended)!r}).exists():\n    sys.exit('no luck')\n"
    script.write_text(guard + script.read_text())
    with Pacs() as pacs, AdapterProcess(folder, tmp_path / "spool", pacs.port, quiet=0.3) as adapter:
        config = ["--config", str(adapter.config)]
        assert clara("status", *config).returncode == 6  # no adapter has been there
        adapter.start()
        assert clara("status", *config).stdout == "0 studies are being received, 0 jobs are done and delivered\n"
        send(Study().slices(1), adapter.port)

        def states() -> list[str]:
            store = overview.open_store(str(tmp_path / "spool"))
            try:
                return [job.state for job in store.jobs()] + [one.state for one in store.deliveries()]
            finally:
                store.close()

        wait_until(lambda: states() == ["failed"], "the failure")
        (job,) = json.loads(clara("status", *config, "-o", "json").stdout)["jobs"]
        assert "no luck" in job["message"]
        assert clara("retry", *config).returncode == 64 and clara("retry", *config, "--all", job["id"]).returncode == 64
        assert clara("retry", *config, "0" * 32).returncode == 6
        mended.touch()
        done = clara("retry", *config, job["id"])
        assert (done.returncode, done.stdout) == (0, f"job {job['id']} runs again\n")
        wait_until(lambda: states() == ["succeeded", "sent"], "the result")
        assert len(pacs.kept) == 1
        assert clara("status", *config).stdout.endswith(" 1 jobs are done and delivered\n")
        assert clara("retry", *config, "--all").stdout == "nothing has failed\n"
        assert adapter.stop() == 0
