"""What every ArtifactStore promises, as tests: subclass `StoreContract` and give it an empty `store`."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from clara_argo.artifacts import ArtifactStore, tree
from clara_argo.errors import NotFound, UsageError


def folder(root: Path, **files: str) -> Path:
    """A folder with these files; `__` in a name is a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def odd_folder(root: Path, large: int = (2 << 20) + 1) -> Path:
    """Everything that a folder may hold: empty files and folders, odd and long names, something `large` (bytes)."""
    folder(root, empty="", deep__er="1")
    for name in ("no-files/at-all", "Ä ö+%20", "n" * 200, "d" * 90 + "/" + "e" * 200, os.fsdecode(b"\xff\xfe")):
        (root / name).mkdir(parents=True)
    (root / "line\nbreak").write_text("2")
    (root / ("d" * 90) / ("e" * 200) / "ü").write_text("3")
    (root / "large").write_bytes(random.Random(1).randbytes(large))
    return root


class StoreContract:
    def test_put_get_list_delete(self, store: ArtifactStore, tmp_path: Path) -> None:
        source = folder(tmp_path / "a", x="1", deep__y="2")
        assert store.list() == () and not store.exists("jobs/1/one/output")
        digest = store.put_folder("jobs/1/one/output", source)
        assert digest == store.digest("jobs/1/one/output") == tree.digest(source)
        store.put_folder("jobs/1", folder(tmp_path / "b", z="3"))
        assert store.list() == ("jobs/1", "jobs/1/one/output")
        assert store.list("jobs/1/") == ("jobs/1/one/output",)
        assert store.exists("jobs/1") and not store.exists("jobs/1/one") and not store.exists("jobs")
        into = store.get_folder("jobs/1/one/output", tmp_path / "new/into")
        assert (into / "x").read_text() == "1" and (into / "deep/y").read_text() == "2"
        store.delete("jobs/1/one/output")
        store.delete("jobs/1/one/output")
        assert store.list() == ("jobs/1",)

    def test_what_is_not_there(self, store: ArtifactStore, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="jobs/1"):
            store.get_folder("jobs/1", tmp_path / "into")
        with pytest.raises(NotFound, match="jobs/1"):
            store.digest("jobs/1")
        assert list(tmp_path.iterdir()) == []

    def test_put_replaces(self, store: ArtifactStore, tmp_path: Path) -> None:
        store.put_folder("k", folder(tmp_path / "a", x="1"))
        store.put_folder("k", folder(tmp_path / "b", y="2"))
        into = store.get_folder("k", tmp_path / "into")
        assert [path.name for path in into.iterdir()] == ["y"]
        assert store.list() == ("k",)

    def test_a_bad_folder_changes_nothing(self, store: ArtifactStore, tmp_path: Path) -> None:
        store.put_folder("k", folder(tmp_path / "a", x="1"))
        bad = folder(tmp_path / "b", y="2")
        (bad / "link").symlink_to("y")
        with pytest.raises(tree.Unusable, match="'link' is a link"):
            store.put_folder("k", bad)
        assert store.digest("k") == tree.digest(tmp_path / "a")

    def test_links_are_read_on_demand(self, store: ArtifactStore, tmp_path: Path) -> None:
        linked = folder(tmp_path / "a", x="1")
        (linked / "link").symlink_to(folder(tmp_path / "elsewhere", y="2"))
        digest = store.put_folder("k", linked, follow=True)
        into = store.get_folder("k", tmp_path / "into")
        assert (into / "link/y").read_text() == "2" and not (into / "link").is_symlink()
        assert tree.digest(into) == digest

    def test_what_comes_back_is_what_went_in(self, store: ArtifactStore, tmp_path: Path) -> None:
        source = odd_folder(tmp_path / "a", large=(17 << 20) + 1)
        assert store.put_folder("k", source) == tree.digest(source)
        empty = tmp_path / "into"
        empty.mkdir()
        assert tree.digest(store.get_folder("k", empty)) == store.digest("k") == tree.digest(source)

    def test_an_empty_folder_is_a_folder(self, store: ArtifactStore, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        digest = store.put_folder("k", tmp_path / "a")
        assert list(store.get_folder("k", tmp_path / "into").iterdir()) == []
        assert store.digest("k") == digest

    def test_a_folder_with_something_in_it_is_not_replaced(self, store: ArtifactStore, tmp_path: Path) -> None:
        store.put_folder("k", folder(tmp_path / "a", x="1"))
        full = folder(tmp_path / "full", z="3")
        with pytest.raises(OSError, match="not empty"):
            store.get_folder("k", full)
        assert [path.name for path in full.iterdir()] == ["z"]
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "store") == ["a", "full"]

    @pytest.mark.parametrize(
        "key", ["", "..", "../x", "/etc", "a//b", "a/../b", ".hidden", "a\0b", "k.folder", "k.tgz", "a b", "a/", "ä"]
    )
    def test_keys_stay_below_the_root(self, store: ArtifactStore, tmp_path: Path, key: str) -> None:
        source = folder(tmp_path / "a", x="1")
        for ask in (
            lambda: store.put_folder(key, source),
            lambda: store.get_folder(key, tmp_path / "into"),
            lambda: store.exists(key),
            lambda: store.digest(key),
            lambda: store.delete(key),
        ):
            with pytest.raises(UsageError, match="is no key"):
                ask()
