"""The dicom-server-config.yaml of early Clara (2019 to 2020) -> Configuration.

No complete file of that time survives: the keys of items are taken from its article and from the later JSON form.
One repair, a warning with its place:
R3  `clara-ae-title`, `destination-name`, `workflow` indented deeper than the `name:` above them belong to its item.
Keys compare without dashes, underscores and case; sections stand at the top or below `dicom: scp:` and `dicom: scu:`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from types import MappingProxyType

from clara_argo.formats import old_adapter, peers
from clara_argo.formats.adapter_tables import EARLY
from clara_argo.formats.fields import Fields, short
from clara_argo.model.route import Configuration, Destination, Route, Source
from clara_argo.source import Findings, List, Map, Node, Text

_CRD = ("read-aetitles-from-crd", "read-sources-from-crd", "read-destinations-from-crd")
_SCP = (
    "port", "ae-titles", "max-associations", "verification", "log-dimse-datasets", "reject-unknown-sources", "sources",
    *_CRD,
)  # fmt: skip
_SCU = ("ae-title", "max-associations", "log-data-pdus", "destinations", "read-destinations-from-crd")
_TOP = tuple(dict.fromkeys(("dicom", "scp", "scu", "workflows", "pipeline-mappings", *_SCP, *_SCU, *old_adapter.OURS)))
_TITLE_KEYS = ("ae-title", "name", "overwrite-same-instance", "ignored-sop-classes", "timeout", "timeout-group")
_SOURCE_KEYS = ("name", "ae-title", "host-ip")
_DESTINATION_KEYS = ("name", "ae-title", "host-ip", "port")
_WORKFLOW_KEYS = ("name", "clara-ae-title", "destination-name", "workflow", "pipeline-id")
TABLE = EARLY
_MARKS = frozenset(map(peers.plain, ("dicom", "scp", "scu", "ae-titles", "workflows", "pipeline-mappings")))

_NAME_LINE = re.compile(r"( *)(- +)?([\"']?)name\3 *: +[^\s#].*")
_NO_CONTENT = re.compile(r"\s*(#.*)?")
_ITEM_LINE = re.compile(r"( *)([\"']?)([A-Za-z_-]+)\2 *:(?: .*)?")
_ITEM_KEYS = frozenset(map(peers.plain, _WORKFLOW_KEYS)) - {"name"}
QUIET_AFTER_RELEASE = 5.0  # seconds; where the original began when the sender's association had ended


@dataclass
class Repair:
    """Repair R3 on a text: `text` is what to parse, `places` moves what was parsed back to where it was written."""

    text: str
    findings: Findings
    _shifts: dict[int, int] = field(default_factory=dict)  # line -> columns to add

    def __post_init__(self) -> None:
        lines = self.text.replace("\r\n", "\n").split("\n")
        number = 0
        while number < len(lines):
            number = self._item(lines, number)
        if self._shifts:
            self.text = "\n".join(lines)

    def _item(self, lines: list[str], number: int) -> int:
        """Repair the item whose `name:` stands in this line, if it is one; returns the next line to look at."""
        found = _NAME_LINE.fullmatch(lines[number])
        number += 1
        if found is None:
            return number
        column = len(found[1]) + len(found[2] or "")
        start, end = number - 1, number
        while end < len(lines) and (_NO_CONTENT.fullmatch(lines[end]) or self._belongs(lines[end], column)):
            end += 1
        if all(_NO_CONTENT.fullmatch(line) for line in lines[number:end]):
            return number
        place = Text("", self.findings.source, start + 1, column + 1)
        message = "R3: the keys below 'name' are indented as if they were inside it; they are read as keys beside it"
        self.findings.warning("R3", message, place, "indent them like 'name'")
        if not found[2]:
            lines[start] = f"{found[1]}- {lines[start][column:]}"
            self._shifts[start + 1] = -2
            column += 2
        for index in range(number, end):
            inner = lines[index].lstrip(" ")
            if inner:
                self._shifts[index + 1] = len(lines[index]) - len(inner) - column
                lines[index] = " " * column + inner
        return end

    @staticmethod
    def _belongs(line: str, column: int) -> bool:
        found = _ITEM_LINE.fullmatch(line)
        return found is not None and len(found[1]) > column and peers.plain(found[3]) in _ITEM_KEYS

    def places(self, node: Node) -> Node:
        """The same values with the columns of the file. Nesting is bounded by the parser."""
        if not self._shifts:
            return node
        column = max(node.column + self._shifts.get(node.line, 0), 1)
        if isinstance(node, Text):
            return Text(node, node.source, node.line, column)
        if isinstance(node, List):
            return List(map(self.places, node), node.source, node.line, column)
        pairs = [(self.places(key), self.places(node[key])) for key in node]
        return Map([(key, value) for key, value in pairs if isinstance(key, Text)], node.source, node.line, column)


def looks_like(node: Node) -> bool:
    """Whether these are the keys of a dicom-server-config.yaml, or the article's item alone."""
    if isinstance(node, List):
        return any(isinstance(item, Map) and "claraaetitle" in map(peers.plain, item) for item in node)
    keys = set(map(peers.plain, node)) if isinstance(node, Map) else set()
    return "routes" not in keys and bool(keys & (_MARKS | {"claraaetitle"}))


@dataclass
class _File:
    """The sections of one file. `scp` and `scu` look into their own section first, then outwards."""

    top: Fields
    scp: Fields
    scu: Fields
    findings: Findings

    @classmethod
    def of(cls, node: Node, findings: Findings) -> _File:
        if isinstance(node, List) or "claraaetitle" in (map(peers.plain, node) if isinstance(node, Map) else ()):
            item = node if isinstance(node, List) else List((node,), node.source, node.line, node.column)
            key = Text("workflows", node.source, node.line, node.column)
            node = Map(((key, item),), node.source, node.line, node.column)
        top = peers.section(node, _TOP, findings, "the configuration")
        dicom = peers.section(top.node.get("dicom", _nothing(top)), _TOP, findings, "'dicom'")
        places = []
        for name, known in (("scp", _SCP), ("scu", _SCU)):
            inner = dicom if name in dicom else top
            keys = (*known, *old_adapter.OURS)
            own = peers.section(inner.node.get(name, _nothing(inner)), keys, findings, f"{name!r}")
            places.append(_over(own, (dicom, top), known))
        return cls(top, places[0], places[1], findings)


def _nothing(fields: Fields) -> Text:
    return Text("", fields.node.source, fields.node.line, fields.node.column)


def _over(own: Fields, outer: tuple[Fields, ...], known: tuple[str, ...]) -> Fields:
    """A section, with those of its keys that stand further out."""
    pairs = {str(key): (key, own.node[key]) for key in own.node}
    for fields in outer:
        for key in fields.node:
            if key in known:
                pairs.setdefault(str(key), (key, fields.node[key]))
    node = own.node if own.node.line else outer[-1].node
    return Fields(Map(pairs.values(), node.source, node.line, node.column), own.findings, own.what)


def read(node: Node, findings: Findings) -> Configuration:
    """The configuration; what is wrong is in `findings` afterwards."""
    file = _File.of(node, findings)
    sources = old_adapter.sources_of(file.scp, _SOURCE_KEYS)
    destinations, named_destinations = old_adapter.destinations_of(file.scu, _DESTINATION_KEYS)
    _left_behind(file)
    old_adapter.senders(file.scp, sources)
    configuration = Configuration(
        ae_title=peers.title_of(file.scu, "ae-title", "ClaraSCU"),
        spool=peers.spool_of(file.top, old_adapter.SPOOL),
        host=old_adapter.host_of(file.top),
        port=old_adapter.port_of(file.scp),
        runner=peers.runner_of(file.top),
        sources=sources,
        destinations=destinations,
        routes=_routes(file, sources, destinations, named_destinations),
    )
    peers.compare(configuration, named_destinations, findings)
    return configuration


def _left_behind(file: _File) -> None:
    """Keys that are understood and not followed."""
    for key in _CRD:
        old_adapter.no_cluster(file.scp if key in file.scp else file.scu, key)
    old_adapter.not_logged(file.scp, "log-dimse-datasets")
    old_adapter.not_logged(file.scu, "log-data-pdus")
    for fields in (file.scp, file.scu):
        old_adapter.own_limits(fields, "max-associations")
    old_adapter.always_verified(file.scp)


@dataclass(frozen=True)
class _Entry:
    """One line of `workflows` or `pipeline-mappings`."""

    name: str
    called: str
    workflow: Text
    destination: str


def _entries(file: _File, destinations: Collection[str]) -> list[_Entry]:
    entries = []
    for section, key in (("workflows", "workflow"), ("pipeline-mappings", "pipeline-id")):
        for fields, text in _workflow_items(file, section):
            if text is not None:
                file.findings.error("kind", f"{fields.what} must be a mapping", text, "name: …, clara-ae-title: …")
                continue
            entry = _entry(fields, key if fields.get(key) is not None else _other(fields, key), destinations)
            if entry is not None:
                entries.append(entry)
    return entries


def _workflow_items(file: _File, key: str) -> list[tuple[Fields, Text | None]]:
    node = file.top.get(key)
    if isinstance(node, Map):  # one item, written without its dash
        return [(peers.section(node, _WORKFLOW_KEYS, file.findings, "workflow 1"), None)]
    return list(peers.items(file.top, key, _WORKFLOW_KEYS, "workflow"))


def _other(fields: Fields, key: str) -> str:
    other = {"workflow": "pipeline-id", "pipeline-id": "workflow"}[key]
    return other if fields.get(other) is not None else key


def _entry(fields: Fields, key: str, destinations: Collection[str]) -> _Entry | None:
    name = fields.text("name")
    fields.what = f"workflow {short(name)}" if name else fields.what
    called = peers.title_of(fields, "clara-ae-title")
    workflow = fields.required(key, "the id or the name of a workflow")
    named = fields.text("destination-name")
    known = peers.resolve(
        [named] if isinstance(named, Text) else [], destinations, fields.findings, "destination", fields.what
    )
    if not called or not isinstance(workflow, Text):
        return None
    return _Entry(str(name) or called, called, workflow, known[0] if known else "")


def _routes(
    file: _File, sources: tuple[Source, ...], destinations: tuple[Destination, ...], named: Collection[str]
) -> tuple[Route, ...]:
    """One route for each AE title and destination; several entries of one pair are several workflows."""
    findings, quiet = file.findings, _titles(file)
    entries = _entries(file, named)
    groups: dict[tuple[str, str], list[_Entry]] = {}
    first: dict[tuple[str, str, str], _Entry] = {}
    for entry in entries:
        if entry.called not in quiet:
            message = f"the AE title {short(entry.called)} is not among 'ae-titles'; it is added"
            findings.warning("ae-title", message, entry.workflow, f"add it: ae-titles: [{entry.called}]")
            quiet[entry.called] = QUIET_AFTER_RELEASE
        to = entry.destination or old_adapter.only(
            findings, entry.name, destinations, entry.workflow, "destination-name: …"
        )
        groups.setdefault((entry.called, to), []).append(entry)
        _again(first.setdefault((entry.called, to, str(entry.workflow)), entry), entry, findings)
    for title in quiet:
        if title not in {entry.called for entry in entries}:
            message = f"no workflow names the AE title {short(title)}: it is not answered"
            findings.warning("no-workflow", message, file.scp.at("ae-titles"), "add an entry below 'workflows'")
    if not entries and not findings.failed:
        findings.error("no-workflow", "no workflow is named: nothing can run", file.top.node, "workflows: […]")
    names: dict[str, int] = {}
    return tuple(
        Route(
            name=old_adapter.unique(group[0].name, names),
            called=called,
            sources=tuple(source.name for source in sources),
            workflows=tuple(dict.fromkeys(entry.workflow for entry in group)),
            other_names=MappingProxyType({str(entry.workflow): (entry.name,) for entry in group}),
            destinations=(destination,) if destination else (),
            settle=old_adapter.settle_of(quiet[called]),
        )
        for (called, destination), group in groups.items()
    )


def _again(first: _Entry, entry: _Entry, findings: Findings) -> None:
    """Say when an entry was pasted twice."""
    if first is not entry:
        place = f"in line {first.workflow.line}, for {entry.called} and the same destination"
        message = f"the workflow {short(entry.workflow)} stands here again, first {place}; it runs once"
        findings.warning("duplicate-entry", message, entry.workflow, "delete one of the two entries")


def _titles(file: _File) -> dict[str, float]:
    """AE titles that are answered, and how many seconds of quiet end a study sent to each."""
    quiet: dict[str, float] = {}
    for fields, text in peers.items(file.scp, "ae-titles", _TITLE_KEYS, "AE title"):
        title = peers.ae_title(text, fields, text) if text is not None else peers.title_of(fields, "ae-title")
        if not title:
            continue
        if title in quiet:
            at = text if text is not None else fields.at("ae-title")
            file.findings.error("duplicate-name", f"the AE title {short(title)} stands here twice", at, "delete one")
        quiet[title] = peers.seconds_of(fields, "timeout", QUIET_AFTER_RELEASE, 0.001, 86400)
        _not_followed(fields)
    return quiet


def _not_followed(fields: Fields) -> None:
    if fields.get("name") is not None:
        message = "'name' of an AE title is not followed: a route is called after the entry that names a workflow"
        fields.findings.notice("title-name", message, fields.at("name"))
    if fields.get("timeout-group") is not None:
        message = "'timeout-group' is not followed: what it meant is lost"
        fields.findings.notice("timeout-group", message, fields.at("timeout-group"))
    old_adapter.title_notes(fields)
