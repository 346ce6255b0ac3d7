"""Of what a stage's output was made, as digests: inputs, arguments, definition, and code and models, or the image.

Dates play no part. An output of a process is not the same as one of an image, whichever engine ran that.

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


def key(node: Node, inputs: Mapping[str, str], made_of: Mapping[str, str]) -> str:
    """`inputs`: digest of each folder the stage reads; `made_of`: what its engine adds."""
    spec = {name: value for name, value in spec_to_json(node.spec).items() if name not in NO_PART}
    parts = {
        "inputs": dict(inputs),
        "order": [f"{read.stage}/{read.folder}" if read.folder else read.stage for read in node.reads],
        "arguments": list(node.step.args),
        "spec": spec,
        **made_of,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()


def code(folder: Path | None) -> str:
    return "" if folder is None else tree.digest(folder, follow=True, skip=_no_source)


def _no_source(name: str) -> bool:
    """What Python, tools and editors leave beside the code; an editor's lock is a link to nowhere."""
    return name in LEFT_BY_TOOLS or name.startswith(".#") or name.endswith((".pyc", ".swp", "~"))


def models(stage: Path | None, folder: Path | None) -> str:
    """Of its models; inside the stage's own folder they are part of its code already."""
    if folder is None or (stage is not None and folder.is_relative_to(stage.absolute())):
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
