"""Reading what a stage wrote beside its output: logs, its reason, its progress.

A stage may put anything in their place. A link is not followed: from a container it could name a file of this machine.
A pipe is not waited for.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def opened(path: Path) -> BinaryIO | None:
    """None when there is no such file, or what has its name is something else or cannot be read."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        return None
    return open(number, "rb")


def tail(path: Path, size: int) -> str:
    """The last `size` bytes as text; "" when it cannot be read."""
    file = opened(path)
    if file is None:
        return ""
    with file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - size))
        return file.read().decode("utf-8", "replace")
