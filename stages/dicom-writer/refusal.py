"""The one error of this stage: a code, what was found, and what to do next. Knows no DICOM."""

from __future__ import annotations

from pathlib import Path

CODES = {
    "E_NO_STUDY": "the stage has no study folder",
    "E_NO_VOLUME": "the input holds no volume",
    "E_VOLUME": "a volume or its sidecar cannot be read or holds values no DICOM image can",
    "E_NO_SOURCE": "the study lacks the series or an instance the volume comes from",
    "E_PATIENT": "the source series speaks of more than one patient or study, or of another one than the sidecar",
    "E_GEOMETRY": "the volume does not lie on the grid of the source series",
    "E_LABELS": "the label map and its segments do not agree, or a segment cannot be written",
    "E_MODALITY": "no derived series is written for images of this kind",
}


class Refused(Exception):
    """`str()` is one line: code, what was found; what next."""

    def __init__(self, code: str, what: str, next_step: str = "") -> None:
        assert code in CODES, code
        self.code = code
        super().__init__(f"{code}: {what}" + (f"; {next_step}" if next_step else ""))


def shown(path: Path, text: str = "") -> str:
    """The file's name, or a text about the file, without folders and long names: they may be identifiers."""
    name = path.stem if len(path.stem) <= 16 else "…" + path.stem[-8:]
    return (text or path.name).replace(f"{path.parent}/", "").replace(path.stem, name)
