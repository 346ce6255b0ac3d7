"""One file of any dialect -> what is in it: workflows, stages, a configuration, or entries of one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clara_argo import project, source
from clara_argo.errors import DefinitionError, Finding
from clara_argo.formats import (
    adapter,
    adapter_json,
    adapter_parts,
    clara_wf,
    clara_wf_keys,
    dicom_server,
    include,
    load,
    loose_json,
    operators,
)  # fmt: skip
from clara_argo.formats.fields import MANY
from clara_argo.formats.keys import Fate, Key
from clara_argo.graph import Graph
from clara_argo.migrate import rows as table
from clara_argo.migrate.rows import Row
from clara_argo.model.workflow import StageSpec, Workflow
from clara_argo.source import Findings, Map, Node, Text, documents
from clara_driver import contract

PIPELINE = re.compile(r"^api-version *:", re.MULTILINE)  # the files that have parameters
ANYWHERE = range(1, source.MAX_DEPTH + 1)  # what is not known of an adapter is kept in comments
PARTS = re.compile(
    rf'{re.escape(adapter_parts.GROUP)}|"aeTitle"|\A\s*\[\s*\]\s*\Z|^ *"?items"? *: *\[\s*\]', re.MULTILINE
)  # entries of an adapter, or the answer that there are none
JSON = re.compile(r'\s*(?:[\[{]\s*)+"|\s*\[\s*\]')
OURS = "ours already; copied as it is"
TAKEN = {"clara", "adapter"}  # names of other files of a project


@dataclass(kw_only=True, slots=True)
class Reading:
    """What a file holds. `ours`: the name under which a file of our own form is copied."""

    path: Path
    strict: bool
    ours: str = ""
    marker: bool = False  # only marks the root of a project
    dialect: str = ""  # of its workflows
    graphs: Sequence[Graph] = ()
    unused: Sequence[StageSpec] = ()  # stages that no workflow of the file uses
    stages: Mapping[str, StageSpec] = field(default_factory=dict)  # those of the file's project, and the shipped ones
    configuration: Node | None = None
    parts: Sequence[adapter_parts.Found] = ()
    parameters: Collection[str] = ()  # of its pipelines, as far as a value was given
    nodes: Sequence[Node] = ()  # of a configuration or its parts, whole
    beside: Sequence[Path] = ()  # files that a configuration of ours includes
    findings: tuple[Finding, ...] = ()
    keys: Iterable[table.Written] = ()
    known: Sequence[Key] = ()
    depths: Collection[int] = ()  # where unknown keys are kept

    @property
    def is_unknown(self) -> bool:
        """Whether what is in it could not be told."""
        return not (self.marker or self.dialect or self.nodes or self.ours)

    def rows(self, findings: Iterable[Finding]) -> tuple[Row, ...]:
        """What became of its keys. `findings` of all files."""
        name = str(self.path)
        if self.marker:
            return (table.of_file(Fate.KEPT, "it marks a project; a new one is written", Text("", name)),)
        if self.ours:
            return (table.of_file(Fate.KEPT, OURS, Text("", name)),)
        own = [finding for finding in findings if finding.source == name and finding.line]
        if many := next((finding for finding in own if finding.code == MANY), None):
            place = Text("", name, many.line, many.column)
            return (table.of_file(Fate.REFUSED, many.message, place),)
        return table.rows(self.keys, self.known, own, name, self.depths)


def read(path: Path, *, strict: bool = False, values: Mapping[str, str] | None = None) -> Reading:
    """`values`: of the parameters of a pipeline. Raises NotFound; what is wrong in the file is among its findings."""
    reading = Reading(path=path, strict=strict)
    findings = Findings(str(path), strict=strict)
    try:
        text = source.read(path)
        _read(reading, text, findings, values or {})
    except DefinitionError as error:
        if project.is_configuration(error.findings):  # whoever reads workflow files knows these
            findings = Findings(str(path), strict=strict)
            _configuration(reading, text, findings)
        else:
            findings.extend(error.findings)
    reading.findings = findings.all
    return reading


def _read(reading: Reading, text: str, findings: Findings, values: Mapping[str, str]) -> None:
    if reading.path.name == project.MARKER and not documents(text, findings.source):
        reading.marker = True
        return
    if _may_be_parts(text):
        own = Findings(findings.source, strict=findings.strict)
        nodes = (loose_json.parse(text, own),) if JSON.match(text) else documents(text, findings.source)
        if adapter_parts.looks_like(nodes):
            findings.extend(own.all)
            _parts(reading, nodes, findings)
            return
    mine = _asked(reading, text, values) if values and PIPELINE.search(text) else {}
    parsed: list[Node] = []
    workflows = load.collect(text, findings, folder=reading.path.parent, values=mine, parsed=parsed)
    _keys(reading, text, workflows, parsed)
    _workflows(reading, text, workflows, findings)


def _may_be_parts(text: str) -> bool:
    return not adapter_json.looks_like(text) and PARTS.search(text) is not None


def _asked(reading: Reading, text: str, values: Mapping[str, str]) -> Mapping[str, str]:
    """Those values that the file has parameters for; another file may have the others."""
    found = (node.get("parameters") for node in documents(text, str(reading.path)) if isinstance(node, Map))
    known = {key.lower() for node in found if isinstance(node, Map) for key in node} | {contract.TRITON_URL.lower()}
    reading.parameters = {name for name in values if name.lower() in known}
    return {name: value for name, value in values.items() if name in reading.parameters}


def _parts(reading: Reading, nodes: Sequence[Node], findings: Findings) -> None:
    reading.parts, reading.nodes = adapter_parts.entries(nodes, findings), nodes
    reading.keys = [key for node in nodes for key in table.written(node)]
    reading.known, reading.depths = adapter_parts.TABLE, ANYWHERE


def _configuration(reading: Reading, text: str, findings: Findings) -> None:
    try:
        node = adapter.node_of(text, findings)
    except DefinitionError as error:
        findings.extend(error.findings)
        return
    reading.configuration, reading.nodes = node, (node,)
    reading.keys, reading.depths = table.written(node), ANYWHERE
    if adapter_json.is_root(node):
        reading.known = adapter_json.TABLE
    elif dicom_server.looks_like(node):
        reading.known = dicom_server.TABLE
    else:
        reading.ours = "adapter.yaml"
        reading.beside = include.files(node, reading.path.parent, findings)
        reading.configuration = include.merged(node, reading.path.parent, Findings())


def _keys(reading: Reading, text: str, workflows: Sequence[Workflow], parsed: Sequence[Node]) -> None:
    """Where its keys stand. A file of ours is copied."""
    reading.dialect = dialect = workflows[0].dialect if workflows else "early-access"
    if dialect == "native":
        stem = reading.path.stem
        reading.ours = "workflow.yaml" if stem.lower() in TAKEN else f"{stem}.yaml"
    elif dialect == "early-access":
        reading.keys = tuple(clara_wf_keys.written(text, str(reading.path)))
        reading.known, reading.depths = clara_wf_keys.TABLE, clara_wf_keys.DEPTHS
    else:
        reading.keys = [key for node in parsed for key in table.written(node)]
        reading.known, reading.depths = operators.TABLE, (1, 2)  # of the pipeline, of an operator


def _workflows(reading: Reading, text: str, workflows: Sequence[Workflow], findings: Findings) -> None:
    """Everything of the file, resolved."""
    root = project.find_root(reading.path)
    stages = project.stage_specs(root, strict=reading.strict)
    graphs = [project.examined(workflow, stages, findings) for workflow in workflows]
    if findings.failed:
        return
    specs = {spec.name: spec for workflow in workflows for spec in workflow.stages}
    if not workflows:
        specs = {spec.name: spec for spec in clara_wf.read(text, Findings())[1]}
    known = project.known(specs.values(), stages)
    reading.stages = stages
    reading.graphs = [graph for graph in graphs if graph is not None]
    used = {node.name for graph in reading.graphs for node in graph.nodes}
    reading.unused = [known[name] for name in specs if name not in used]
