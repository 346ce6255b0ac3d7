"""`input` and `output` of an operator: the folders that it reads and writes, where its program looks for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clara_argo.formats.fields import Fields, short
from clara_argo.formats.operators.table import keys
from clara_argo.formats.stage import FOLDER_NAME, is_absolute
from clara_argo.source import Findings, Text

TYPED = ("type", "format", "element-type", "shape")
REWRITE = "FastIO needs a rewrite: let the operator write a file into a folder"


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A folder that it reads: `of` names an operator, empty = the payload; `part` a folder in that output."""

    path: Text
    of: Text
    part: Text


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    path: Text
    name: Text  # empty = its whole output


def inputs(operator: Fields) -> tuple[Input, ...]:
    found = []
    for number, node in enumerate(operator.nodes("input"), 1):
        fields = Fields(node, operator.findings, f"input {number} of {operator.what}")
        fields.unknown(keys("operators[].input[]"))
        _untyped(fields)
        one = Input(path=_path(fields), of=_at(fields, "from"), part=_name(fields))
        if one.part and not one.of:
            fields.wrong("name", "names an output, but of no operator", "add from: OPERATOR")
        found.append(one)
    _once([one.path for one in found], operator)
    _read_once(found, operator)
    return tuple(found)


def outputs(operator: Fields) -> tuple[Output, ...]:
    found: list[Output] = []
    for number, node in enumerate(operator.nodes("output"), 1):
        fields = Fields(node, operator.findings, f"output {number} of {operator.what}")
        fields.unknown(keys("operators[].output[]"))
        _untyped(fields)
        one = Output(path=_path(fields), name=_name(fields))
        if any(one.name.lower() == other.name.lower() for other in found):
            what = f"is {short(one.name)}, as that of another one" if one.name else "is missing, as that of another one"
            fields.wrong("name", what, "give each a name of its own; one may be without")
            continue
        found.append(one)
    _once([one.path for one in found], operator)
    return tuple(found)


def _path(fields: Fields) -> Text:
    text = fields.required("path", "path: /input")
    path = "/" * text.startswith("/") + "/".join(word for word in text.split("/") if word not in ("", "."))
    if text and not is_absolute(path):
        fields.wrong("path", f"must be an absolute path, not {short(text)}", "for example /input")
    elif ":" in path or not path.isprintable():
        fields.wrong("path", f"cannot be {short(text)}", "use letters, digits and what is printable, but no ':'")
    node = fields.at("path")
    return Text(path, node.source, node.line, node.column)


def _at(fields: Fields, key: str) -> Text:
    node = fields.at(key)
    return Text(fields.text(key), node.source, node.line, node.column)


def _name(fields: Fields) -> Text:
    name = _at(fields, "name")
    if name and not FOLDER_NAME.fullmatch(name):
        fields.wrong("name", f"cannot be {short(name)}", "letters, digits, '-' and '_'")
    return name


def _untyped(fields: Fields) -> None:
    """A stream was a folder on the disk, whatever it held; everything else was memory that operators shared."""
    found = [key for key in fields.node if key in TYPED]
    if not found:
        return
    if fields.text("type").lower() == "stream" and "shape" not in fields:
        message = f"{fields.what} is read as a folder; what the stream holds is not looked at"
        fields.findings.notice("fastio", message, fields.at("type"))
    else:
        fields.findings.error("fastio", f"{fields.what} has a type: it is no folder", fields.at(found[0]), REWRITE)


def _once(paths: Iterable[Text], operator: Fields) -> None:
    seen: set[str] = set()
    for path in paths:
        if path and path in seen:
            message = f"{operator.what} has the path {short(path)} twice"
            operator.findings.error("path", message, path, "give each folder a path of its own")
        seen.add(path)


def apart(inputs: Iterable[Input], outputs: Iterable[Output], operator: Fields) -> None:
    """A finding for a folder in another one: each is mounted by itself. The whole output may hold one by its name."""
    taken = {str(one.path): False for one in inputs if one.path}  # whether it is the whole output
    for output in outputs:
        if output.path in taken:
            _inside(output.path, output.path, operator)
        taken[str(output.path)] = not output.name
    folders: tuple[Input | Output, ...] = (*inputs, *outputs)
    for one in folders:
        parent, _, name = one.path.rpartition("/")
        if isinstance(one, Output) and taken.get(parent) and name == one.name:
            continue
        while parent:
            if parent in taken:
                _inside(one.path, parent, operator)
            parent = parent.rpartition("/")[0]


def _inside(path: Text, parent: str, operator: Fields) -> None:
    other = "twice" if path == parent else f"inside another one, {short(parent)}"
    message = f"{operator.what} has the folder {short(path)} {other}"
    operator.findings.error("path", message, path, "give each folder a path beside the others")


def _read_once(found: Iterable[Input], operator: Fields) -> None:
    seen: set[tuple[str, str]] = set()
    for one in found:
        key = (one.of.lower(), one.part.lower())
        if key in seen:
            what = f"the output of {short(one.of)}" if one.of else "the payload"
            message = f"{operator.what} reads {what} twice"
            operator.findings.error("input", message, one.path, "read it at one path")
        seen.add(key)


def output_paths(found: Iterable[Output]) -> dict[str, str]:
    """As a stage's definition says it: "" is the whole output."""
    return {str(one.name): str(one.path) for one in found if one.path}


def written(part: Text, of: Iterable[Output], operator: str, findings: Findings) -> str:
    """The name of an output as its operator writes it, found without capitals. A finding when it has none."""
    names = {one.name.lower(): str(one.name) for one in of if one.name}
    if part and part.lower() not in names:
        listed = ", ".join(map(short, names.values()))
        known = f"it has {listed}" if names else "its output has no name: leave 'name' out"
        hint = findings.did_you_mean(part, names.values(), known)
        findings.error("unknown-output", f"operator {short(operator)} has no output {short(part)}", part, hint)
    return names.get(part.lower(), str(part))
