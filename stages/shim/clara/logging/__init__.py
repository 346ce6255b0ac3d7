"""`clara.logging`: Python's logging, and `perf_logger` beside it."""

import logging as _logging
from typing import Any

from clara.logging import perf_logger

__all__ = ["perf_logger"]


def __getattr__(name: str) -> Any:
    return getattr(_logging, name)
