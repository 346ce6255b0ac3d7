"""The early-access values.yaml of Clara Deploy (2019) -> Workflows and stage definitions, as its article prints it.

As printed, such a file is no YAML or does not mean what it shows. Two repairs, each a warning with its place and an
error under `--strict`:
R1  keys beside a stage's name (`mount`, `stageName`, …) belong to that stage;
R2  a line with nothing but a UUID is the id of the workflow below it, whatever the indent.
The text is taken apart by lines: stage blocks between `##BEGIN_x##` and `##END_x##`, workflow blocks below an id line,
and the rest; each is read as YAML by itself. A third repair, R7, is the graph's: a folder read without its lock.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from types import MappingProxyType

from clara_argo.errors import DefinitionError
from clara_argo.formats import native, stage
from clara_argo.formats.fields import Fields, empty, short
from clara_argo.model.workflow import StageSpec, Workflow
from clara_argo.source import BLANK_HINT, Findings, List, Map, Node, Text, documents

UUID = r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}"
ID_LINE = re.compile(rf"(\s*(?:-\s+)?)([\"']?)({UUID})\2(?:\s*(:))?\s*(?:#.*)?")
MARKER = re.compile(r"(\s*)##(BEGIN|END)_(\S{1,255}?)##\s*")
ALMOST_MARKER = re.compile(r"\s*(##+\s*(BEGIN|END)_|#\s*(BEGIN|END)_\S*#)")  # not a comment "# END_OF_FILE"
SECTION = re.compile(r"\s*(stages|workflows)\s*:\s*(#.*)?")
KEY = re.compile(r"\s*[\w\"'-]+\s*:")
NO_CONTENT = re.compile(r"\s*(#.*)?")
KEYS = frozenset({"name", "stages", "waitLocks", "ioFolders", "args"})
LOCK_SEPARATORS = ",; "


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines of the file that belong together; `start` counts from 0, `name` is a stage or an id."""

    name: Text
    start: int
    lines: tuple[str, ...]
    bare: bool = False  # an id line without its colon


def looks_like(text: str) -> bool:
    """Whether a text has a marker, or a line that holds only an id."""
    lines = _lines(text)
    return any(map(MARKER.fullmatch, lines)) or bool(_id_lines(lines, _next_contents(lines)))


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _next_contents(lines: list[str]) -> list[str]:
    """For each line the next one below it that is neither empty nor a comment; "" when there is none."""
    found, below = [""] * len(lines), ""
    for number in range(len(lines) - 1, -1, -1):
        found[number] = below
        if not NO_CONTENT.fullmatch(lines[number]):
            below = lines[number]
    return found


def _id_lines(lines: list[str], below: list[str]) -> dict[int, re.Match[str]]:
    """The ids that stand alone in their line and begin a workflow: keys follow them, and no `id:` is before them.

    Others are values: an entry of a list, say. After a dash, the keys are indented more than the dash.
    """
    found, before = {}, ""
    for number, line in enumerate(lines):
        match = ID_LINE.fullmatch(line)
        if match and not before.rstrip().endswith("id:") and _keys_follow(match, below[number]):
            found[number] = match
        before = before if NO_CONTENT.fullmatch(line) else line
    return found


def _keys_follow(found: re.Match[str], below: str) -> bool:
    dash = found[1].find("-")
    if dash >= 0:
        return bool(KEY.match(below)) and len(below) - len(below.lstrip()) > dash
    return not below or bool(KEY.match(below) or ID_LINE.fullmatch(below))


def read(text: str, findings: Findings) -> tuple[tuple[Workflow, ...], tuple[StageSpec, ...]]:
    """Every workflow and stage definition of a file. Raises DefinitionError for an indent that is not of blanks."""
    lines = _lines(text)
    _indents(lines, findings)
    stage_blocks = _cut_stages(lines, findings)
    workflow_blocks = _cut_workflows(lines, findings)
    specs = [spec for block in stage_blocks for spec in _marked_stage(block, findings)]
    parts: list[tuple[Text, Node | None]] = [(block.name, _workflow_node(block, findings)) for block in workflow_blocks]
    for rest in _rest(lines, findings):
        specs += rest.stages()
        parts += rest.workflows()
    stages = _unique(specs, findings)
    workflows = tuple(
        _unread(identity, stages, findings) if node is None else _workflow(identity, node, stages, findings)
        for identity, node in parts
    )
    return workflows, stages


def marked(text: str, findings: Findings) -> tuple[tuple[Text, int, int], ...]:
    """Every block between markers: its name, and its first and last line, counted from 0, markers included."""
    blocks = _cut_stages(_lines(text), findings)
    return tuple((block.name, block.start - 1, block.start + len(block.lines)) for block in blocks)


Pieces = tuple[tuple[Text, Node], ...]


def pieces(text: str, findings: Findings) -> tuple[Pieces, Pieces, tuple[Node, ...]]:
    """What is written, before it means anything: stage blocks, workflow blocks, each with its name, and the rest."""
    lines = _lines(text)
    stages, workflows = _cut_stages(lines, findings), _cut_workflows(lines, findings)
    parsed = [
        tuple((block.name, node) for block in blocks if (node := _parse(block, findings)) is not None)
        for blocks in (stages, workflows)
    ]
    return parsed[0], parsed[1], documents("\n".join(lines), findings.source)


def _indents(lines: list[str], findings: Findings) -> None:
    """A text that was copied from a web page may be indented by blanks that are none."""
    for number, line in enumerate(lines, 1):
        indent = line[: len(line) - len(line.lstrip())]
        wrong = indent.lstrip(" ")[:1]
        if not wrong or not line.strip():
            continue
        place = _place(findings, "", number, indent.index(wrong) + 1)
        if wrong == "\t":
            findings.error("tab", "a tab where YAML wants blanks", place, "indent with blanks")
        else:
            message = f"character U+{ord(wrong):04X} where YAML wants blanks"
            findings.error("blank", message, place, BLANK_HINT)
    findings.check()


def _place(findings: Findings, value: str, line: int, column: int) -> Text:
    return Text(value, findings.source, line, column)


# lines -> blocks


def _cut_stages(lines: list[str], findings: Findings) -> list[_Block]:
    """Take the marked blocks out of `lines`, leaving empty lines."""
    blocks: list[_Block] = []
    opened: Text | None = None
    for number, line in enumerate(lines):
        found = MARKER.fullmatch(line)
        if found is None:
            if ALMOST_MARKER.match(line):
                place = _place(findings, "", number + 1, len(line) - len(line.lstrip()) + 1)
                hint = "write ##BEGIN_name## or ##END_name##"
                findings.error("marker", f"{short(line.strip())} is not a whole marker", place, hint)
            continue
        name = _place(findings, found[3], number + 1, len(found[1]) + 1)
        opened = _marker(name, found[2], opened, lines, blocks, findings)
    if opened is not None:
        _unpaired(opened, "END", findings)
    for block in blocks:
        lines[block.start - 1 : block.start + len(block.lines) + 1] = [""] * (len(block.lines) + 2)
    return blocks


def _marker(
    name: Text, word: str, opened: Text | None, lines: list[str], blocks: list[_Block], findings: Findings
) -> Text | None:
    """One marker line; returns the BEGIN that is open after it."""
    if word == "BEGIN":
        if opened is not None:
            _unpaired(opened, "END", findings)
        return name
    if opened is None:
        _unpaired(name, "BEGIN", findings)
        return None
    if name != opened:
        message = f"##BEGIN_{opened}## in line {opened.line} ends with ##END_{name}##"
        findings.error("marker", message, name, f"write ##END_{opened}##")
    blocks.append(_Block(opened, opened.line, tuple(lines[opened.line : name.line - 1])))
    return None


def _unpaired(name: Text, missing: str, findings: Findings) -> None:
    have = "BEGIN" if missing == "END" else "END"
    message = f"##{have}_{name}## has no ##{missing}_{name}##"
    findings.error("marker", message, name, f"add ##{missing}_{name}## {'after' if missing == 'END' else 'before'} it")


def _cut_workflows(lines: list[str], findings: Findings) -> list[_Block]:
    """Take the workflow blocks (an id line and what stands below it) out of `lines`, leaving empty lines."""
    below = _next_contents(lines)
    ids = _id_lines(lines, below)
    blocks = []
    for number, found in ids.items():
        end = _end(lines, number + 1, ids, below)
        name = _place(findings, found[3], number + 1, len(found[1]) + len(found[2]) + 1)
        blocks.append(_Block(name, number + 1, tuple(lines[number + 1 : end]), bare=not found[4]))
        lines[number:end] = [""] * (end - number)
    return blocks


def _end(lines: list[str], start: int, ids: Container[int], below: list[str]) -> int:
    """Where a workflow block ends: at the next id, at a line indented less than its first key, or at a section."""
    indent: int | None = None
    for number in range(start, len(lines)):
        line = lines[number]
        if NO_CONTENT.fullmatch(line):
            continue
        here = len(line) - len(line.lstrip())
        indent = here if indent is None else indent
        if here < indent or number in ids or (here == indent and _begins_section(line, below[number])):
            return number
    return len(lines)


def _begins_section(line: str, below: str) -> bool:
    """A `stages:` or `workflows:` line with no list below it is a section of the file, not a key of a workflow."""
    return bool(SECTION.fullmatch(line)) and (not below.lstrip().startswith("-") or bool(ID_LINE.fullmatch(below)))


# blocks -> nodes


def _parse(block: _Block, findings: Findings) -> Node | None:
    """The YAML of a block, with the places of the file."""
    try:
        nodes = documents("\n".join(block.lines), findings.source, line=block.start + 1)
    except DefinitionError as error:
        findings.extend(error.findings)
        return None
    if len(nodes) > 1:
        findings.error("documents", f"{short(block.name)} holds more than one document", block.name, "remove '---'")
    return nodes[0] if nodes else Text("", findings.source, block.name.line, block.name.column)


def _marked_stage(block: _Block, findings: Findings) -> list[StageSpec]:
    node = _parse(block, findings)
    if node is None:
        return []
    if not isinstance(node, Map):
        message = f"the block ##BEGIN_{block.name}## holds no stage"
        findings.error("marker", message, block.name, f"write '{block.name}:' and its keys")
        return []
    if block.name not in node:
        inside = [key for key in node if key not in stage.KEYS]
        message = f"the block ##BEGIN_{block.name}## holds " + (
            f"stage {short(inside[0])}" if inside else "no stage name"
        )
        hint = "write the same name in both" if inside else f"write '{block.name}:' first"
        findings.error("marker", message, inside[0] if inside else block.name, hint)
        return []
    return [_hoisted(node, node.key(block.name), findings)]


def _hoisted(node: Map, name: Text, findings: Findings) -> StageSpec:
    """R1: a stage whose keys stand below its name, beside it, or both."""
    below = node[name]
    beside = [key for key in node if key != name]
    if not beside:
        return stage.spec(below, name, findings)
    if not isinstance(below, Map) and not empty(below):
        return stage.spec(below, name, findings)
    keys = ", ".join(beside[:4]) + (", …" if len(beside) > 4 else "")
    message = f"the keys beside {name!r} were taken as its own: {keys}"
    findings.warning("R1", message, beside[0], f"indent them below '{name}:'")
    inner = below if isinstance(below, Map) else Map()
    for key in beside:
        if key in inner:
            message = f"the key {key!r} of stage {name!r} stands below and beside its name"
            findings.error("duplicate-key", message, key, "keep one of the two")
    pairs = [(key, inner[key]) for key in inner] + [(key, node[key]) for key in beside if key not in inner]
    return stage.spec(Map(pairs, below.source, below.line, below.column), name, findings)


def _workflow_node(block: _Block, findings: Findings) -> Node | None:
    """None when it is no YAML."""
    place = block.name
    node = _parse(block, findings)
    first = next(iter(node), None) if isinstance(node, Map) else None
    shallow = isinstance(first, Text) and first.column <= place.column
    if block.bare or shallow:
        what = "stands alone in its line" if block.bare else "has its keys beside it"
        message = f"the id {place} {what}; it was taken as the id of the workflow below it"
        findings.warning("R2", message, place, f"write '{place}:' and indent its keys below it")
    if isinstance(node, Text) and node == "":
        findings.error("no-workflow", f"nothing stands below the id {place}", place, "add name, stages, waitLocks, …")
        return Map((), place.source, place.line, place.column)
    return node


def _rest(lines: list[str], findings: Findings) -> list[_Rest]:
    try:
        return [_Rest(document, findings) for document in documents("\n".join(lines), findings.source)]
    except DefinitionError as error:
        findings.extend(error.findings)
        return []


class _Rest:
    """What is left of the file without its marked and repaired blocks: plain YAML."""

    def __init__(self, document: Node, findings: Findings) -> None:
        self.findings = findings
        self.fields = Fields(document, findings, "the file")

    def stages(self) -> list[StageSpec]:
        """Stage definitions without markers."""
        node = self.fields.node.get("stages")
        if not isinstance(node, Map):
            return []
        names = [key for key in node if key not in stage.KEYS]
        beside = [key for key in node if key in stage.KEYS]
        if beside and len(names) == 1:
            return [_hoisted(node, names[0], self.findings)]
        if beside:
            hint = f"indent them, or put each stage between ##BEGIN_x## and ##END_x##; stages: {', '.join(names)}"
            self.findings.error("R1", "cannot tell whose keys these are", beside[0], hint)
        return [stage.spec(node[name], name, self.findings) for name in names]

    def workflows(self) -> list[tuple[Text, Node]]:
        """Workflows that are plain YAML: ids as keys below `workflows:`, a list of mappings, or the file itself."""
        node = self.fields.node.get("workflows", Text())
        if self.fields.node.get("ioFolders") is not None and isinstance(self.fields.node.get("stages"), List):
            return [(self._identity(self.fields.node), _without_id(self.fields.node))]
        self.fields.unknown({"stages", "workflows"})
        if isinstance(node, Map):
            return [(node.key(key), node[key]) for key in node]
        if isinstance(node, Text):
            if node:
                self.fields.wrong("workflows", "must hold workflows, not a text", "write '<id>:' lines below it")
            return []
        return [(self._identity(item), _without_id(item)) for item in node]

    def _identity(self, node: Node) -> Text:
        identity = Fields(node, self.findings, "the workflow").required("id", "uuidgen makes one")
        return identity if isinstance(identity, Text) else Text(identity, node.source, node.line, node.column)


def _without_id(node: Node) -> Node:
    if not isinstance(node, Map):
        return node
    pairs = [(key, node[key]) for key in node if key != "id"]
    return Map(pairs, node.source, node.line, node.column)


# nodes -> values


def _unique(specs: Iterable[StageSpec], findings: Findings) -> tuple[StageSpec, ...]:
    found: dict[str, StageSpec] = {}
    for spec in specs:
        if spec.name in found:
            findings.error("duplicate-stage", f"stage {short(spec.name)} is defined twice", spec.name, "remove one")
        found.setdefault(spec.name, spec)
    return tuple(found.values())


def _workflow(identity: Text, node: Node, stages: tuple[StageSpec, ...], findings: Findings) -> Workflow:
    fields = Fields(node, findings, f"workflow {short(identity)}")
    extra = fields.unknown(KEYS)
    _short_args(fields)
    steps, results = native.parallel(fields, separators=LOCK_SEPARATORS, pad_args=True)
    return Workflow(
        id=identity,
        name=fields.required("name"),
        steps=steps,
        results=results,
        stages=stages,
        dialect="early-access",
        source=findings.source,
        extra=MappingProxyType(extra),
    )


def _unread(identity: Text, stages: tuple[StageSpec, ...], findings: Findings) -> Workflow:
    """Of a block that is no YAML: what it lacks is not said, for it may be there."""
    return Workflow(
        id=identity, name=identity, steps=(), results=(), stages=stages, dialect="early-access", source=findings.source
    )


def _short_args(fields: Fields) -> None:
    """The old dialect filled up a list of arguments that is missing or too short."""
    have, wanted = len(fields.nodes("args")), len(fields.nodes("stages"))
    if have < wanted:
        message = f"'args' of {fields.what} has {have} entries, not {wanted}; the others have no arguments"
        fields.findings.warning("args-short", message, fields.at("args"), 'add "" for each stage without arguments')
