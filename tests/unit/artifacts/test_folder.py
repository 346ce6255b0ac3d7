"""The folder store keeps folders all or nothing; what is no plain file does not get in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clara_argo.artifacts import ArtifactStore, tree
from clara_argo.artifacts.folder import FolderStore
from clara_argo.errors import NotFound, UsageError


def folder(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return FolderStore(tmp_path / "store")


def test_put_get_list_delete(store: ArtifactStore, tmp_path: Path) -> None:
    source = folder(tmp_path / "a", x="1", deep__y="2")
    assert store.list() == () and not store.exists("jobs/1/one/output")
    digest = store.put_folder("jobs/1/one/output", source)
    assert digest == store.digest("jobs/1/one/output") == tree.digest(source)
    store.put_folder("jobs/1", folder(tmp_path / "b", z="3"))
    assert store.list() == ("jobs/1", "jobs/1/one/output")
    assert store.list("jobs/1/") == ("jobs/1/one/output",)
    into = store.get_folder("jobs/1/one/output", tmp_path / "new/into")
    assert (into / "x").read_text() == "1" and (into / "deep/y").read_text() == "2"
    store.delete("jobs/1/one/output")
    store.delete("jobs/1/one/output")
    assert store.list() == ("jobs/1",)
    with pytest.raises(NotFound):
        store.get_folder("jobs/1/one/output", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_put_replaces(store: ArtifactStore, tmp_path: Path) -> None:
    store.put_folder("k", folder(tmp_path / "a", x="1"))
    store.put_folder("k", folder(tmp_path / "b", y="2"))
    assert os.listdir(store.get_folder("k", tmp_path / "into")) == ["y"]  # noqa: PTH208
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["k.folder"]


def test_a_bad_folder_changes_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    store.put_folder("k", folder(tmp_path / "a", x="1"))
    bad = folder(tmp_path / "b", y="2")
    (bad / "link").symlink_to("y")
    with pytest.raises(tree.Unusable, match="'link' is a link"):
        store.put_folder("k", bad)
    assert store.digest("k") == tree.digest(tmp_path / "a")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["k.folder"]


@pytest.mark.parametrize("key", ["", "..", "../x", "/etc", "a//b", "a/../b", ".hidden", "a\0b", "k.folder", "a b"])
def test_keys_stay_below_the_root(store: ArtifactStore, tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError, match="is no key"):
        store.put_folder(key, folder(tmp_path / "a", x="1"))


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
