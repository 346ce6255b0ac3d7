"""Named points at which a test may kill the adapter: `CLARA_CRASH_AT=row-committed` ends the process there by SIGKILL.

`CLARA_CRASH_AT=row-committed:3` lets the point pass twice and kills at the third time. Without the variable a point
costs one comparison. Each promise of the adapter stands between two of these points.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection

from clara_argo.errors import UsageError

VARIABLE = "CLARA_CRASH_AT"

POINTS = (
    "part-written",  # the instance is on disk under a temporary name
    "instance-placed",  # it has its final name, its folder is not flushed
    "folder-flushed",  # its folder is flushed, its row is not written
    "row-committed",  # its row is written, the sender has no answer
    "before-seal",  # the study is quiet
    "links-made",  # earlier instances of the study are linked into the payload
    "after-seal",  # payload sealed and jobs written, in one transaction
    "before-submit",
    "submitted",  # the runner has the job, our row does not say so
    "after-submit",
    "job-ended",  # the runner says succeeded, nothing of it is here
    "result-copied",  # the result is here, nothing is written about it
    "deliveries-written",
    "collected",  # the runner has dropped its copy of the result, nothing is written about it
    "before-send",  # the delivery says sending, no connection is open
    "instance-answered",  # the destination has answered, our row does not say so
    "between-instances",  # the answer is written, the next instance is not sent
    "all-answered",  # the delivery still says sending
    "after-sent",
)

_lock = threading.Lock()
_left: dict[str, int] = {}


def arm(runner_points: Collection[str] = ()) -> None:
    """Read the variable; names of `runner_points` are somebody else's.

    Raises UsageError when it names no point: a test that kills nothing proves nothing.
    """
    _left.clear()
    wanted = os.environ.get(VARIABLE, "")
    if not wanted:
        return
    name, _, times = wanted.partition(":")
    if name in runner_points:
        return  # the runner's own
    if name not in POINTS or not (times or "1").isdecimal() or int(times or "1") < 1:
        raise UsageError(
            f"{VARIABLE}={wanted!r}: not a crash point; one of {', '.join(POINTS)}, or one with ':<times>'"
        )
    _left[name] = int(times or "1")


def here(point: str) -> None:
    """Die here, if this is the point that was asked for."""
    if point not in _left:
        return
    with _lock:
        _left[point] -= 1
        if _left[point] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
