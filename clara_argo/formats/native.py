"""Our own workflow form -> Workflow: the article's fields as parallel lists, or one mapping a stage.

A file holds one workflow, or several: as a list under `workflows:`, or as YAML documents separated by `---`.
What names, locks and folders mean is the graph's business; here only shape and number are judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from types import MappingProxyType

from clara_argo.formats.fields import Fields, empty, kind, short, words
from clara_argo.model.workflow import Step, Workflow
from clara_argo.source import Findings, List, Map, Node, Text

KEYS = frozenset({"id", "name", "description", "stages", "waitLocks", "ioFolders", "args", "pullSecrets"})
LONG_KEYS = frozenset({"id", "name", "description", "stages", "result", "pullSecrets"})
SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # a name in Kubernetes, RFC 1123
STAGE_KEYS = frozenset({"name", "input", "wait", "args"})

Texts = tuple[Text, ...]


def read(nodes: Sequence[Node], findings: Findings) -> tuple[Workflow, ...]:
    """Every workflow of a file's documents. What is wrong is reported; what can still be read is returned.

    An empty document says nothing: `---` may also end a file.
    """
    nodes = [node for node in nodes if not empty(node)] or nodes
    return tuple(workflow(node, findings) for document in nodes for node in _workflows(document, findings))


def _workflows(document: Node, findings: Findings) -> tuple[Node, ...]:
    if not isinstance(document, Map) or "workflows" not in document:
        return (document,)
    fields = Fields(document, findings, "the file")
    fields.unknown({"workflows"})
    nodes = fields.nodes("workflows")
    if not nodes:
        findings.error("no-workflow", "the list of workflows is empty", document.key("workflows"), "add one")
    return nodes


def workflow(node: Node, findings: Findings) -> Workflow:
    """One workflow, in either spelling."""
    name = node.get("name") if isinstance(node, Map) else None
    fields = Fields(node, findings, f"workflow {short(name)}" if isinstance(name, Text) and name else "the workflow")
    long = any(isinstance(stage, Map) for stage in fields.nodes("stages"))
    extra = fields.unknown(LONG_KEYS if long else KEYS)
    steps, results = _long(fields) if long else parallel(fields)
    return Workflow(
        id=fields.required("id", "uuidgen makes one"),
        name=fields.required("name"),
        steps=steps,
        results=results,
        description=fields.text("description").strip(),
        pull_secrets=secrets(fields, "pullSecrets"),
        source=findings.source,
        extra=MappingProxyType(extra),
    )


def secrets(fields: Fields, key: str) -> Texts:
    """Names of the cluster's secrets for the registries of images."""
    found = fields.texts(key)
    for name in found:
        if not SECRET.fullmatch(name):
            message = f"no secret of a cluster can be called {short(name)}"
            fields.findings.error("pull-secret", message, name, "name it as 'kubectl get secrets' does")
    return tuple(name for name in found if SECRET.fullmatch(name))


def parallel(fields: Fields, *, separators: str = "", pad_args: bool = False) -> tuple[tuple[Step, ...], Texts]:
    """`stages`, `waitLocks`, `ioFolders` (one entry more) and `args`, entry by entry.

    An entry of waitLocks or ioFolders is a text or a list of texts; where `separators` is given, a text may hold
    several, separated by any of these characters. With `pad_args`, a short list of arguments is no error.
    """
    fields.need("stages", "stages: [dicom-reader, …]")
    fields.need("ioFolders", "one entry for each stage, and the result: [dicom-reader/input, …]")
    fields.texts("stages")
    stages = fields.nodes("stages")
    count = len(stages)
    folders = [_entry(fields, "ioFolders", node, separators) for node in fields.nodes("ioFolders")]
    locks = [_entry(fields, "waitLocks", node, separators) for node in fields.nodes("waitLocks")]
    args = [words(node, fields.findings, f"entry {n}") for n, node in enumerate(fields.nodes("args"), 1)]
    if count:
        _count(fields, "ioFolders", len(folders), count + 1, f"one for each of {count} stages and one for the result")
        _count(fields, "waitLocks", len(locks), count, 'one for each stage, "" where it waits for nothing')
        if not pad_args or len(args) > count:
            _count(fields, "args", len(args), count, 'one for each stage, "" where it has none')
    for number, folder in enumerate(folders):
        if not folder:
            message = f"entry {number + 1} of 'ioFolders' of {fields.what} is empty"
            fields.findings.error("empty-folder", message, fields.nodes("ioFolders")[number], "name a folder")
    rows = zip_longest(stages, folders[:count], locks[:count], args[:count], fillvalue=())
    steps = [Step(stage=s, reads=r, waits_for=w, args=a) for s, r, w, a in rows if isinstance(s, Text)]
    return tuple(steps), folders[count] if 0 < count < len(folders) else ()


def _count(fields: Fields, key: str, found: int, wanted: int, hint: str) -> None:
    optional = key == "args" or (key == "waitLocks" and wanted <= 1)
    if found == wanted or (not found and (optional or key == "ioFolders")):
        return
    message = f"{key!r} of {fields.what} has {found} entries, not {wanted}"
    fields.findings.error("count", message, fields.at(key), hint)


def _entry(fields: Fields, key: str, node: Node, separators: str = "") -> Texts:
    """One entry: nothing, a text, or a list of texts."""
    if isinstance(node, List):
        found: list[Text] = []
        for item in node:
            if isinstance(item, Text) and item:
                found.append(item)
            else:
                what = kind(item) if item else "empty"
                fields.findings.error("kind", f"an entry of {key!r} of {fields.what} is {what}", item, "name one")
        return tuple(found)
    if isinstance(node, Map):
        message = f"an entry of {key!r} of {fields.what} must be a text or a list of texts, not a mapping"
        fields.findings.error("kind", message, node, "quote it if it is a text")
        return ()
    return () if empty(node) else split(node, separators)


def split(text: Text, separators: str) -> Texts:
    """The parts of a text, each with its place."""
    parts, start = [], 0
    for end in range(len(text) + 1):
        if end == len(text) or text[end] in separators:
            if end > start:
                parts.append(text.part(start, end))
            start = end + 1
    return tuple(parts)


def _long(fields: Fields) -> tuple[tuple[Step, ...], Texts]:
    """One mapping a stage: name, input, wait, args. The first one reads the payload when it does not say."""
    steps = []
    for number, node in enumerate(fields.nodes("stages"), 1):
        stage = Fields(node, fields.findings, f"stage {number} of {fields.what}")
        stage.unknown(STAGE_KEYS)
        name = stage.required("name")
        steps.append(
            Step(
                stage=name,
                reads=_some(stage, "input") or _default_input(stage, number, name),
                waits_for=_some(stage, "wait"),
                args=words(stage.get("args"), fields.findings, stage.what),
            )
        )
    last = steps[-1].stage
    place = fields.nodes("stages")[-1]
    return tuple(steps), _some(fields, "result") or (Text(f"{last}/output", place.source, place.line, place.column),)


def _default_input(stage: Fields, number: int, name: str) -> Texts:
    if number > 1:
        stage.required("input", "say what it reads, for example 'input: dicom-reader/output'")
    node = stage.at("name")
    return (Text(f"{name}/input", node.source, node.line, node.column),)


def _some(fields: Fields, key: str) -> Texts:
    node = fields.get(key)
    return () if node is None else _entry(fields, key, node)
