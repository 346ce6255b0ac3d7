"""The bounds of the receiving side: every buffer, every wait and every count has one, and this is where they stand.

Knows numbers, addresses and the free space of the spool's disk. Knows nothing of DICOM messages.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one peer, and all of them together, may use. Sizes in bytes, waits in seconds."""

    associations: int = 64  # accepted at the same time
    per_address: int = 32  # of these, from one address
    pending: int = 256  # connections that have not asked for an association yet
    pending_per_address: int = 64
    request_bytes: int = 256 * KIB  # one A-ASSOCIATE-RQ
    handshake_seconds: float = 5.0  # from the connection to the complete A-ASSOCIATE-RQ
    pdu_bytes: int = 256 * KIB  # one P-DATA-TF; offered as our maximum length
    pdu_seconds: float = 15.0  # from the first to the last byte of one PDU
    command_bytes: int = 16 * KIB  # one command set
    object_bytes: int = 4 * GIB  # one data set on disk
    object_seconds: float = 600.0  # from a command to the end of its data set
    drain_bytes: int = 256 * MIB  # of a refused data set, read and dropped so that the answer can be given
    idle_seconds: float = 60.0  # between two messages
    send_seconds: float = 15.0  # until the peer has taken an answer
    linger_seconds: float = 2.0  # for the peer to close after a refusal or a release
    backlog: int = 128
    disk_used: float = 0.85  # refuse new associations above this share of the disk ...
    disk_free: int = 4 * GIB  # ... once less than this is free


class Slots:
    """Counts the associations, in all and for each address. A slot is taken before the thread exists that uses it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, address: str) -> bool:
        with self._lock:
            full = self._taken.total() >= self._limits.associations
            if full or self._taken[address] >= self._limits.per_address:
                return False
            self._taken[address] += 1
            return True

    def give_back(self, address: str) -> None:
        with self._lock:
            self._taken[address] -= 1
            if self._taken[address] <= 0:
                del self._taken[address]

    def __len__(self) -> int:
        with self._lock:
            return self._taken.total()


def disk_is_full(folder: Path, limits: Limits) -> bool:
    """Whether the disk of `folder` is above the watermark: used beyond the share and free below the floor."""
    disk = shutil.disk_usage(folder)
    used = 1 - disk.free / disk.total if disk.total else 1.0
    return used >= limits.disk_used and disk.free < limits.disk_free
