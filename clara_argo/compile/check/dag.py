"""The graph of a DAG: who waits for whom. `waits` and `ancestors` are what other rules ask."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter

from clara_argo.compile.check.exclusive import LOOPS
from clara_argo.compile.check.manifest import Manifest, Object, tasks
from clara_argo.compile.structure import Path

RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed")
OF_LOOPS = ("AnySucceeded", "AllFailed")
TOKEN = re.compile(r"\s*(&&|\|\||[!()]|[^\s&|!()]+|.)")
WRONG = "write task names, or task.Result, joined by && || ! and parentheses"


def check(manifest: Manifest) -> None:
    for path, template in manifest.templates():
        if "dag" in template:
            _check(manifest, path, template)


def _check(manifest: Manifest, path: Path, template: Object) -> None:
    found = {str(task.get("name")): task for _, task in tasks(path, template)}
    if not found:
        manifest.error("no-task", "the DAG has no task", (*path, "dag"), "write at least one")
    for place, task in tasks(path, template):
        _fields(manifest, place, task)
        if "depends" in task:
            _depends(manifest, (*place, "depends"), str(task["depends"]), found)
        for number, name in enumerate(task.get("dependencies", [])):
            _known(manifest, (*place, "dependencies", number), str(name), found)
    if {"depends", "dependencies"} <= {field for task in found.values() for field in task}:
        hint = "write depends in every task"
        manifest.error("depends", "depends and dependencies are mixed in one DAG", (*path, "dag"), hint)
    for name in str(template["dag"].get("target", "")).split():
        if "{{" not in name:
            _known(manifest, (*path, "dag", "target"), name, found)
    try:
        TopologicalSorter({name: waits(task) for name, task in found.items()}).prepare()
    except CycleError as error:
        message = f"tasks wait for each other: {' -> '.join(error.args[1])}"
        manifest.error("cycle", message, (*path, "dag"), "remove one of the dependencies")


def waits(task: Object) -> list[str]:
    """The tasks that a task names; those that do not exist too."""
    words = TOKEN.findall(str(task.get("depends", "")).strip())
    named = [_task(word) for word in words if word[0] not in "&|!()"]
    return named + [str(name) for name in task.get("dependencies", [])]


def ancestors(name: str, found: dict[str, Object]) -> set[str]:
    """Everything that has ended before the task begins."""
    seen: set[str] = set()
    ahead = [name]
    while ahead:
        for other in waits(found.get(ahead.pop(), {})):
            if other not in seen:
                seen.add(other)
                ahead.append(other)
    return seen


def _task(word: str) -> str:
    return word.partition(".")[0]


def _fields(manifest: Manifest, path: Path, task: Object) -> None:
    if "depends" in task and "continueOn" in task:
        hint = "name the result in depends: task.Failed"
        manifest.error("depends", "continueOn is not for tasks with depends", (*path, "continueOn"), hint)
    if ("depends" in task or "dependencies" in task) and str(task.get("name"))[:1].isdigit():
        hint = "begin it with a letter"
        manifest.error("depends", "a task that waits has a name that begins with a digit", (*path, "name"), hint)


def _known(manifest: Manifest, path: Path, name: str, found: dict[str, Object]) -> None:
    if name not in found:
        hint = manifest.findings.did_you_mean(name, found, "name a task of this DAG")
        manifest.error("depends", f"no task is called {name!r}", path, hint)


def _depends(manifest: Manifest, path: Path, text: str, found: dict[str, Object]) -> None:
    words = TOKEN.findall(text.strip())
    if not _well_formed(words):
        manifest.error("depends", f"{text[:80]!r} cannot be read", path, WRONG)
        return
    for word in words:
        if word[0] in "&|!()":
            continue
        name, dot, result = word.partition(".")
        _known(manifest, path, name, found)
        if dot and result not in RESULTS:
            manifest.error("depends", f"{result!r} is no result of a task", path, f"one of {', '.join(RESULTS)}")
        if result in OF_LOOPS and name in found and not any(field in found[name] for field in LOOPS):
            message = f"{result} is for tasks with items, which {name!r} has not"
            manifest.error("depends", message, path, "write Succeeded or Failed")


def _well_formed(words: list[str]) -> bool:
    """Operands and operators take turns, and parentheses close."""
    depth, operand = 0, True  # operand: one is expected next
    for word in words:
        if operand:
            if word[0] in "&|)":
                return False
            depth += word == "("
            operand = word in ("!", "(")
        elif word in ("&&", "||"):
            operand = True
        elif word == ")" and depth:
            depth -= 1
        else:
            return False
    return not operand and not depth
