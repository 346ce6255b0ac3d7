"""Whose instance a DICOM file is: the few attributes by which the adapter groups, compares and refuses.

Read from the file in bounded time and memory; pixels and everything nested stay unread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clara_adapter import tags
from clara_adapter.tags import Unreadable

__all__ = ["Identity", "Unreadable", "groups", "is_uid", "read"]

UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")  # PS3.5 9.1
GROUPING = re.compile(r"[0-9][0-9.]*")
UID_LENGTH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Decoded text without padding; empty = absent or empty. Tags of PS3.6 beside the names."""

    sop_class: str = ""  # (0008,0016)
    sop_instance: str = ""  # (0008,0018)
    study: str = ""  # (0020,000D)
    series: str = ""  # (0020,000E)
    patient: str = ""  # (0010,0020); where it is empty, name and birth date
    issuer: str = ""  # (0010,0021)
    frame_of_reference: str = ""  # (0020,0052)

    def other_patient(self, patient: str, issuer: str) -> bool:
        """Whether this is somebody else's. An issuer that only one side names proves nothing."""
        return self.patient != patient or bool(self.issuer and issuer and self.issuer != issuer)


def is_uid(text: str) -> bool:
    """Whether the whole text is a UID (PS3.5 9.1)."""
    return len(text) <= UID_LENGTH and UID.fullmatch(text) is not None


def groups(text: str) -> bool:
    """Whether a Study or Series Instance UID can be worked with: digits and dots, at most 64.

    Real scanners write leading zeros and empty components, which PS3.5 9.1 forbids; nothing goes wrong with them here.
    """
    return len(text) <= UID_LENGTH and GROUPING.fullmatch(text) is not None


def read(file: Path) -> Identity:
    """The identity in a DICOM file (PS3.10). Raises Unreadable; OSError when the file cannot be opened."""
    found = tags.read(file)
    return Identity(
        sop_class=found.get(tags.SOP_CLASS, ""),
        sop_instance=found.get(tags.SOP_INSTANCE, ""),
        study=found.get(tags.STUDY, ""),
        series=found.get(tags.SERIES, ""),
        patient=found.get(tags.PATIENT_ID) or _without_id(found),
        issuer=found.get(tags.ISSUER_OF_PATIENT_ID, ""),
        frame_of_reference=found.get(tags.FRAME_OF_REFERENCE, ""),
    )


def _without_id(found: Mapping[int, str]) -> str:
    """Who it is when nobody gave an ID: two such persons must not become one. Empty when nothing is known."""
    known = [found.get(tags.PATIENT_NAME, ""), found.get(tags.BIRTH_DATE, "")]
    return f"without ID: {' '.join(known)}" if any(known) else ""
