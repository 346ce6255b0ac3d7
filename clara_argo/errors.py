"""Every error a user can meet, each with the exit code of `clara`. The command line prints it; nothing else does.

Exit codes: 0 done · 1 our bug · 2 definition wrong · 3 not installed · 4 job failed · 5 held by another · 6 not found ·
64 usage · 75 try again · 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class ClaraError(Exception):
    """Base of all expected failures. `str(error)` says where, what, and what to do next."""

    exit_code = 1


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong, or was repaired, in a text the user wrote. Lines and columns count from 1."""

    level: Level
    code: str  # short and stable, e.g. "unknown-stage" or "R1"
    message: str
    hint: str = ""  # what to do next
    source: str = ""
    line: int = 0
    column: int = 0

    @property
    def where(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source

    def __str__(self) -> str:
        text = f"{self.where}: " if self.where else ""
        text += f"{self.level}: {self.message}"
        return f"{text}; {self.hint} [{self.code}]" if self.hint else f"{text} [{self.code}]"


class DefinitionError(ClaraError):
    """A workflow, stage or configuration file is wrong. Carries every finding, not only the first."""

    exit_code = 2

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in self.findings))


class NotInstalled(ClaraError):
    """An optional part is missing; the message says what to install."""

    exit_code = 3


class JobFailed(ClaraError):
    """A job ended without its result."""

    exit_code = 4


class Held(ClaraError):
    """Another process holds what was asked for; the message says who."""

    exit_code = 5


class NotFound(ClaraError):
    """A job, stage, workflow or file of that name does not exist."""

    exit_code = 6


class UsageError(ClaraError):
    """The command line asks for something that cannot be."""

    exit_code = 64


class Refused(UsageError):
    """A cluster or store does not let us: credentials, rights or names are wrong. Once they are mended it goes on."""


class TryAgain(ClaraError):
    """A temporary trouble: a full disk, a peer that is away."""

    exit_code = 75


class Away(TryAgain):
    """An engine or a store does not answer, or fails: whatever needs it has to wait until it is back."""


class Interrupted(ClaraError):
    """Stopped by the user."""

    exit_code = 130
