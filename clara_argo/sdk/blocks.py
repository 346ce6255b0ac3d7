"""The text of a values.yaml, edited block by block: what stands between ##BEGIN_x## and ##END_x##, and nothing else.

Works on the text as it is in the file, with its line ends, byte order mark and comments: every character that is not
part of the block stays.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from clara_argo.errors import DefinitionError
from clara_argo.formats import clara_wf
from clara_argo.source import Findings, Text, did_you_mean, short

BLOCK = """\
##BEGIN_{name}##
    {name}:
        image:
            repository: {name}
            tag: latest
    mount:
        in:
            name: "input"
        out:
            name: "output"
    stageName: "{name}"
    appDir: "/app"
    inputLock: "/app/locks/input.lock"
    inputs: "input"
    logName: "/app/logs/{name}.log"
    outputs: "output"
    lockDir: "/app/locks"
    lockName: "{name}.lock"
    timeout: "300"
##END_{name}##
"""
INDENT = "    "
BYTE_ORDER_MARK = "\ufeff"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SECTION = re.compile(r"stages[ \t]*:[ \t]*(#.*)?")
_VALUE = re.compile(r"stages[ \t]*:")
_NO_CONTENT = re.compile(r"\s*(#.*)?")


class Block(NamedTuple):
    """A stage between its markers: `first` and `last` are the marker lines, counted from 0."""

    name: Text
    first: int
    last: int


def find(text: str, source: str) -> dict[str, Block]:
    """Every block by its name. Raises DefinitionError for markers that do not pair, are nested, or stand twice."""
    findings = Findings(source)
    found: dict[str, Block] = {}
    for name, first, last in clara_wf.marked(text.removeprefix(BYTE_ORDER_MARK), findings):
        if name in found:
            message = f"the block {short(name)} stands here again; it began first in line {found[name].first + 1}"
            findings.error("duplicate-stage", message, name, "remove one of the two")
        found.setdefault(name, Block(name, first, last))
    findings.check()
    return found


def add(text: str, name: str, source: str) -> str:
    """The text with a block for a new stage: below the last block, else below `stages:`.

    Raises DefinitionError for a text without a place for it.
    """
    mark, lines = _lines(text)
    blocks = find(text, source).values()
    after = max((block.last for block in blocks), default=-1)
    indent = INDENT
    if after < 0:
        after = _section(lines, source)
    else:
        line = lines[after]
        indent = line[: len(line) - len(line.lstrip())]
    end = _end_of(lines[after]) or _end_of(lines[0]) or "\n"
    new = [f"{indent}{line}{end}" for line in BLOCK.format(name=name).splitlines()]
    if not _end_of(lines[after]):  # the file has no final newline, and gets none
        lines[after] += end
        new[-1] = new[-1].removesuffix(end)
    return "".join([mark, *lines[: after + 1], *new, *lines[after + 1 :]])


def remove(text: str, name: str, source: str) -> str:
    """The text without the block of a stage. Raises DefinitionError when there is none."""
    found = find(text, source)
    mark, lines = _lines(text)
    if name not in found:
        findings = Findings(source)
        hint = did_you_mean(name, found, f"blocks: {', '.join(found)}" if found else "there is no block")
        findings.error("unknown-stage", f"there is no ##BEGIN_{name}##", None, hint)
        raise DefinitionError(findings.all)
    block = found[name]
    before, after = lines[: block.first], lines[block.last + 1 :]
    if before and not after and not _end_of(lines[block.last]):
        before[-1] = before[-1].removesuffix(_end_of(before[-1]))
    return "".join([mark, *before, *after])


def _lines(text: str) -> tuple[str, list[str]]:
    """The byte order mark, if there is one, and the lines with their ends: CR, LF, or both, as for the reader."""
    rest = text.removeprefix(BYTE_ORDER_MARK)
    return text[: len(text) - len(rest)], _LINE.findall(rest)


def _end_of(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _section(lines: list[str], source: str) -> int:
    """The line `stages:` that begins the section of the file; the key of that name in a workflow holds a list."""
    findings = Findings(source)
    for number, line in enumerate(lines):
        if _VALUE.match(line) and not _is_list(line, lines[number + 1 :]):
            if _SECTION.fullmatch(line.rstrip("\r\n")):
                return number
            place = Text("", source, number + 1, 1)
            findings.error("stages", "'stages:' holds a value in its line", place, "write 'stages:' alone in its line")
            findings.check()
    findings.error("stages", "there is no line 'stages:' to put the block under", None, "add one, alone in its line")
    raise DefinitionError(findings.all)


def _is_list(line: str, below: list[str]) -> bool:
    value = line.partition(":")[2].strip()
    if value and not value.startswith("#"):
        return value.startswith("[")
    content = next((line for line in below if not _NO_CONTENT.fullmatch(line.rstrip("\r\n"))), "")
    return bool(re.match(r"\s*-\s", content))
