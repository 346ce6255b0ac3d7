"""An ArtifactStore in a folder of this machine. Keys are relative paths below it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from clara_argo.artifacts import tree
from clara_argo.errors import NotFound, UsageError

PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
MARK = ".folder"  # what ends a stored key on disk, so that a key may lie below another


def checked(key: str) -> str:
    """The key itself. Raises UsageError when it is none, in whichever store."""
    if not all(PART.fullmatch(part) and not part.endswith((MARK, ".tgz")) for part in key.split("/")):
        raise UsageError(f"{key!r} is no key: parts of letters, digits, '.', '_', '-', with '/' between")
    return key


class FolderStore:
    """`root/<key>.folder` holds the folder of a key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put_folder(self, key: str, folder: Path, *, follow: bool = False) -> str:
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.{os.getpid()}.new")
        tree.publish(new, lambda part: tree.copy(folder, part, follow=follow))
        digest = tree.digest(new)
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        if target.exists():
            target.rename(old)
        tree.move(new, target)
        tree.remove(old)
        return digest

    def get_folder(self, key: str, into: Path) -> Path:
        source = self._existing(key)
        return tree.publish(into, lambda part: tree.copy(source, part))

    def exists(self, key: str) -> bool:
        return self._path(key).is_dir()

    def digest(self, key: str) -> str:
        return tree.digest(self._existing(key))

    def list(self, prefix: str = "") -> tuple[str, ...]:
        keys = (str(path.relative_to(self.root))[: -len(MARK)] for path in self._stored(self.root))
        return tuple(sorted(key for key in keys if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        tree.remove(self._path(key))

    def _stored(self, folder: Path) -> Iterator[Path]:
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.startswith(".") or not path.is_dir():
                continue
            if path.name.endswith(MARK):
                yield path
            else:
                yield from self._stored(path)

    def _path(self, key: str) -> Path:
        parts = checked(key).split("/")
        return self.root.joinpath(*parts[:-1], parts[-1] + MARK)

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_dir():
            raise NotFound(f"nothing is stored under {key!r}")
        return path
