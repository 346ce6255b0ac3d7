"""Folders that stages hand to each other, and where they are kept. Knows nothing of jobs and stages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """An object in a store, whoever put it there."""

    name: str
    size: int  # bytes
    modified: datetime


class ArtifactStore(Protocol):
    """Folders under keys such as `jobs/<job>/<stage>/output`."""

    def put_folder(self, key: str, folder: Path, *, follow: bool = False) -> str:
        """Store a copy, all or nothing; replaces what was there. Returns its digest.

        `follow`: links count as what they point to. Raises tree.Unusable for what is neither a file nor a folder.
        """

    def get_folder(self, key: str, into: Path) -> Path:
        """Copy into a folder that does not exist yet or is empty, all or nothing. Raises NotFound."""

    def exists(self, key: str) -> bool: ...

    def digest(self, key: str) -> str:
        """SHA-256 of names and contents, hex. Raises NotFound."""

    def list(self, prefix: str = "") -> tuple[str, ...]:
        """Keys that begin with the prefix, sorted."""

    def delete(self, key: str) -> None:
        """Deleting what is not there is no error."""
