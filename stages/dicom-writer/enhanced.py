"""Acquisition attributes of an enhanced multi-frame image in the words of a classic one.

Enhanced CT and MR, and legacy converted ones. Only what the shared functional groups say for all frames is taken.
"""

from __future__ import annotations

from collections.abc import Iterable

import identity
from headers import line
from pydicom.dataset import Dataset

ECHO_PULSE = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}


def classic(header: Dataset, keywords: Iterable[str]) -> Dataset:
    """These attributes, from the shared functional groups or the top level."""
    wanted = list(keywords)
    made = identity.copied(header, wanted)
    items = list(_items(header))
    for item in items:
        made.update(identity.copied(item, [keyword for keyword in wanted if keyword in item]))
    for item in items:
        if "EffectiveEchoTime" in item and "EchoTime" not in made:
            made.EchoTime = rounded(item.EffectiveEchoTime)
    scanning = list(ECHO_PULSE.get(line(header, "EchoPulseSequence"), []))
    for keyword, term in (("InversionRecovery", "IR"), ("EchoPlanarPulseSequence", "EP")):
        if any(line(item, keyword) == "YES" for item in (header, *items)):
            scanning.append(term)
    if scanning and "ScanningSequence" not in made:
        made.ScanningSequence = scanning
    return made


def _items(header: Dataset) -> Iterable[Dataset]:
    for group in header.get("SharedFunctionalGroupsSequence") or []:
        for element in group:
            if element.VR == "SQ":
                yield from element.value[:1]


def rounded(value: object) -> str:
    """A double (FD) as the text of a decimal string (DS)."""
    return f"{float(str(value)):.10g}"
