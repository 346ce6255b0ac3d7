"""What differs between a template on a cluster and a compiled one, in words of a workflow file where there are some.

Pure. What the cluster writes itself (metadata but for our annotations, status) is not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clara_argo.compile.workflow import DESCRIPTION, DIGEST, STAGES, WORKFLOW_DIGEST
from clara_driver import contract

Path = tuple[str, ...]
LONGEST = 80  # characters of a value in a message

# What a path of a leaf template, or of a container in one, is called in a stage's or workflow's file.
WORDS: Mapping[str, str] = {
    "image": "image",
    "command": "command",
    "args": "arguments",
    "activeDeadlineSeconds": "timeout",
    "retryStrategy": "retries",
    "retryStrategy.limit": "retries",
    "resources.requests.cpu": "cpu",
    "resources.requests.memory": "memory",
    "resources.limits.memory": "memory limit",
    "resources.limits.nvidia.com/gpu": "gpu limit",
    "resources.requests.nvidia.com/gpu": "gpu",
}
WHOLE: Mapping[str, str] = {
    "activeDeadlineSeconds": "time limit of a job, seconds",
    "serviceAccountName": "service account",
    "imagePullSecrets": "pull secrets",
    "parallelism": "pods of a job at once",
}
# They differ only because something else does.
QUIET = {DESCRIPTION, DIGEST, WORKFLOW_DIGEST, contract.WORKFLOW_DIGEST, contract.TIMEOUT, "MONAI_TIMEOUT"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """`before` and `after` are plain JSON values, None where there is nothing."""

    path: str
    what: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.what}: new" + _after_colon(self.after)
        if self.after is None:
            return f"{self.what}: removed" + _after_colon(self.before)
        return f"{self.what}: {_short(self.before)} -> {_short(self.after)}"


def _after_colon(value: Any) -> str:
    return "" if isinstance(value, dict | list) else f": {_short(value)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    text = text if text.isprintable() else json.dumps(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def between(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Of two WorkflowTemplates, the one on the cluster and the compiled one."""
    found = list(_differences(_looked_at(before, after), _looked_at(after, after), ()))
    told = [change for change in found if not QUIET & set(change[0])]
    stages = _stages(before) | _stages(after)
    return tuple(_change(*change, stages) for change in told or found)


def _stages(template: Mapping[str, Any]) -> dict[str, str]:
    """Name on the cluster -> stage."""
    try:
        mapped = json.loads((template["metadata"].get("annotations") or {}).get(STAGES, "{}"))
    except ValueError:  # somebody edited it
        return {}
    return {str(name): str(stage) for stage, name in mapped.items()} if isinstance(mapped, dict) else {}


def _looked_at(template: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """The spec, and those annotations that we write."""
    annotations = template["metadata"].get("annotations") or {}
    kept = {name: annotations[name] for name in ours["metadata"]["annotations"] if name in annotations}
    return {"annotations": kept, "spec": template.get("spec") or {}}


def _differences(before: Any, after: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """Lists of named things are compared by name, the others as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _of_mappings(before, after, path)
    elif _named(before) and _named(after):
        yield from _of_mappings({one["name"]: one for one in before}, {one["name"]: one for one in after}, path)
        kept = [one["name"] for one in after if one["name"] in {other["name"] for other in before}]
        if [one["name"] for one in before if one["name"] in kept] != kept:
            yield (*path, "(order)"), [one["name"] for one in before], [one["name"] for one in after]
    elif before != after:
        yield path, before, after


def _of_mappings(before: Mapping[str, Any], after: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any, Any]]:
    for key in dict.fromkeys([*after, *before]):
        if key not in before or key not in after:
            yield (*path, key), before.get(key), after.get(key)
        else:
            yield from _differences(before[key], after[key], (*path, key))


def _named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in value)


def _change(path: Path, before: Any, after: Any, stages: Mapping[str, str]) -> Change:
    return Change(path=".".join(path), what=words(path, stages), before=before, after=after)


def words(path: Path, stages: Mapping[str, str]) -> str:
    """`spec.templates.ai.container.image` -> `stage 'ai', image`. `stages`: name on the cluster -> stage."""
    match path:
        case ("spec", "templates", "main", "containerSet", "containers", stage, *rest) | (
            "spec", "templates", stage, "container", *rest,
        ):  # fmt: skip
            return _of_stage(stages.get(stage, stage), rest)
        case ("spec", "templates", "main", *rest):
            return f"all stages, {_word(rest)}" if rest else "all stages"
        case ("spec", "templates", stage, *rest):
            return _of_stage(stages.get(stage, stage), rest)
        case ("spec", *rest):
            return WHOLE.get(".".join(rest), ".".join(rest))
        case _:
            return ".".join(path)


def _of_stage(stage: str, rest: list[str]) -> str:
    return f"stage '{stage}', {_word(rest)}" if rest else f"stage '{stage}'"


def _word(rest: list[str]) -> str:
    match rest:
        case ["env", name, *_]:
            return f"env {name}"
        case _:
            path = ".".join(rest)
            return WORDS.get(path, path)
