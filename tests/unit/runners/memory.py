"""A store in memory with the names and packed objects of a bucket, for tests of a runner on a pretended cluster."""

from __future__ import annotations

import threading
from pathlib import Path

from clara_argo.artifacts import pack, tree
from clara_argo.errors import NotFound


class MemoryStore:
    """`objects`: whole name -> content. `error`: raised by every call, when not None."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.error: Exception | None = None
        self.puts: list[str] = []
        self._lock = threading.Lock()

    def put_folder(self, key: str, folder: Path, *, follow: bool = False) -> str:
        self.ask()
        content = b"".join(pack.pack(folder, follow=follow))
        with self._lock:
            self.puts.append(key)
            self.objects[f"{key}.tgz"] = content
        return tree.digest(folder, follow=follow)

    def get_folder(self, key: str, into: Path) -> Path:
        content = self.read(f"{key}.tgz", 1 << 30)
        return tree.publish(into, lambda part: pack.unpack([content], part, key=key))

    def exists(self, key: str) -> bool:
        self.ask()
        return f"{key}.tgz" in self.objects

    def digest(self, key: str) -> str:
        return pack.digest([self.read(f"{key}.tgz", 1 << 30)], key=key)

    def list(self, prefix: str = "") -> tuple[str, ...]:
        self.ask()
        with self._lock:
            names = [name.removesuffix(".tgz") for name in self.objects if name.endswith(".tgz")]
        return tuple(sorted(name for name in names if name.startswith(prefix)))

    def delete(self, key: str) -> None:
        self.ask()
        with self._lock:
            self.objects.pop(f"{key}.tgz", None)

    def read(self, name: str, limit: int = 1 << 20) -> bytes:
        self.ask()
        try:
            return self.objects[name][:limit]
        except KeyError:
            raise NotFound(f"nothing is stored under {name!r}") from None

    def delete_below(self, prefix: str) -> None:
        self.ask()
        with self._lock:
            for name in [name for name in self.objects if name.startswith(f"{prefix}/")]:
                del self.objects[name]

    def ask(self) -> None:
        if self.error is not None:
            raise self.error
