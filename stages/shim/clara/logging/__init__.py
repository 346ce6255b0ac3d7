"""`clara.logging`: Python's logging, and `perf_logger` beside it."""

import logging as _logging
from logging import *  # noqa: F403  # Python 3.6 asks a module for no `__getattr__`
from typing import Any

from clara.logging import perf_logger as perf_logger


def __getattr__(name: str) -> Any:
    return getattr(_logging, name)
