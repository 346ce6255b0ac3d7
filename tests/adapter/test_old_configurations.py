"""Configurations of Clara's own adapter, as `clara adapter serve` and `check` find their workflows."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapter.hospital import stage_project

from clara_adapter import plan
from clara_argo.errors import Level

GONE = "0123456789abcdef0123456789abcdef"  # an id that a platform gave, which no file here has
SERVER = """\
host: 127.0.0.1
port: 11112
sources: [{ae-title: CT1, host-ip: 127.0.0.1}]
ae-titles: [CT_AI]
pipeline-mappings:
  - {name: NAME, clara-ae-title: CT_AI, pipeline-id: GONE}
"""
APPSETTINGS = """\
{"DicomAdapter": {"dicom": {"scp": {
  "port": 11112, // as below
  "sources": [{"aeTitle": "CT1", "hostIp": "127.0.0.1"}],
  "aeTitles": [{"name": "ct", "aeTitle": "CT_AI", "processorSettings": {"pipeline-NAME": "GONE"}}],
}}}, "host": "127.0.0.1"}
"""


@pytest.mark.parametrize("text", [SERVER, APPSETTINGS], ids=["yaml", "json"])
def test_an_id_of_a_platform_that_is_gone_is_found_by_its_name(tmp_path: Path, text: str) -> None:
    file = stage_project(tmp_path / "project") / "old-adapter"
    file.write_text(text.replace("NAME", "derive").replace("GONE", GONE))
    planned = plan.read(file)
    assert planned.graphs[GONE].workflow.name == "derive" and not planned.failed
    (note,) = (finding for finding in planned.findings if finding.code == "unknown-workflow")
    assert note.level is Level.WARNING and note.where.startswith(f"{file}:")
    assert plan.read(file, strict=True).failed


@pytest.mark.parametrize("text", [SERVER, APPSETTINGS], ids=["yaml", "json"])
def test_neither_id_nor_name_is_an_error_at_its_place(tmp_path: Path, text: str) -> None:
    file = stage_project(tmp_path / "project") / "old-adapter"
    file.write_text(text.replace("NAME", "nobody").replace("GONE", GONE))
    errors = [finding for finding in plan.read(file).findings if finding.level is Level.ERROR]
    assert [finding.code for finding in errors] == ["unknown-workflow"]
    assert errors[0].line == text[: text.index("GONE")].count("\n") + 1
