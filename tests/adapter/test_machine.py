"""What `clara adapter check` finds on this machine, as `serve` would; what a new configuration leaves behind."""

from __future__ import annotations

import contextlib
import logging
import socket
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from adapter.hospital import (
    CALLED,
    HOST,
    Clinic,
    Pacs,
    Study,
    clinic,
    configuration,
    free_port,
    send,
    stage_project,
    tree,
    wait_until,
)  # fmt: skip
from click.testing import CliRunner

from clara_adapter import machine, stranded
from clara_adapter.database import StoreError
from clara_adapter.plan import Plan
from clara_argo.cli.adapter import adapter
from clara_argo.errors import ClaraError, Finding, Level
from clara_argo.model.route import Configuration, Destination, Route

ELSEWHERE = "192.0.2.1"  # RFC 5737: no machine has it


def examined(config: Configuration, *, strict: bool = False) -> tuple[Finding, ...]:
    plan = Plan(file=Path("adapter.yaml"), configuration=config, graphs={}, findings=())
    return machine.examine(plan, strict=strict).findings


def codes(config: Configuration) -> list[tuple[str, Level]]:
    return [(finding.code, finding.level) for finding in examined(config)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stage_project(tmp_path / "project")


def a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file"


def shared(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "theirs").touch()
    return tmp_path / "shared"


PLACES: dict[str, Callable[[Path], Path]] = {
    "below a device": lambda _: Path("/dev/null/x"),
    "below /proc": lambda _: Path("/proc/spool"),
    "a file": a_file,
    "a folder that others use": shared,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_spool_that_cannot_be_is_an_error_as_it_is_for_the_service(tmp_path: Path, folder: Path, place: str) -> None:
    config = configuration(PLACES[place](tmp_path), {})
    assert codes(config) == [("spool", Level.ERROR)]
    with pytest.raises(ClaraError):
        clinic(config, folder).adapter.start()


def test_a_spool_that_can_be_is_not_made(tmp_path: Path) -> None:
    assert codes(configuration(tmp_path / "a" / "spool", {})) == []
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_elsewhere_is_an_error_as_it_is_for_the_service(tmp_path: Path, folder: Path) -> None:
    config = configuration(tmp_path / "spool", {}, host=ELSEWHERE)
    (finding,) = examined(config)
    assert (finding.code, finding.level) == ("address", Level.ERROR) and ELSEWHERE in finding.message
    with pytest.raises(ClaraError, match="no such address"):
        clinic(config, folder).adapter.start()


def test_a_port_where_somebody_listens_already_is_no_error(tmp_path: Path, folder: Path) -> None:
    with clinic(configuration(tmp_path / "spool", {}), folder) as site:
        assert codes(configuration(tmp_path / "spool", {}, port=site.port)) == []
        assert len(send(Study().slices(1), site.port)) == 1


def test_who_listens_everywhere_and_sends_to_itself_is_warned(tmp_path: Path) -> None:
    ours, other = {"host": "127.0.0.1", "port": 11112}, {"host": ELSEWHERE, "port": 11112}
    for place, found in ((ours, [("loop", Level.WARNING)]), (other, []), ({**ours, "port": 104}, [])):
        to = Destination(name="D", ae_title="D", host=str(place["host"]), port=int(str(place["port"])))
        config = configuration(tmp_path / "spool", {}, host="0.0.0.0", port=11112, destinations=(to,))
        assert codes(config) == found


def test_the_command_says_it_and_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    file = folder / "adapter.yaml"
    file.write_text(
        f"ae-title: A\nhost: {ELSEWHERE}\nport: 11112\nspool: /dev/null/x\n"
        "sources: [{ae-title: B, host: b}]\ndestinations: [{ae-title: C, host: c, port: 104}]\n"
        "routes: [{sources: [B], workflows: [derive], destinations: [C]}]\n"
    )
    before = tree(tmp_path)
    done = CliRunner().invoke(adapter, ["check", "--config", str(file)])
    assert done.exit_code == 2
    assert f"{file}: error: spool /dev/null/x" in done.output and "this machine has no such address" in done.output
    assert tree(tmp_path) == before


# -- what a new configuration leaves behind ---------------------------------------------------------------------------


def start_again(config: Configuration, folder: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Errors of a start with this configuration."""
    caplog.clear()
    with clinic(config, folder):
        pass
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def waiting_for(site: Clinic) -> Callable[[], bool]:
    return lambda: any(one.attempts for one in site.adapter.store.deliveries())


def test_deliveries_for_a_destination_that_is_gone_are_said(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configuration(tmp_path / "spool", {"OLD": free_port()})
    with clinic(config, folder) as site:
        send(Study().slices(1), site.port)
        wait_until(waiting_for(site), "an attempt")
    assert codes(config) == [] and stranded.find(tmp_path / "spool" / "state.db", config) == []
    renamed = replace(
        config,
        destinations=(replace(config.destinations[0], name="NEW"),),
        routes=(replace(config.routes[0], destinations=("NEW",)),),
    )
    before = tree(tmp_path / "spool")
    (finding,) = examined(renamed)
    assert (finding.code, finding.level) == ("left-behind", Level.WARNING)
    assert "'OLD'" in finding.message and "1 wait" in finding.message
    assert examined(renamed, strict=True)[0].level is Level.ERROR
    assert tree(tmp_path / "spool") == before
    assert start_again(renamed, folder, caplog) == [finding.message]
    with Pacs(port=config.destinations[0].port), clinic(config, folder) as site:
        wait_until(lambda: site.states() == ["sent"], "the delivery, now that it is named again")


def test_studies_and_jobs_of_a_route_that_is_gone_are_said(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow = stage_project(tmp_path / "slow", script="sleep 60\n", kind="sh")
    config = configuration(tmp_path / "spool", {})
    with clinic(config, slow) as site:
        send(Study().slices(1), site.port)
        wait_until(lambda: [job.state for job in site.adapter.store.jobs()] == ["running"], "the job")
    patient = replace(config, routes=(replace(config.routes[0], settle=replace(config.routes[0].settle, quiet=30)),))
    with clinic(patient, slow) as site:
        send(Study().slices(1), site.port)
    other = Route(name="new", called=CALLED, sources=("CT1",), workflows=("derive",), destinations=())
    renamed = replace(config, routes=(other,))
    found = [finding.message for finding in examined(renamed)]
    assert len(found) == 2 and all("'ct'" in text for text in found)
    errors = start_again(renamed, slow, caplog)
    assert set(found) <= set(errors)


def test_a_state_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    config = configuration(tmp_path / "spool", {})
    (tmp_path / "spool" / "incoming").mkdir(parents=True)
    (tmp_path / "spool" / "state.db").write_bytes(b"garbage" * 1000)
    assert codes(config) == [("state", Level.ERROR)]
    with pytest.raises(StoreError, match="another spool"):
        stranded.find(tmp_path / "spool" / "state.db", config)


def test_a_state_of_another_version_is_an_error_as_it_is_for_the_service(tmp_path: Path, folder: Path) -> None:
    config = configuration(tmp_path / "spool", {})
    with clinic(config, folder):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "spool" / "state.db")) as state, state:
        state.execute("update info set version = version + 1")
    assert codes(config) == [("state", Level.ERROR)]
    with pytest.raises(StoreError, match="use another spool"):
        clinic(config, folder).adapter.start()


def test_the_state_is_read_while_the_adapter_runs(tmp_path: Path, folder: Path) -> None:
    config = configuration(tmp_path / "spool", {"OLD": free_port()})
    with clinic(config, folder) as site:
        send(Study().slices(1), site.port)
        wait_until(waiting_for(site), "an attempt")
        assert codes(replace(config, destinations=(), port=site.port)) == [("left-behind", Level.WARNING)]
        with socket.create_connection((HOST, site.port), timeout=10):
            pass
