"""Logs of the adapter: JSON lines in a service, text on a terminal; identifiers only as keyed hashes.

What a peer said is escaped before it reaches a line, so that one event stays one line. UIDs and patient identifiers
never stand in a log; `pseudonym` gives a stable name for one, which nobody can turn back without the key. AE titles and
addresses name machines, not patients, and stand there as they are.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import sys
import time
from pathlib import Path
from typing import IO

from clara_adapter.spool import flush_folder

NAME = "clara_adapter"
KEY_BYTES = 16  # a file with less than this holds no key
_key = secrets.token_bytes(32)


def pseudonym(text: str) -> str:
    """16 hex digits that stand for an identifier: the same for the same text and key."""
    return hmac.new(_key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:16]


def use_key(file: Path) -> None:
    """Take the key from this file, or make it: pseudonyms then stay the same when the service starts again.

    The file appears with its whole content; only who holds the spool may call this.
    """
    global _key
    kept = file.read_bytes() if file.exists() else b""
    if len(kept) >= KEY_BYTES:
        _key = kept
        return
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
        out.write(_key)
        out.flush()
        os.fsync(out.fileno())
    new.rename(file)
    flush_folder(file.parent)


def printable(text: str, limit: int = 200) -> str:
    """The text on one line, control characters and everything outside ASCII escaped."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return cut.encode("unicode_escape").decode("ascii")


class JsonLines(logging.Formatter):
    """One JSON object a line. What is passed as `extra={"clara": {...}}` becomes keys of it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = getattr(record, "clara", None)
        if isinstance(extra, dict):
            line.update({key: value for key, value in extra.items() if key not in line})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


class Lines(logging.Formatter):
    """Time, level, message; whatever they hold, they stay on one line each."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = f"{clock} {record.levelname.lower():7} {printable(record.getMessage(), 2000)}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def set_up(*, service: bool | None = None, level: int = logging.INFO, stream: IO[str] | None = None) -> None:
    """Send the adapter's log to stderr: JSON lines in a service, text on a terminal (where `service` is not said).

    pynetdicom's and pydicom's own loggers quote identifiers and values, so they are silenced.
    """
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLines() if (not out.isatty() if service is None else service) else Lines())
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    for foreign in ("pynetdicom", "pydicom"):
        quiet = logging.getLogger(foreign)
        quiet.handlers[:] = [logging.NullHandler()]
        quiet.propagate = False
