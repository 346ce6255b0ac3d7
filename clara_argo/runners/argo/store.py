"""What this runner asks of the store: an ArtifactStore that also gives Argo's own objects, such as archived logs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from clara_argo.artifacts import ArtifactStore


class JobStore(ArtifactStore, Protocol):
    def put_folder(self, key: str, folder: Path, *, follow: bool = False) -> str:
        """As ArtifactStore; `follow`: links in the folder count as what they point to."""

    def read(self, name: str, limit: int = 1 << 20) -> bytes:
        """The first `limit` bytes of a raw object, by its whole name. Raises NotFound."""

    def delete_below(self, prefix: str) -> None:
        """Delete every object whose whole name begins with the prefix and a slash."""
