"""What was found out about one part of a cluster, and how it is mended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"  # jobs run, but slower, or with less safety
    FAIL = "fail"  # jobs do not run, or their results do not come back
    UNKNOWN = "unknown"  # it was not looked at: this account may not, or there is nothing of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    part: str
    level: Level
    said: str
    hint: str = ""  # what to do next
    away: bool = False  # it does not answer now; nothing may be wrong with it


def ok(part: str, said: str) -> Check:
    return Check(part=part, level=Level.OK, said=said)


def warn(part: str, said: str, hint: str) -> Check:
    return Check(part=part, level=Level.WARN, said=said, hint=hint)


def fail(part: str, said: str, hint: str = "", *, away: bool = False) -> Check:
    return Check(part=part, level=Level.FAIL, said=said, hint=hint, away=away)


def unknown(part: str, said: str, hint: str = "") -> Check:
    return Check(part=part, level=Level.UNKNOWN, said=said, hint=hint)
