"""Values that the receiving side hands to the rest of the adapter: who sends, what arrived, why not.

What a peer said stands here as it said it: text to look up and to count, never a path, a label or a command.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Peer:
    """Who opened an association. AE titles without their padding; address as the socket gives it."""

    calling: str
    called: str
    address: str


@dataclass(frozen=True, slots=True)
class Received:
    """One instance on disk, not acknowledged yet.

    path: a complete DICOM file (PS3.10) in the incoming folder, fsynced and closed.
    sop_class, sop_instance: as in the command set (PS3.7 9.1.1), valid UIDs (PS3.5 9.1).
    size: bytes of the file. Behind the file meta, which is ours, stands exactly what the peer sent.
    """

    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    peer: Peer
    size: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The three numbers of an A-ASSOCIATE-RJ (PS3.8 9.3.4) and the words for our own log."""

    result: int
    source: int
    reason: int
    why: str


UNKNOWN_CALLED = Refusal(1, 1, 7, "called AE title not recognized")
UNKNOWN_CALLING = Refusal(1, 1, 3, "calling AE title not recognized")
BUSY = Refusal(2, 3, 2, "local limit exceeded")
