"""The folders of a user's project: its root, its stages and workflows, and those that are shipped.

The root is the nearest ancestor of a file that holds `clara.yaml` or is an SDK folder, else the file's own folder. A
stage is the folder `stages/<name>` with a `stage.yaml`, in the project first, then among the shipped ones. Knows no
dialect: `formats` reads the files, `graph` says what they mean.
"""

from __future__ import annotations

import os
import shlex
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from clara_argo import scaffold, shipped, source
from clara_argo.errors import DefinitionError, Finding, Level, NotFound, UsageError
from clara_argo.formats import load, stage
from clara_argo.graph import Graph
from clara_argo.model.workflow import StageSpec, Workflow
from clara_argo.scaffold import EXAMPLE
from clara_argo.sdk import layout
from clara_argo.sdk.layout import STAGE_FILE
from clara_argo.source import Findings, did_you_mean, short

MARKER = "clara.yaml"
NO_ID = str(uuid.UUID(int=0))  # in a template, where a new id goes
# Findings that say nothing more once the file is known to have lists of unequal length, or to lack an id.
REPAIRS = {f"R{number}" for number in range(1, 8)}  # errors under --strict, and the file is understood
CONSEQUENCES = {"missing-lock", "R7", "unused", "no-result", "no-stages"}


def find_root(path: Path) -> Path:
    """The project that a file or folder belongs to."""
    path = path.resolve()
    start = path if path.is_dir() else path.parent
    return next((folder for folder in (start, *start.parents) if _is_root(folder)), start)


def _is_root(folder: Path) -> bool:
    return (folder / MARKER).is_file() or bool(layout.values_of(folder))


class Stages(Mapping[str, StageSpec]):
    """The stages of a project and the shipped ones, read when asked for. `findings`: warnings of those that were."""

    def __init__(self, root: Path, *, strict: bool = False) -> None:
        self.root, self.strict = root, strict
        self._folders = layout.stage_folders(root)
        self._read: dict[str, StageSpec] = {}
        self._findings: dict[str, tuple[Finding, ...]] = {}

    def __getitem__(self, name: str) -> StageSpec:
        """Raises KeyError for a stage that is nowhere, DefinitionError for one whose definition is wrong."""
        if name not in self._read:
            folder = self._folders[name]
            path = folder / STAGE_FILE
            findings = Findings(_shown(path), strict=self.strict)
            spec = stage.read(source.read(path), findings.source, folder, findings)
            self._findings[name] = findings.check()
            self._read[name] = spec
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._folders))

    def __len__(self) -> int:
        return len(self._folders)

    def __contains__(self, name: object) -> bool:
        return name in self._folders

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for found in self._findings.values() for finding in found)


def _shown(path: Path) -> str:
    """Relative to where the user is, when it is below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def stage_specs(root: Path, *, strict: bool = False) -> Stages:
    """Every stage that a workflow of this project may use."""
    return Stages(root, strict=strict)


class _Known(Mapping[str, StageSpec]):
    """The stages that one workflow may use: those defined in its own file go before those of the folders."""

    def __init__(self, workflow: Workflow, stages: Stages, findings: Findings) -> None:
        self.own = {spec.name: spec for spec in workflow.stages}
        self.stages, self.findings = stages, findings

    def __getitem__(self, name: str) -> StageSpec:
        own = self.own.get(name)
        return self._with_program(own) if own else self.stages[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from (name for name in self.stages if name not in self.own)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.stages

    def _with_program(self, spec: StageSpec) -> StageSpec:
        """A block of an early-access file names only an image; a bare name stands for a stage folder of that name."""
        name = spec.image.repository or spec.name
        if spec.command or name not in self.stages:
            self._not_used(spec)
            return spec
        program = self.stages[name]
        self._not_followed(spec, program)
        if program.folder != self.stages.root / "stages" / spec.name:  # else it is where anybody looks for it
            where = _shown(program.folder) if program.folder else name
            hint = f"for another one, make stages/{spec.name} or name its registry in the image"
            self.findings.notice("shipped-stage", f"stage {spec.name!r} is the one in {where}", spec.name, hint)
        image = program.image if program.image.repository else spec.image
        return replace(
            program, name=spec.name, image=image, app_dir=spec.app_dir, inputs=spec.inputs, outputs=spec.outputs,
            input_lock=spec.input_lock, lock_dir=spec.lock_dir, lock_name=spec.lock_name, log_name=spec.log_name,
            mount_in=spec.mount_in, mount_out=spec.mount_out, timeout=spec.timeout, extra=spec.extra,
            env=MappingProxyType({**program.env, **spec.env}),
        )  # fmt: skip

    def _not_used(self, spec: StageSpec) -> None:
        """Say that another image takes the place of the program which stands where anybody looks for it."""
        folder = self.stages.root / "stages" / spec.name
        if not spec.command and spec.name in self.stages and (folder / STAGE_FILE).is_file():
            image = short(str(spec.image))
            message = f"stage {spec.name!r} is the image {image}; the program in {_shown(folder)} is not used"
            self.findings.notice("image", message, spec.name, f"for that one, write 'repository: {spec.name}'")

    def _not_followed(self, spec: StageSpec, program: StageSpec) -> None:
        """Say that a tag was written where nobody reads it. (`latest` is what `clara-wf cs` writes.)"""
        ours = program.folder is not None and program.folder.is_relative_to(self.stages.root / "stages")
        if not ours or not program.image.repository or spec.image.tag in ("", "latest", program.image.tag):
            return
        where = _shown(self.stages.root / "stages" / (spec.image.repository or spec.name) / STAGE_FILE)
        message = (
            f"the tag {short(spec.image.tag)} of stage {spec.name!r} is not followed: its image is {program.image}"
        )
        self.findings.warning("image", message, spec.image.tag, f"write it into {where}")


def known(specs: Iterable[StageSpec], stages: Stages) -> Mapping[str, StageSpec]:
    """The stages that a file may use which defines these itself."""
    return _Known(Workflow(id="", name="", steps=(), results=(), stages=tuple(specs)), stages, Findings())


def graph(
    path: Path, *, name: str | None = None, strict: bool = False, values: Mapping[str, str] | None = None
) -> Graph:
    """The workflow of a file; one with several needs `name`, a name or an id.

    `values`: of the parameters of a pipeline of operators; None = somebody only looks, and one without a value is
    no error. Raises DefinitionError with every finding, NotFound, or UsageError that lists the workflows of the file.
    """
    findings = Findings(str(path), strict=strict)
    workflows = load.collect(source.read(path), findings, folder=path.parent, values=values)
    chosen = _choose(workflows, name, str(path)) if workflows else None
    if chosen is None:
        findings.check()
        raise NotFound(f"{path}: the file holds stage definitions, but no workflow")
    return _resolve(chosen, Stages(find_root(path), strict=strict), findings)


def _choose(workflows: tuple[Workflow, ...], name: str | None, where: str) -> Workflow:
    if name is None and len(workflows) == 1:
        return workflows[0]
    names = ", ".join(short(workflow.name or workflow.id) for workflow in workflows)
    if name is None:
        raise UsageError(f"{where} holds several workflows: {names}; say which with --workflow NAME")
    for workflow in workflows:
        if is_called(workflow, name):
            return workflow
    hint = did_you_mean(name, [workflow.name for workflow in workflows], f"it holds {names}")
    raise NotFound(f"{where}: no workflow {name!r}; {hint}")


def is_called(workflow: Workflow, name_or_id: str) -> bool:
    """Whether a workflow has this name, or this id with or without dashes."""
    return workflow.name == name_or_id or load.same_id(workflow.id) == load.same_id(name_or_id)


def _resolve(workflow: Workflow, stages: Stages, findings: Findings) -> Graph:
    """The graph of one workflow of a file; raises with what was found in the file and in the graph."""
    found, result = _graph(workflow, stages, findings)
    findings.extend(found)
    everything = findings.check()
    assert result is not None  # no error was found, so there is a graph
    return replace(result, findings=everything)


def resolved(workflow: Workflow, stages: Stages) -> Graph:
    """The graph of a workflow that `workflows` found. Raises DefinitionError."""
    return _resolve(workflow, stages, Findings(workflow.source, strict=stages.strict))


def _graph(workflow: Workflow, stages: Stages, findings: Findings) -> tuple[tuple[Finding, ...], Graph | None]:
    """What the graph and the stages' definitions say, and the graph when there is one."""
    notes = Findings(findings.source, strict=findings.strict)
    broken = findings.failed_besides(REPAIRS)
    result: Graph | None = None
    try:
        result = Graph.of(workflow, _Known(workflow, stages, notes), strict=findings.strict)
        found = result.findings
    except DefinitionError as error:
        found = error.findings
    if broken:
        found = tuple(finding for finding in found if finding.line and finding.code not in CONSEQUENCES)
    return (*found, *notes.all, *stages.findings), result


def examined(workflow: Workflow, stages: Stages, findings: Findings) -> Graph | None:
    """The graph of a workflow that was read with these findings, which get what is to be said of it; None when
    something is wrong with it."""
    found, result = _graph(workflow, stages, findings)
    findings.extend(found)
    return result


def check(path: Path, *, strict: bool = False, values: Mapping[str, str] | None = None) -> tuple[Finding, ...]:
    """Everything that can be said about a file: a workflow file, a stage definition or `clara.yaml`. Never raises
    DefinitionError; errors are among the findings. Raises NotFound. `values`: as for `graph`."""
    findings = Findings(str(path), strict=strict)
    try:
        text = source.read(path)
        if path.name == MARKER:
            _check_marker(text, findings)
        elif path.name == STAGE_FILE:
            stage.read(text, findings.source, path.resolve().parent, findings)
        else:
            _check_workflows(path, text, findings, values)
    except DefinitionError as error:
        findings.extend(error.findings)
    return findings.all


def _check_marker(text: str, findings: Findings) -> None:
    """`clara.yaml` marks the root of a project and says nothing yet."""
    for node in source.documents(text, findings.source):
        for key in node if isinstance(node, source.Map) else ():
            findings.warning("unknown-key", f"{MARKER} has the unknown key {str(key)!r}", key, "remove it")


def _check_workflows(path: Path, text: str, findings: Findings, values: Mapping[str, str] | None) -> None:
    stages = Stages(find_root(path), strict=findings.strict)
    workflows = load.collect(text, findings, folder=path.parent, values=values)
    found = [_graph(workflow, stages, findings)[0] for workflow in workflows]
    for some in found:
        findings.extend(some)


def workflow(root: Path, name_or_id: str, *, strict: bool = False, values: Mapping[str, str] | None = None) -> Graph:
    """A workflow by its name or id: in the project's folder and its `workflows/`, then among the shipped ones.

    Raises NotFound, DefinitionError when it is wrong, UsageError when two files of the project define it.
    """
    unread: list[str] = []
    for files in (_own_files(root), _shipped_files()):
        hits = [path for path in files if _holds(path, name_or_id, unread)]
        if len(hits) > 1:
            names = ", ".join(map(_shown, hits))
            raise UsageError(f"several files define the workflow {name_or_id!r}: {names}; rename all but one")
        if hits:
            return _of_file(hits[0], name_or_id, root, _instead(name_or_id, unread, strict), values or {})
    known = [str(workflow.name) for workflow in workflows(root)]
    hint = did_you_mean(name_or_id, known, f"known: {', '.join(map(short, known))}")
    also = f" (not readable: {', '.join(unread)}; see 'clara lint')" if unread else ""
    raise NotFound(f"no workflow {name_or_id!r} in {_shown(root)} nor among the shipped ones; {hint}{also}")


def _instead(name_or_id: str, unread: list[str], strict: bool) -> Findings:
    """A shipped workflow must not take the place of the user's own without a word."""
    findings = Findings(unread[0] if unread else "", strict=strict)
    if unread:
        message = f"cannot be read, and may hold another workflow {short(name_or_id)} than the one that is taken"
        findings.warning("unread", message, None, f"see 'clara lint {shlex.quote(unread[0])}'")
    return findings


def _of_file(path: Path, name_or_id: str, root: Path, before: Findings, values: Mapping[str, str]) -> Graph:
    strict = before.strict
    findings = Findings(_shown(path), strict=strict)
    findings.extend(before.all)
    found = load.collect(source.read(path), findings, folder=path.parent, values=values)
    return _resolve(_choose(found, name_or_id, _shown(path)), Stages(root, strict=strict), findings)


def _holds(path: Path, name_or_id: str, unread: list[str]) -> bool:
    found = _collected(path)
    holds = any(is_called(workflow, name_or_id) for workflow in found or ())
    if found is None or (not holds and not all(workflow.steps for workflow in found)):  # one that could not be read
        unread.append(_shown(path))
    return holds


def _collected(path: Path) -> tuple[Workflow, ...] | None:
    """The workflows of a file; none when it is something else; None when it cannot be read."""
    try:
        return load.collect(source.read(path), Findings(_shown(path)), folder=path.parent)
    except DefinitionError as error:
        other = {load.DIALECT, load.CONFIGURATION}
        return () if any(finding.code in other for finding in error.findings) else None


def _own_files(root: Path) -> tuple[Path, ...]:
    """Files of a project that may hold workflows."""
    return (*_workflow_files(root), *_workflow_files(root / "workflows"), *layout.values_of(root))


def _shipped_files() -> tuple[Path, ...]:
    return tuple(_workflow_files(shipped.folder("templates") / "workflows"))


def _workflow_files(folder: Path) -> Iterable[Path]:
    """Of one folder, `.yaml` and `.yml`. The folder itself when it cannot be listed: what reads it says so."""
    try:
        with os.scandir(folder) as entries:
            found = [
                Path(entry.path) for entry in entries if entry.name.endswith((".yaml", ".yml")) and entry.is_file()
            ]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError:
        return (folder,)
    return (path for path in sorted(found) if path.name != MARKER)


def files_of(root: Path, names: Iterable[str]) -> dict[str, Path]:
    """The project's files that say what these workflows and their stages are, by their path below the root.

    What is shipped is left out. Raises the errors of `workflow`.
    """
    found: dict[str, Path] = {}
    for name in dict.fromkeys(names):
        graph = workflow(root, name)
        found |= {str(path.relative_to(root)): path for path in _own_files(root) if _holds(path, name, [])}
        folders = [node.spec.folder for node in graph.nodes if node.spec.folder is not None]
        stages = [folder / STAGE_FILE for folder in folders if folder.is_relative_to(root / "stages")]
        found |= {str(path.relative_to(root)): path for path in stages}
    return found


def listed(root: Path) -> tuple[tuple[Workflow, ...], tuple[str, ...]]:
    """Every workflow that can be run by name or id: the project's, also two of one name, then the shipped ones whose
    name is not taken. And the project's files that are wrong in a way that hides which workflows they hold, with a
    folder that cannot be listed; `clara lint` says why."""
    read = {path: _collected(path) for path in _own_files(root)}
    own = [workflow for found in read.values() for workflow in found or ()]
    taken = {workflow.name for workflow in own}
    rest = [workflow for path in _shipped_files() for workflow in _collected(path) or ()]
    unread = tuple(_shown(path) for path, found in read.items() if found is None)
    return (*own, *(workflow for workflow in rest if workflow.name not in taken)), unread


def workflows(root: Path) -> tuple[Workflow, ...]:
    """Those that `listed` finds."""
    return listed(root)[0]


def is_configuration(findings: Iterable[Finding]) -> bool:
    """Whether `check` found an adapter configuration in place of a workflow."""
    return any(finding.code == load.CONFIGURATION for finding in findings)


def has_errors(findings: Iterable[Finding]) -> bool:
    return any(finding.level is Level.ERROR for finding in findings)


def init(folder: Path) -> dict[str, str]:
    """Make a project that runs as it is; returns its files and what they are. Raises UsageError or TryAgain.

    What could not be made whole is removed.
    """

    def lay() -> None:
        scaffold.copy(shipped.folder("templates") / "project", folder, {NO_ID: str(uuid.uuid4())})
        scaffold.stage(folder / "stages" / EXAMPLE)

    scaffold.make(folder, lay)
    return {
        "workflow.yaml": f"the workflow 'bone': dicom-reader, {EXAMPLE}, dicom-writer",
        f"stages/{EXAMPLE}/": "a stage that marks bone, to change into your own",
        "adapter.yaml": "receives studies, runs the workflow, returns the result",
        "README.md": "what to type",
        MARKER: "the root of the project",
    }
