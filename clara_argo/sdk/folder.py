"""A new SDK folder."""

from __future__ import annotations

from pathlib import Path

from clara_argo import scaffold, shipped
from clara_argo.sdk import layout


def init(folder: Path) -> dict[str, str]:
    """Make an SDK folder; returns its files and what they are. Raises UsageError or TryAgain; then nothing is left."""
    scaffold.make(folder, lambda: scaffold.copy(shipped.folder("templates") / "sdk", folder))
    return {
        f"{layout.CHARTS[0]}/{layout.VALUES}": "stages and workflows",
        str(layout.ADAPTER): "the DICOM adapter: who may send, what runs, where results go",
        f"{layout.STAGES}/": "the programs of your stages",
        "README.md": "what to type",
        "clara.yaml": "the root of the folder",
    }
