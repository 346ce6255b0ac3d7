"""The key of the pseudonyms, and who is named in a log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from clara_adapter import log, service
from clara_adapter.peer import Peer


@pytest.mark.parametrize("left", ["log.key", "log.key.new"])
def test_a_key_whose_writing_was_cut_short_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    (tmp_path / left).touch()
    names = []
    for key in (b"a" * 32, b"b" * 32):  # two processes
        monkeypatch.setattr(log, "_key", key)
        log.use_key(tmp_path / "log.key")
        names.append(log.pseudonym("1.2.3"))
    assert names[0] == names[1]
    assert [path.name for path in tmp_path.iterdir()] == ["log.key"]
    assert (tmp_path / "log.key").stat().st_mode & 0o777 == 0o600


def test_the_key_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends the process in the middle, the file is not there or holds a key."""

    def cut(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(log.os, "fsync", cut)  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        log.use_key(tmp_path / "log.key")
    assert not (tmp_path / "log.key").exists()


def test_a_peer_has_one_name_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        service._note_end(Peer("CT1\n", "CT_AI", "10.0.0.5"), True)
    assert "CT1\\n at 10.0.0.5" in caplog.messages[0]
