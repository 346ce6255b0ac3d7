"""When the parts of an operator began and ended: lines on stderr, and with the time in the stage's own log file."""

import os
import time
from typing import Dict

from clara_driver.driver import from_environment

_started: Dict[str, float] = {}


def stage_started(name: str, text: str = "") -> None:
    """A part of the work begins."""
    _started[name] = time.monotonic()
    _say("started", name, text)


def stage_ended(name: str, text: str = "") -> None:
    """It has ended; how long it took is said when its beginning was."""
    begun = _started.pop(name, None)
    took = "" if begun is None else "{:.3f} s".format(time.monotonic() - begun)
    _say("ended", name, text, took)


def _say(event: str, name: str, *more: str) -> None:
    parts = [str(part) for part in more if part and part != name]
    from_environment(os.environ).log("{} {}{}".format(name, event, ": " + ", ".join(parts) if parts else ""))
