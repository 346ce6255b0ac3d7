"""What the reader says when it does not read: a refusal with its code, a warning with its code.

Codes are part of the contract (README.md). Identifiers appear only as their last characters, names of patients never.
"""

from __future__ import annotations

from dataclasses import dataclass


class Refuse(Exception):
    """The input is not read. `code` names the reason, `reason` says what was found and what to do next."""

    def __init__(self, code: str, reason: str, about: str = "") -> None:
        """`about` stands behind the code: the number or angle that belongs to it (`n=1`, `15.0 deg`)."""
        super().__init__(code, reason, about)
        self.code = code
        self.reason = reason
        self.about = about

    def __str__(self) -> str:
        return f"{self.code}{' ' + self.about if self.about else ''}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Warn:
    """Something worth knowing that does not make the volume wrong."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def tail(identifier: str, length: int = 8) -> str:
    """The end of an identifier: enough to find it, too little to say whose it is."""
    kept = "".join(c if c.isascii() and c.isprintable() else "?" for c in identifier[-length:])
    return "…" + kept if len(identifier) > length else kept
