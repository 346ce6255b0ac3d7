"""Everything that a migration makes, in memory first: written only when nothing is refused, and then whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clara_argo import project, scaffold, shipped
from clara_argo.collector import at_rest
from clara_argo.errors import Finding
from clara_argo.graph import Graph
from clara_argo.migrate import adapters, written
from clara_argo.migrate.reading import Reading, read
from clara_argo.migrate.rows import Row
from clara_argo.migrate.text import as_yaml, kept
from clara_argo.model.workflow import StageSpec, Workflow
from clara_argo.source import Findings, short

MARKER_TEXT = "# Marks the root of this project: workflow files anywhere below use the stages in stages/.\n"
ADAPTER, WORKFLOW, STAGE_FILE = "adapter.yaml", "workflow.yaml", "stage.yaml"
SKIPPED = ("__pycache__", ".git")


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """`texts` and `copies` are by path below the folder to write; empty when `failed`."""

    texts: Mapping[str, str]
    copies: Mapping[str, Path]  # programs of stages, and files that are ours already
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        return project.has_errors(self.findings)

    def write(self, folder: Path) -> None:
        """Into a new or empty folder; a new one is there whole or not at all, also after a crash.

        Raises UsageError, TryAgain; then nothing is left there.
        """
        assert not self.failed  # who calls has looked
        if folder.exists():  # it stays the same folder: somebody may stand in it, or have mounted it
            scaffold.make(folder, lambda: self._lay(folder))
        else:
            scaffold.make_at_once(folder, self._lay)

    def _lay(self, folder: Path) -> None:
        for name in (*self.texts, *self.copies):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for name, text in self.texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        for name, path in self.copies.items():
            shutil.copy(path, folder / name)


@at_rest()
def migrate(paths: Sequence[Path], *, strict: bool = False, values: Mapping[str, str] | None = None) -> Migration:
    """Read every file; what is wrong is among the findings. `values`: of the parameters of a pipeline of operators.

    Raises NotFound for a file that is not there.
    """
    readings = [read(path, strict=strict, values=values) for path in dict.fromkeys(paths)]
    findings = Findings(strict=strict)
    made = _Made(findings)
    for reading in readings:
        findings.extend(reading.findings)
    _all_asked(values or {}, readings, findings)
    configured = adapters.join(readings, findings)
    for reading in readings:
        made.take(reading)
    if configured is not None:
        pointed = adapters.pointed(configured, made.graphs, findings)
        unknown = adapters.comments(readings, findings.all)
        made.put(ADAPTER, as_yaml(written.configuration(pointed)) + unknown)
    rows = tuple(row for reading in readings for row in reading.rows(findings.all))
    if not (findings.failed or made.has_some()):
        findings.error("nothing", "there is nothing to migrate in these files", None, "name more of them")
    if findings.failed:
        return Migration(texts={}, copies={}, rows=rows, findings=findings.all)
    made.finish()
    return Migration(texts=made.texts, copies=made.copies, rows=rows, findings=findings.all)


def _all_asked(values: Mapping[str, str], readings: Sequence[Reading], findings: Findings) -> None:
    """Every value is of a parameter that some pipeline has."""
    for name in sorted(values.keys() - {name for reading in readings for name in reading.parameters}):
        hint = "leave --set out, or name the file of its pipeline; other files have no parameters"
        findings.error("parameter", f"none of these files has the parameter {short(name)}", None, hint)


@dataclass
class _Made:
    findings: Findings
    texts: dict[str, str] = field(default_factory=dict)
    copies: dict[str, Path] = field(default_factory=dict)
    graphs: list[Graph] = field(default_factory=list)
    _specs: dict[str, StageSpec] = field(default_factory=dict)  # by lower-case name
    _names: set[str] = field(default_factory=set)  # of files, as a disk that knows no case has them

    def take(self, reading: Reading) -> None:
        """What one file defines."""
        for graph in reading.graphs:
            self._distinct(graph.workflow)
        self.graphs += reading.graphs
        if reading.ours:
            self._copy(reading.ours, reading.path)
        for path in reading.beside:
            self._copy(str(path.relative_to(reading.path.parent)), path)
        used = [node.spec for graph in reading.graphs for node in graph.nodes]
        for spec in (*used, *reading.unused):
            self._stage(spec, reading)

    def _distinct(self, workflow: Workflow) -> None:
        for other in self.graphs:
            if project.is_called(other.workflow, workflow.name) or project.is_called(other.workflow, workflow.id):
                message = f"the workflow {short(workflow.name)} is also in {other.workflow.source}"
                self.findings.error("duplicate-name", message, workflow.name, "leave one of the two out")

    def _stage(self, spec: StageSpec, reading: Reading) -> None:
        known = reading.stages.get(spec.name)
        usual = known is not None and _same(spec, known)
        of_ours = known is not None and _is_shipped(known) and (usual or self._taken(spec, known, reading))
        mine = known if of_ours and known is not None else spec
        other = self._specs.get(spec.name.lower())
        if other is not None:
            if not _same(other, mine):
                message = f"two files define the stage {short(spec.name)} differently"
                self.findings.error("duplicate-stage", message, spec.name, "rename one of the two")
            return
        self._specs[spec.name.lower()] = mine
        if of_ours:
            return  # every project has it
        folder = f"stages/{spec.name}"
        if spec.folder is not None:
            for path in _files(spec.folder):
                if usual or path != spec.folder / STAGE_FILE:
                    self._copy(f"{folder}/{path.relative_to(spec.folder)}", path)
        if not usual:
            self.put(f"{folder}/{STAGE_FILE}", as_yaml(written.stage(spec)) + kept(spec.extra))

    def _taken(self, spec: StageSpec, known: StageSpec, reading: Reading) -> bool:
        """Whether an operator is the shipped stage but for its time, which no pipeline gives, and for kept words."""
        if reading.dialect != "operators" or not _same(replace(spec, timeout=known.timeout, extra=known.extra), known):
            return False
        if spec.extra:
            message = f"{', '.join(spec.extra)} of {short(spec.name)} is left out: it is the shipped stage"
            self.findings.notice("left-out", message, spec.name)
        return True

    def put(self, name: str, text: str) -> None:
        if not self._is_new(name):
            self.findings.error("two-files", f"two files would become {name}", None, "leave one of them out")
        self.texts[name] = text

    def _copy(self, name: str, path: Path) -> None:
        if not self._is_new(name):
            self.findings.error("two-files", f"two files would become {name}", None, f"rename {path}, or leave it out")
        self.copies[name] = path

    def _is_new(self, name: str) -> bool:
        """Whether no file has this name. Those of a stage's program lay in one folder before, too."""
        known = name if name.startswith("stages/") else name.lower()
        is_new = known not in self._names
        self._names.add(known)
        return is_new

    def has_some(self) -> bool:
        return bool(self.graphs or self.texts or self.copies or self._specs)

    def finish(self) -> None:
        """Workflow files, once it is known how many there are."""
        new = [graph for graph in self.graphs if graph.workflow.dialect != "native"]
        alone = len(new) == 1 and WORKFLOW not in self._names
        for graph in new:
            name = WORKFLOW if alone else self._file_of(graph.workflow.name)
            self.put(name, as_yaml(written.workflow(graph)) + kept(graph.workflow.extra))
        self.texts[project.MARKER] = MARKER_TEXT
        order = sorted(self.texts, key=lambda name: (name.startswith("stages/"), name))
        self.texts = {name: self.texts[name] for name in order}

    def _file_of(self, workflow: str) -> str:
        """A file's name; of those that are too long and begin alike, each has its own."""
        name, number = workflow[:200], 1
        while f"workflows/{name}.yaml".lower() in self._names:
            number += 1
            name = f"{workflow[:200]}-{number}"
        return f"workflows/{name}.yaml"


def _same(spec: StageSpec, known: StageSpec) -> bool:
    """Whether a stage is the one in its folder. Nothing reads `log_name`; every old block has one."""
    return replace(spec, log_name="") == replace(known, log_name="") and spec.extra == known.extra


def _is_shipped(spec: StageSpec) -> bool:
    return spec.folder is not None and spec.folder.is_relative_to(shipped.folder("stages"))


def _files(folder: Path) -> Iterable[Path]:
    """The program of a stage: plain files only, nothing that was made while it ran."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder).parts
        if path.is_file() and not path.is_symlink() and not set(inner) & set(SKIPPED):
            yield path
