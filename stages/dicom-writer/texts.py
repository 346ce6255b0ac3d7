"""Numbers and dates as DICOM writes them (PS3.5 6.2). Knows no files."""

from __future__ import annotations

import math
import re

from pydicom.config import RAISE
from pydicom.valuerep import validate_value

VALID = {  # of some VRs, one value (PS3.5 6.2)
    "DS": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?",
    "IS": r"[+-]?\d{1,10}",
    "DA": r"\d{8}",
    "TM": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
    "DT": r"\d{4,14}(\.\d{1,6})?([+-]\d{4})?",
}

PARAGRAPHS = {"LT", "ST", "UT"}  # may have line breaks
TEXTS = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI", "UR", *PARAGRAPHS}


def valid(vr: str, word: str) -> bool:
    """Whether a text is a value of this VR; of a VR that is not looked at, any text is."""
    return vr not in VALID or (re.fullmatch(VALID[vr], word, re.ASCII) is not None and allowed(vr, word))


def allowed(vr: str, word: str) -> bool:
    """Whether one value is as PS3.5 6.2 wants it: length in characters, characters, form."""
    if vr not in TEXTS:
        return True
    if re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f]" if vr in PARAGRAPHS else r"[\x00-\x1f\x7f]", word):
        return False
    if "\ufffd" in word:  # bytes that the source's character set does not have
        return False
    try:
        validate_value(vr, word, RAISE)
    except (ValueError, TypeError):
        return False
    return True


def number(word: str) -> bool:
    """Whether a text is a finite number, of any length: some write more digits than DS may have."""
    return re.fullmatch(VALID["DS"], word, re.ASCII) is not None and math.isfinite(float(word))


def decimal(value: float) -> str:
    """A number as DS, at most 16 characters, with as many digits as fit."""
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return next(text for text in (f"{value:.{digits}g}" for digits in range(17, 0, -1)) if len(text) <= 16)
