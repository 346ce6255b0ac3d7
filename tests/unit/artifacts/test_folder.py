"""The folder store keeps folders all or nothing; what is no plain file does not get in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unit.artifacts.contract import StoreContract, folder

from clara_argo.artifacts import ArtifactStore, tree
from clara_argo.artifacts.folder import FolderStore


class TestFolderStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ArtifactStore:
        return FolderStore(tmp_path / "store")


def test_nothing_but_whole_folders_is_left(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.put_folder("k", folder(tmp_path / "a", x="1"))
    bad = folder(tmp_path / "b", y="2")
    (bad / "link").symlink_to("y")
    with pytest.raises(tree.Unusable):
        store.put_folder("k", bad)
    store.put_folder("k", folder(tmp_path / "c", y="2"))
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["k.folder"]


def test_digest_is_of_names_and_contents_only(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a", x="1", d__y="2"), folder(tmp_path / "b", d__y="2", x="1")
    os.utime(one / "x", (1, 1))
    (one / "x").chmod(0o600)
    assert tree.digest(one) == tree.digest(other)
    seen = {tree.digest(one)}
    for change in (
        lambda: (other / "x").rename(other / "z"),
        lambda: (other / "z").write_text("11"),
        lambda: (other / "empty").mkdir(),
        lambda: (other / os.fsdecode(b"\xff")).write_text(""),
        lambda: folder(other, d__z="2"),
    ):
        change()
        seen.add(tree.digest(other))
    assert len(seen) == 6


def test_contents_do_not_slip_between_files(tmp_path: Path) -> None:
    assert tree.digest(folder(tmp_path / "a", x="12", y="3")) != tree.digest(folder(tmp_path / "b", x="1", y="23"))


def test_publish_is_all_or_nothing(tmp_path: Path) -> None:
    def half(part: Path) -> None:
        (part / "x").write_text("1")
        raise KeyError("in between")

    with pytest.raises(KeyError):
        tree.publish(tmp_path / "into", half)
    assert list(tmp_path.iterdir()) == []


def test_remove_also_where_permissions_are_gone(tmp_path: Path) -> None:
    bad = folder(tmp_path / "a", d__x="1")
    (bad / "d").chmod(0)
    tree.remove(bad)
    tree.remove(bad)
    assert not bad.exists()


def test_names_from_a_disk_are_printed_safely() -> None:
    assert tree.printable("a\x1b[31m\n") == "'a\\x1b[31m\\n'"
    assert len(tree.printable("x" * 5000)) == 160
    tree.printable(os.fsdecode(b"\xff\xfe")).encode("utf-8")


def deep(folder: Path, levels: int, name: str) -> None:
    """A file below more folders than a path can name at once."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)  # noqa: PTH102  relative to a handle
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)


def test_what_is_deeper_than_paths_can_say_is_refused_and_removed(tmp_path: Path) -> None:
    deep(tmp_path / "deep", 1200, "d" * 20)
    with pytest.raises(tree.Unusable, match="too deep"):
        tree.digest(tmp_path / "deep")
    tree.remove(tmp_path / "deep")
    assert list(tmp_path.iterdir()) == []


def test_whatever_it_is_it_can_be_removed(tmp_path: Path) -> None:
    kept = folder(tmp_path / "kept", x="1")
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/link").symlink_to(kept)
    (tmp_path / "a/b/c/file").touch()
    (tmp_path / "a/b").chmod(0)
    os.mkfifo(tmp_path / "pipe")
    for name in ("a", "pipe", "not-there"):
        tree.remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and (kept / "x").is_file()
