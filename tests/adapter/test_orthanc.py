"""The loop with a real PACS: Orthanc sends us every study that has become stable; our result makes it stable again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from adapter.hospital import CALLED, HOST, Study, clinic, configuration, free_port, send, stage_project, wait_until

from clara_argo.model.route import Destination, Source

ORTHANC = shutil.which("Orthanc", path=os.environ.get("PATH", "") + ":/usr/sbin")
pytestmark = pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed; on Debian: apt-get install orthanc")
SEND_EVERY_STABLE_STUDY = """
function OnStableStudy(study, tags, metadata)
  RestApiPost('/modalities/clara/store', DumpJson({Resources = {study}, Synchronous = false}, true))
end
"""


def get(port: int, path: str) -> Any:
    connection = HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@contextmanager
def orthanc(folder: Path, adapter_port: int) -> Iterator[tuple[int, int]]:
    """Its DICOM and HTTP ports."""
    folder.mkdir()
    dicom, http = free_port(), free_port()
    (folder / "route.lua").write_text(SEND_EVERY_STABLE_STUDY)
    settings = {
        "Name": "TEST",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": http,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "DicomAlwaysAllowStore": True,
        "OverwriteInstances": True,
        "StableAge": 1,
        "DicomModalities": {"clara": [CALLED, HOST, adapter_port]},
        "LuaScripts": [str(folder / "route.lua")],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"}
        )
    try:
        wait_until(lambda: process.poll() is not None or _answers(http), "Orthanc answers")
        assert process.poll() is None, (folder / "log").read_text()
        yield dicom, http
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return bool(get(port, "/system"))
    except (OSError, HTTPException):
        return False


def test_a_pacs_that_sends_every_stable_study_gets_one_result(tmp_path: Path) -> None:
    folder, port, study = stage_project(tmp_path / "project"), free_port(), Study()
    with orthanc(tmp_path / "orthanc", port) as (dicom, http):
        config = replace(
            configuration(tmp_path / "spool", {"PACS": dicom}),
            port=port,
            sources=(Source(name="CT1", ae_title="ORTHANC", host=HOST),),
            destinations=(Destination(name="PACS", ae_title="ORTHANC", host=HOST, port=dicom),),
        )
        with clinic(config, folder) as site:
            assert len(send(study.slices(5), dicom, called="ORTHANC")) == 5
            wait_until(lambda: site.states() == ["sent"], "the result is delivered")
            aside = tmp_path / "spool" / "aside" / "ours"
            wait_until(lambda: aside.is_dir() and len(list(aside.iterdir())) == 1, "Orthanc sends the result to us")
            assert site.adapter.store.receiving() == []
            assert len(site.adapter.store.jobs()) == 1
            assert get(http, "/statistics")["CountInstances"] == 6
            assert get(http, "/statistics")["CountStudies"] == 1
