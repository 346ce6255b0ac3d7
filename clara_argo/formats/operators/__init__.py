"""A pipeline of operators (Clara Deploy, api-version 0.2.0 to 0.7.0) -> a Workflow with its stage definitions.

An operator is a stage: its image, command, variables, and the absolute paths at which it looks for what it reads and
writes. Operators that register results become the workflow's result. What such a file cannot have here is named.
"""

from __future__ import annotations

from clara_argo.formats.operators.pipeline import read
from clara_argo.formats.operators.table import TABLE

__all__ = ["TABLE", "read"]
