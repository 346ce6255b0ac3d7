"""plan.json of a job: written once a start, read when another process goes on."""

from __future__ import annotations

import json
from pathlib import Path

from clara_argo.artifacts import tree
from clara_argo.errors import NotFound
from clara_argo.model.target import PROCESS
from clara_argo.runners import plan
from clara_argo.runners.plan import Plan


def write_plan(path: Path, value: Plan) -> None:
    tree.write_text(path, json.dumps(plan.to_json(value), indent=1) + "\n")


def read_plan(path: Path) -> Plan:
    """Raises NotFound when the job cannot go on from what is on disk; the text says how it can."""
    try:
        return plan.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotFound(f"{path} cannot be read ({error!r}); start the job again with its workflow file") from None


def read_engine(path: Path) -> str:
    """The engine of a job that is there; that of all jobs of old when its plan cannot be read."""
    try:
        return read_plan(path).engine
    except NotFound:
        return PROCESS
