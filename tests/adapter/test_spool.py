"""Which folders become a spool, and what is done to them. The user is whoever runs the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clara_adapter.spool import Spool
from clara_argo.errors import TryAgain, UsageError


def mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o7777


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A spool that was in use."""
    spool = Spool(tmp_path / "spool")
    spool.make()
    spool.state.touch()
    return spool.root


def test_missing_folders_are_made_for_us_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a" / "b")
    spool.probe()
    assert everything(tmp_path) == set()
    spool.make()
    assert mode(spool.root) == mode(spool.incoming) == 0o700


def test_an_empty_folder_of_ours_is_taken_and_closed(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    (folder / "lost+found").mkdir(parents=True)
    folder.chmod(0o755)
    Spool(folder).probe()
    assert mode(folder) == 0o755
    Spool(folder).make()
    assert mode(folder) == 0o700


def test_a_spool_is_taken_again_whatever_else_lies_in_it(used: Path) -> None:
    (used / "notes.txt").touch()
    used.chmod(0o750)
    Spool(used).probe()
    Spool(used).make()
    assert mode(used) == 0o700


def test_a_spool_whose_making_was_cut_short_is_taken(tmp_path: Path) -> None:
    (tmp_path / "spool" / "incoming").mkdir(parents=True)
    Spool(tmp_path / "spool").make()


@pytest.mark.parametrize("content", ["other.txt", "results/x", "incoming.txt", "state.db"])
@pytest.mark.parametrize("kind", [0o755, 0o1777])
def test_a_folder_that_others_use_stays_as_it_is(tmp_path: Path, content: str, kind: int) -> None:
    folder = tmp_path / "shared"
    (folder / content).parent.mkdir(parents=True)
    (folder / content).touch()
    folder.chmod(kind)
    before = everything(folder)
    for act in (Spool(folder).probe, Spool(folder).make):
        with pytest.raises(UsageError, match="name a folder below it"):
            act()
    assert mode(folder) == kind and everything(folder) == before


def test_an_empty_folder_that_is_made_to_be_shared_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(UsageError, match="made to be shared"):
        Spool(tmp_path).make()
    assert mode(tmp_path) == 0o1777


@pytest.mark.parametrize("folder", ["/", "/tmp", "/mnt", "/usr", "/proc"])
def test_folders_of_the_system_are_refused(folder: str) -> None:
    before = mode(Path(folder))
    with pytest.raises(UsageError, match="name a folder below it"):
        Spool(Path(folder)).make()
    assert mode(Path(folder)) == before


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(UsageError, match=f"belongs to user {user}"):
        Spool(tmp_path).make()


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_a_file_is_no_folder(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    spool = Spool(tmp_path / "file" / below)
    for act in (spool.probe, spool.make):
        with pytest.raises(UsageError, match="name a folder"):
            act()


@pytest.mark.parametrize("place", ["/proc/spool", "/proc/a/b", "/" + "x" * 300])
def test_where_nothing_can_be_made_the_probe_says_so_too(place: str) -> None:
    for act in (Spool(Path(place)).probe, Spool(Path(place)).make):
        with pytest.raises(TryAgain, match="may write"):
            act()


def test_a_link_that_leads_to_itself_is_said(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for act in (Spool(tmp_path / "loop").probe, Spool(tmp_path / "loop").make):
        with pytest.raises((TryAgain, UsageError), match="loop"):
            act()
