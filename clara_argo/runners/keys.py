"""Of what a stage's output was made, as digests: inputs, arguments, definition, code, models. Dates play no part.

Not in the key: time limit, retries and resources (they change no result), and what other stages of the workflow do,
as far as their outputs stay the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from clara_argo.artifacts import tree
from clara_argo.errors import NotFound
from clara_argo.graph import Node
from clara_argo.runners import attempt
from clara_argo.runners.plan import spec_to_json

LEFT_BY_TOOLS = {"__pycache__", ".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv"}
NO_PART = {"timeout", "retries", "resources", "extra", "folder"}


class Done(NamedTuple):
    """What `done.json` says."""

    key: str
    output: str  # digest of the output folder
    attempt: int
    started: str
    finished: str


def key(node: Node, inputs: Mapping[str, str]) -> str:
    """`inputs`: digest of each folder the stage reads."""
    spec = {name: value for name, value in spec_to_json(node.spec).items() if name not in NO_PART}
    parts = {
        "inputs": dict(inputs),
        "order": [f"{read.stage}/{read.folder}" if read.folder else read.stage for read in node.reads],
        "arguments": list(node.step.args),
        "spec": spec,
        "code": _code(node.spec.folder),
        "models": _models(node),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()


def _code(folder: Path | None) -> str:
    return "" if folder is None else tree.digest(folder, follow=True, skip=_no_source)


def _no_source(name: str) -> bool:
    """What Python, tools and editors leave beside the code; an editor's lock is a link to nowhere."""
    return name in LEFT_BY_TOOLS or name.startswith(".#") or name.endswith((".pyc", ".swp", "~"))


def _models(node: Node) -> str:
    """A folder inside the stage's own is part of its code already."""
    folder = attempt.models(node.spec)
    if folder is None or (node.spec.folder is not None and folder.is_relative_to(node.spec.folder.absolute())):
        return ""
    return tree.digest(folder, follow=True)


def payload_digest(folder: Path) -> str:
    """Raises NotFound, Unusable or OSError: what cannot be read is found before a stage starts."""
    if not folder.is_dir():
        raise NotFound(f"{folder}: the folder with the input is not there (any more)")
    return tree.digest(folder, follow=True)


def read_done(path: Path) -> Done | None:
    """None when there is none, or when it is not one: then the stage runs again."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Done(**values)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
