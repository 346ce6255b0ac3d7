"""Tags, `{{…}}`: each names something that is declared, in a place where it is known by then.

Of expressions, `{{=…}}`, only retries and lastRetry are looked for; `{{steps.…}}` in steps, and metrics, are not looked
at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from clara_argo.compile.check.dag import ancestors
from clara_argo.compile.check.exclusive import LOOPS
from clara_argo.compile.check.manifest import Manifest, Object, entries, tasks, texts
from clara_argo.compile.structure import Path

# Fields of Argo's own reading: metrics know other tags, items and plug-ins are anybody's text.
ELSEWHERE = frozenset({"metrics", "inline", "plugin", "withItems", "templates"})
OF_WORKFLOW = (
    "name", "namespace", "uid", "status", "failures", "duration", "priority", "serviceAccountName", "mainEntrypoint",
    "scheduledTime", "creationTimestamp", "labels", "annotations", "parameters", "outputs",
)  # fmt: skip
OF_TASK = (
    "id", "ip", "name", "status", "exitCode", "startedAt", "finishedAt", "hostNodeName", "resourceVersion", "outputs"
)  # fmt: skip
OTHERS = ("pod.name", "node.name", "tasks.name", "steps.name", "workflow.parameters.json")
STRING = re.compile(r"'[^']*'|\"[^\"]*\"")
RETRY = re.compile(r"\b(retries|lastRetry)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What a text may name."""

    manifest: Manifest
    template: Object
    tasks: dict[str, Object]  # of the DAG that the text stands in
    known: frozenset[str] | None = None  # those that have ended; None: all of them
    items: bool = False


def check(manifest: Manifest) -> None:
    outside = Scope(manifest=manifest, template={}, tasks={})
    for path, text in texts(manifest.spec, ("spec",), ELSEWHERE):
        _text(outside, path, text)
    for path, template in manifest.templates():
        scope = Scope(
            manifest=manifest, template=template, tasks={str(one["name"]): one for _, one in tasks((), template)}
        )
        for place, text in texts(template, path, ELSEWHERE | {"dag", "steps"}):
            _text(scope, place, text)
        for place, task in tasks(path, template):
            _task(scope, place, task)


def _task(scope: Scope, path: Path, task: Object) -> None:
    known = frozenset(ancestors(str(task["name"]), scope.tasks))
    items = any(field in task for field in LOOPS)
    inside = Scope(
        manifest=scope.manifest, template=scope.template, tasks=scope.tasks, known=known, items=items
    )  # fmt: skip
    for place, text in texts(task, path, ELSEWHERE):
        _text(inside, place, text)


def _text(scope: Scope, path: Path, text: str) -> None:
    for tag in _tags(text):
        if tag is None:
            scope.manifest.error("tag-open", "'{{' is not closed", path, "write '}}' behind the name")
        elif tag.startswith("="):
            if "retryStrategy" not in scope.template and (found := RETRY.search(STRING.sub("", tag))):
                _retry(scope, path, found[0])
        else:
            _tag(scope, path, tag.strip())


def _tags(text: str) -> Iterator[str | None]:
    """What stands between braces; None for braces that do not close."""
    begin = text.find("{{")
    while begin >= 0:
        end = text.find("}}", begin)
        if end < 0:
            yield None
            return
        yield text[begin + 2 : end]
        begin = text.find("{{", end + 2)


def _tag(scope: Scope, path: Path, tag: str) -> None:
    first, *rest = tag.split(".")
    if first == "pod" and ("dag" in scope.template or "steps" in scope.template):
        _unknown(scope, path, tag, "a template that runs in a pod knows it")
    elif tag in OTHERS:
        return
    elif first in READERS:
        READERS[first](scope, path, tag, [*rest, "", ""])
    elif first in ("retries", "lastRetry"):
        if "retryStrategy" not in scope.template:
            _retry(scope, path, first)
    elif first == "item":
        if not scope.items:
            _unknown(scope, path, tag, "no task here has withItems, withParam or withSequence")
    elif first == "steps":
        if "steps" not in scope.template:
            _unknown(scope, path, tag, "only a template of steps has them; name a task of a DAG as tasks.NAME")
    elif first not in ("cron", "error"):
        scope.manifest.warning("tag-unknown", f"Argo leaves {{{{{tag[:60]}}}}} as it is", path, "see Argo's variables")


def _workflow(scope: Scope, path: Path, tag: str, rest: list[str]) -> None:
    manifest = scope.manifest
    if rest[0] not in OF_WORKFLOW:
        _unknown(scope, path, tag, manifest.findings.did_you_mean(rest[0], OF_WORKFLOW, "see Argo's variables"))
    elif rest[0] == "parameters" and rest[1] and not manifest.refers:
        declared = [str(one.get("name")) for _, one in entries((), manifest.spec, "arguments", "parameters")]
        if rest[1] not in declared:
            hint = manifest.findings.did_you_mean(rest[1], declared, "declare it in spec.arguments.parameters")
            _unknown(scope, path, tag, hint)
    elif rest[0] == "outputs" and rest[2] and not manifest.refers:
        sides = (entries((), template, "outputs", rest[1]) for _, template in manifest.templates())
        known = [str(one["globalName"]) for side in sides for _, one in side if "globalName" in one]
        if rest[2] not in known:
            hint = manifest.findings.did_you_mean(rest[2], known, "give an output of a template this globalName")
            _unknown(scope, path, tag, hint)


def _inputs(scope: Scope, path: Path, tag: str, rest: list[str]) -> None:
    _declared(scope, path, tag, scope.template, "inputs", rest)


def _outputs(scope: Scope, path: Path, tag: str, rest: list[str]) -> None:
    if rest[0] not in ("result", "exitCode"):
        _declared(scope, path, tag, scope.template, "outputs", rest)


def _declared(scope: Scope, path: Path, tag: str, template: Object, side: str, rest: list[str]) -> None:
    kind, name = rest[0], rest[1]
    if kind in ("parameters", "artifacts") and not name:
        return  # all of them, as JSON
    declared = [str(one.get("name")) for _, one in entries((), template, side, kind)] if kind in KINDS else []
    if name not in declared:
        hint = scope.manifest.findings.did_you_mean(name, declared, f"declare it in {side}.{kind} of the template")
        _unknown(scope, path, tag, hint)


def _tasks(scope: Scope, path: Path, tag: str, rest: list[str]) -> None:
    name = rest[0]
    task = scope.tasks.get(name)
    if task is None:
        _unknown(scope, path, tag, scope.manifest.findings.did_you_mean(name, scope.tasks, "name a task of this DAG"))
    elif scope.known is not None and name not in scope.known:
        message = f"{{{{{tag}}}}} is not known yet: this task does not wait for {name!r}"
        scope.manifest.error("tag-ancestor", message, path, f"add {name}.Succeeded to depends")
    elif rest[1] not in OF_TASK:
        _unknown(scope, path, tag, scope.manifest.findings.did_you_mean(rest[1], OF_TASK, "see Argo's variables"))
    elif rest[1] == "outputs" and rest[2] not in ("result", "exitCode", ""):
        called = scope.manifest.template(str(task.get("template", "")))
        if called is not None:
            _declared(scope, path, tag, called, "outputs", rest[2:])


KINDS = ("parameters", "artifacts")
READERS = {"workflow": _workflow, "inputs": _inputs, "outputs": _outputs, "tasks": _tasks}


def _unknown(scope: Scope, path: Path, tag: str, hint: str) -> None:
    scope.manifest.error("tag", f"{{{{{tag[:80]}}}}} names nothing that is declared", path, hint)


def _retry(scope: Scope, path: Path, word: str) -> None:
    message = f"{word} is known in a template with a retryStrategy only"
    scope.manifest.error("tag-retry", message, path, "add a retryStrategy, or write the number")
