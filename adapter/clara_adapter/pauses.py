"""What met a temporary trouble waits, longer each time; and when the engine itself is away, everything waits for it.

Times are in seconds, on the monotonic clock. Knows no jobs and no runner.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

log = logging.getLogger(__name__)

FIRST, MOST = 1.0, 60.0  # of one payload or job
AWAY_FIRST, AWAY_MOST = 1.0, 15.0  # of everything; so late at most it is seen that the engine is back


@dataclass(slots=True)
class Pause:
    until: float
    seconds: float

    @property
    def over(self) -> bool:
        return self.until <= time.monotonic()


def _longer(old: Pause | None, first: float, most: float) -> Pause:
    seconds = min(old.seconds * 2, most) if old else first
    return Pause(time.monotonic() + seconds, seconds)


class Pauses:
    """`what` is the id of a job or payload. One thread uses it."""

    def __init__(self) -> None:
        self._each: dict[str, Pause] = {}
        self._engine: Pause | None = None

    @property
    def engine_away(self) -> bool:
        """Nothing that needs the engine should be tried now."""
        return self._engine is not None and not self._engine.over

    def may_try(self, what: str) -> bool:
        pause = self._each.get(what)
        return pause is None or pause.over

    def pause(self, what: str, why: object) -> None:
        pause = self._each[what] = _longer(self._each.get(what), FIRST, MOST)
        log.warning("%s has to wait %g s: %s", what, pause.seconds, why)

    def end(self, what: str) -> None:
        self._each.pop(what, None)

    def engine_is_away(self, why: object) -> None:
        """One request has found out, and the next one will be made after the pause: not one for each job."""
        self._engine = _longer(self._engine, AWAY_FIRST, AWAY_MOST)
        log.warning("all jobs have to wait %g s: %s", self._engine.seconds, why)

    def engine_answers(self) -> None:
        if self._engine is not None:
            log.info("jobs go on: what runs them answers again")
        self._engine = None
