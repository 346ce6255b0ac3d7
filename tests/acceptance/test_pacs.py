"""The demo's stand-in PACS, both kinds: what one sends, the other keeps, and faults are said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from clara_argo.demo import pacs
from clara_argo.demo.pacs import Pacs, PacsError
from clara_argo.errors import NotInstalled

FILES = ("CT_small.dcm", "MR_small.dcm", "rtdose.dcm")


@pytest.fixture(params=["dcmtk", "python"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param not in pacs.kinds():
        pytest.skip("dcmtk is not installed")
    return str(request.param)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study" / "deep"
    folder.mkdir(parents=True)
    for name in FILES:
        found = get_testdata_file(name)
        assert isinstance(found, str)
        shutil.copy(found, folder / name)
    return tmp_path / "study"


def test_it_keeps_what_it_is_sent(kind: str, study: Path, tmp_path: Path) -> None:
    with Pacs(tmp_path / "held", kind=kind) as peer:
        peer.send(study, called=peer.ae_title, port=peer.port)
        sent = {pydicom.dcmread(path).SOPInstanceUID for path in study.rglob("*.dcm")}
        assert {pydicom.dcmread(path).SOPInstanceUID for path in peer.received()} == sent
        assert peer.alive
    assert not peer.alive


def test_nobody_there_is_said(kind: str, study: Path, tmp_path: Path) -> None:
    with pytest.raises(PacsError, match="sending failed"):
        Pacs(tmp_path / "held", kind=kind).send(study, called="NOBODY", port=pacs.free_port())


def test_a_kind_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalled, match="dcmtk"):
        Pacs(tmp_path / "held", kind="dcmtk")
