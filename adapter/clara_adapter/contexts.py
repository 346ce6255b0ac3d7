"""What the storage SCP negotiates: its name for itself, SOP classes and transfer syntaxes (PS3.4 B, PS3.5 10).

Objects are stored as they were sent, so a syntax is listed when its bytes can be kept and read later. Deflated is not:
a deflated data set of 1 MB may inflate to gigabytes in whoever reads it.
"""

from __future__ import annotations

from collections.abc import Set

from pydicom.uid import UID_dictionary

import clara_argo

IMPLEMENTATION_CLASS_UID = "2.25.223452087042150313938913373481002544000"
IMPLEMENTATION_VERSION_NAME = f"CLARA_ARGO_{clara_argo.__version__}"[:16]

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
UNCOMPRESSED = frozenset({EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE})
TRANSFER_SYNTAXES = UNCOMPRESSED | {
    "1.2.840.10008.1.2.5",  # RLE lossless
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, selection value 1
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K lossless, RPCL
    "1.2.840.10008.1.2.4.203",  # HTJ2K
}

_NEWER_THAN_PYDICOM = {
    "1.2.840.10008.5.1.4.1.1.9.100.1",  # Waveform Presentation State
    "1.2.840.10008.5.1.4.1.1.9.100.2",  # Waveform Acquisition Presentation State
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
    "1.2.840.10008.5.1.4.1.1.66.8",  # Height Map Segmentation
}
STORAGE_CLASSES = frozenset(_NEWER_THAN_PYDICOM) | frozenset(
    uid
    for uid, (name, kind, *_) in UID_dictionary.items()
    if kind == "SOP Class" and "Storage" in name and "Commitment" not in name and "Directory" not in name
)

ACCEPTED, CLASS_NOT_SUPPORTED, SYNTAX_NOT_SUPPORTED = 0, 3, 4  # PS3.8 table 9-18


def choose(abstract_syntax: str, offered: tuple[str, ...]) -> tuple[int, str]:
    """Result and transfer syntax of one presentation context; where none is chosen, the syntax has no meaning.

    The peer's first usable choice, but explicit instead of implicit or big endian where it offers that too: implicit
    loses the types of private elements.
    """
    first = offered[0] if offered and len(offered[0]) <= 64 else IMPLICIT_LE
    if abstract_syntax in STORAGE_CLASSES:
        known: Set[str] = TRANSFER_SYNTAXES
    elif abstract_syntax == VERIFICATION:
        known = UNCOMPRESSED
    else:
        return CLASS_NOT_SUPPORTED, first
    chosen = next((syntax for syntax in offered if syntax in known), None)
    if chosen is None:
        return SYNTAX_NOT_SUPPORTED, first
    if chosen in UNCOMPRESSED and EXPLICIT_LE in offered:
        return ACCEPTED, EXPLICIT_LE
    return ACCEPTED, chosen
