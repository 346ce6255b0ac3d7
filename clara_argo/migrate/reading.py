"""One file of any dialect -> what is in it: workflows, stages, a configuration, or entries of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    load,
)  # fmt: skip
from clara_argo.formats.keys import Fate, Key
from clara_argo.graph import Graph
from clara_argo.migrate import rows as table
from clara_argo.migrate.rows import Row
from clara_argo.model.workflow import StageSpec
from clara_argo.source import Findings, Node, documents

OURS = "ours already; copied as it is"


@dataclass(kw_only=True, slots=True)
class Reading:
    """What a file holds. `ours`: the name under which a file of our own form is copied."""

    path: Path
    strict: bool
    ours: str = ""
    graphs: Sequence[Graph] = ()
    unused: Sequence[StageSpec] = ()  # stages that no workflow of the file uses
    stages: Mapping[str, StageSpec] = field(default_factory=dict)  # those of the file's project, and the shipped ones
    configuration: Node | None = None
    parts: Sequence[adapter_parts.Found] = ()
    findings: tuple[Finding, ...] = ()
    keys: Sequence[table.Written] = ()
    known: Sequence[Key] = ()
    depth: int = 0  # where unknown keys are kept

    def rows(self, findings: Iterable[Finding]) -> tuple[Row, ...]:
        """What became of its keys. `findings` of all files."""
        name = str(self.path)
        if self.ours:
            return (Row(key="(the file)", fate=Fate.KEPT, becomes=OURS, source=name),)
        own = [finding for finding in findings if finding.source == name and finding.line]
        return table.rows(self.keys, self.known, own, name, self.depth)


def read(path: Path, *, strict: bool = False) -> Reading:
    """Raises NotFound; what is wrong in the file is among its findings."""
    reading = Reading(path=path, strict=strict)
    findings = Findings(str(path), strict=strict)
    try:
        text = source.read(path)
        if _may_be_parts(text) and adapter_parts.looks_like(nodes := documents(text, findings.source)):
            _parts(reading, nodes, findings)
        elif _is_configuration(text):
            _configuration(reading, text, findings)
        else:
            _workflows(reading, text, findings)
    except DefinitionError as error:
        findings.extend(error.findings)
    reading.findings = findings.all
    return reading


def _may_be_parts(text: str) -> bool:
    return not adapter_json.looks_like(text) and (adapter_parts.GROUP in text or '"aeTitle"' in text)


def _is_configuration(text: str) -> bool:
    try:
        load.collect(text, Findings())
    except DefinitionError as error:
        return any(finding.code == load.CONFIGURATION for finding in error.findings)
    return False


def _parts(reading: Reading, nodes: Sequence[Node], findings: Findings) -> None:
    reading.parts = adapter_parts.entries(nodes, findings)
    reading.keys = [key for node in nodes for key in table.written(node)]
    reading.known = adapter_parts.TABLE


def _configuration(reading: Reading, text: str, findings: Findings) -> None:
    node = adapter.node_of(text, findings)
    reading.configuration = node
    reading.keys = tuple(table.written(node))
    if adapter_json.is_root(node):
        reading.known = adapter_json.TABLE
    elif dicom_server.looks_like(node):
        reading.known = dicom_server.TABLE
    else:
        reading.ours = "adapter.yaml"


def _workflows(reading: Reading, text: str, findings: Findings) -> None:
    """Everything of the file, resolved: in errors, `project.check` is the judge."""
    findings.extend(project.check(reading.path, strict=reading.strict))
    workflows = load.collect(text, Findings(findings.source, strict=reading.strict))
    if workflows and workflows[0].dialect == "native":
        reading.ours = f"{reading.path.stem}.yaml"
    elif not workflows or workflows[0].dialect == "early-access":
        reading.keys = tuple(clara_wf_keys.written(text, findings.source))
        reading.known, reading.depth = clara_wf_keys.TABLE, clara_wf_keys.DEPTH
    if findings.failed:
        return
    root = project.find_root(reading.path)
    reading.stages = project.stage_specs(root, strict=reading.strict)
    specs = {spec.name: spec for workflow in workflows for spec in workflow.stages}
    if not workflows:
        specs = {spec.name: spec for spec in clara_wf.read(text, Findings())[1]}
    known = project.known(specs.values(), reading.stages)
    reading.graphs = [Graph.of(workflow, known, strict=reading.strict) for workflow in workflows]
    used = {node.name for graph in reading.graphs for node in graph.nodes}
    reading.unused = [known[name] for name in specs if name not in used]
