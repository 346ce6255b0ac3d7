"""Workflow and stage definitions -> Graph. A Graph that exists is right: names resolve, data and order agree.

Knows what folders and locks mean: `A/output` is the output of stage A, `A/output/masks` a folder in it, `A/input` is
what A reads, and a stage's own `input` is the job's payload; a lock is the `lockName` of a stage in the workflow, else
`<stage>.lock`. Knows no files and no YAML, only where a text says that it came from.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import NamedTuple

from clara_argo.collector import at_rest
from clara_argo.errors import DefinitionError, Finding
from clara_argo.model.workflow import StageSpec, Step, Workflow
from clara_argo.source import Findings, short
from clara_driver import contract

PAYLOAD = ""  # as an input: the job's payload instead of a stage
MAX_STEPS = 10_000
MAX_INPUTS = 256  # folders one stage may read
NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")  # of stages, workflows, and folders in an output
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, what Kubernetes takes as a name
UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}")
RESERVED = {"result", "payload", "lock", "stop"}  # beside the stages' folders in a job, or in an input

_NOT_RUN = {"folder", "takes", "gives"}  # of a stage definition: what changes nothing that runs
_SPEC_FIELDS = tuple(field.name for field in fields(StageSpec) if field.name not in _NOT_RUN)
_LATER_FIELDS = ("input_paths", "output_paths")  # in the digest of those only who use them

Edges = dict[str, tuple[str, ...]]  # a stage and the stages it needs


class Read(NamedTuple):
    """A folder that a stage reads: the output of a stage or a sub-folder of it, or the payload."""

    stage: str  # or PAYLOAD
    folder: str = ""  # sub-folder; "" = all of it
    path: str = ""  # absolute, in the container; "" = where the stage's definition puts its input

    @property
    def name(self) -> str:
        """Unique among what one stage reads; stages have no `.` in their names. PAYLOAD_FOLDER for the payload."""
        whole = self.stage or contract.PAYLOAD_FOLDER
        return f"{whole}.{self.folder}" if self.folder else whole

    @classmethod
    def named(cls, name: str) -> Read:
        """The inverse of `name`, of an output."""
        stage, _, folder = name.partition(".")
        return cls(stage, folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A step with everything resolved."""

    step: Step
    spec: StageSpec
    reads: tuple[Read, ...]
    waits_for: tuple[str, ...]  # stages, direct

    @property
    def name(self) -> str:
        return self.step.stage

    @property
    def inputs(self) -> tuple[str, ...]:
        """The stages whose output it reads, or PAYLOAD; each once."""
        return tuple(dict.fromkeys(read.stage for read in self.reads))


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """`nodes` in an order in which they may run one after the other; same files, same order, same digest."""

    workflow: Workflow
    nodes: tuple[Node, ...]
    results: tuple[str, ...]  # names of stages whose output is the result, or of a folder in it: STAGE.FOLDER
    digest: str  # SHA-256 of everything above that changes what runs, hex
    findings: tuple[Finding, ...] = ()  # warnings and notices

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def result_folders(self) -> tuple[Read, ...]:
        """`results`, in their order."""
        return tuple(map(Read.named, self.results))

    @classmethod
    @at_rest()
    def of(cls, workflow: Workflow, stages: Mapping[str, StageSpec], *, strict: bool = False) -> Graph:
        """Resolve and check. Raises DefinitionError with every finding, not only the first."""
        resolver = _Resolver(workflow, stages, Findings(workflow.source, strict=strict))
        nodes, results = resolver.nodes(), resolver.results()
        findings = resolver.findings.check()
        digest = _digest(workflow, nodes, results)
        return cls(workflow=workflow, nodes=nodes, results=results, digest=digest, findings=findings)


class _Resolver:
    """Turns the words of one workflow into stages. What it cannot resolve it reports and leaves out."""

    def __init__(self, workflow: Workflow, stages: Mapping[str, StageSpec], findings: Findings) -> None:
        self.workflow, self.stages, self.findings = workflow, stages, findings
        if len(workflow.steps) > MAX_STEPS:
            findings.error(
                "too-many-stages", f"the workflow has more than {MAX_STEPS} stages", workflow.name, "split it"
            )
            findings.check()
        self._workflow_names()
        self.steps = self._unique_steps()
        self.index = {name: number for number, name in enumerate(self.steps)}
        self.folders = {f"{name}/{kind}": None for name in self.steps for kind in ("output", "input")}
        self.specs = {name: spec for name in self.steps if (spec := self._spec(name))}
        self.locks = self._locks()
        self.waits: Edges = {name: self._waits(step) for name, step in self.steps.items()}
        self.reads = self._reads()
        self.inputs: Edges = {name: tuple(dict.fromkeys(r.stage for r in reads)) for name, reads in self.reads.items()}

    def nodes(self) -> tuple[Node, ...]:
        """In running order: after what each one needs, else as in the file."""
        if not self.steps:
            self.findings.error(
                "no-stages", "the workflow has no stages", self.workflow.name, "add stages: [dicom-reader, …]"
            )
        edges = {name: (*self.waits[name], *(i for i in self.inputs[name] if i)) for name in self.steps}
        components = _components(edges)
        self._cycles(components, edges)
        self._missing_locks(components)
        if self.findings.failed:
            return ()
        self._unused()
        return tuple(
            Node(step=self.steps[name], spec=self.specs[name], reads=self.reads[name], waits_for=self.waits[name])
            for name in _order({name: (*self.waits[name], *edges[name]) for name in edges})
        )

    def results(self) -> tuple[str, ...]:
        """What is the result, by name. A folder in an output that is the result as a whole is not named again."""
        found: dict[str, None] = {}
        for folder in self.workflow.results:
            stage, kind, part = self._folder(folder)
            names = (Read(stage, part).name,) if kind == "output" else self.inputs.get(stage, ()) if stage else ()
            if PAYLOAD in names:
                self.findings.error(
                    "result", f"the result {short(folder)} is the payload itself", folder, "name an output"
                )
            found.update(dict.fromkeys(names))
        if not self.workflow.results:
            self.findings.error("no-result", "no folder is the result", self.workflow.name, "name an output as result")
        return tuple(name for name in found if name == Read.named(name).stage or Read.named(name).stage not in found)

    # names

    def _workflow_names(self) -> None:
        self._name("workflow", self.workflow.name)
        identity = self.workflow.id
        if not NAME.fullmatch(identity):
            self.findings.error(
                "id", f"the id {short(identity)} is no UUID", identity, "make one: python3 -m uuid, or uuidgen"
            )
        elif not UUID.fullmatch(identity):
            self.findings.warning("id", f"the id {short(identity)} is no UUID", identity, "uuidgen makes one")

    def _name(self, what: str, name: str) -> None:
        if not NAME.fullmatch(name):
            hint = "use 1 to 255 of A-Z a-z 0-9 - _"
            self.findings.error("name", f"{short(name)} cannot be the name of a {what}", name, hint)
        elif not DNS_LABEL.fullmatch(name):
            hint = "lower-case letters, digits and '-' only, at most 63"
            self.findings.warning("name-dns", f"{what} {short(name)} gets another name on a cluster", name, hint)

    def _unique_steps(self) -> dict[str, Step]:
        steps: dict[str, Step] = {}
        spellings: dict[str, str] = {}
        for step in self.workflow.steps:
            name, plain = step.stage, step.stage.lower()
            if plain in spellings:
                self._twice(name, spellings[plain])
                continue
            if plain in RESERVED:
                self.findings.error("name", f"{short(name)} cannot be the name of a stage", name, "use another name")
            spellings[plain] = name
            steps[name] = step
        return steps

    def _twice(self, name: str, first: str) -> None:
        if name == first:
            message, hint = f"stage {short(name)} is used twice", "define a second stage with the same image"
        else:
            message, hint = f"stages {short(first)} and {short(name)} differ only in case", "rename one of them"
        self.findings.error("duplicate-stage", message, name, hint)

    def _spec(self, name: str) -> StageSpec | None:
        try:
            spec = self.stages.get(name)
        except DefinitionError as error:
            self.findings.extend(error.findings)
            return None
        if spec is not None:
            self._name("stage", name)
            return spec
        hint = self.findings.did_you_mean(name, self.stages, f"make a folder stages/{name[:80]} with a stage.yaml")
        if not NAME.fullmatch(name):
            hint = "use 1 to 255 of A-Z a-z 0-9 - _"
        self.findings.error("unknown-stage", f"no stage {short(name)}", name, hint)
        return None

    # locks and folders

    def _locks(self) -> dict[str, str]:
        """Lock file -> stage; a lock name that a stage definition gives goes before `<stage>.lock`."""
        named: dict[str, str] = {}
        for name, spec in self.specs.items():
            other = named.setdefault(spec.lock, name)
            if other != name:
                message = f"stages {short(other)} and {short(name)} share the lock {short(spec.lock)}"
                self.findings.error("shared-lock", message, self.steps[name].stage, "give one another lockName")
        return {f"{name}.lock": name for name in self.steps} | named

    def _waits(self, step: Step) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for lock in step.waits_for:
            stage = self.locks.get(lock)
            if stage is None:
                message = f"stage {short(step.stage)} waits for the unknown lock {short(lock)}"
                hint = self.findings.did_you_mean(lock, self.locks, self._known("locks", self.locks))
                self.findings.error("unknown-lock", message, lock, hint)
                continue
            self._forward(step, stage, lock)
            found[stage] = None
        return tuple(found)

    def _forward(self, step: Step, stage: str, at: str) -> None:
        """In the early-access dialect a stage may only wait for stages before it."""
        if self.workflow.dialect == "early-access" and self.index[stage] > self.index[step.stage]:
            message = f"stage {short(step.stage)} waits for {short(stage)}, which comes after it"
            self.findings.error("forward-reference", message, at, f"list {short(stage)} first")

    def _known(self, what: str, words: Mapping[str, object]) -> str:
        few = ", ".join(map(short, islice(words, 8)))
        return f"{what} here: {few}{', …' if len(words) > 8 else ''}" if words else "add a stage"

    def _folder(self, folder: str) -> tuple[str, str, str]:
        """`A/output/x` -> (A, output, x); ("", "", "") and a finding when it is no folder of the workflow."""
        stage, _, rest = folder.rstrip("/").removeprefix("./").partition("/")
        kind, inside, part = rest.partition("/")
        whole = kind in ("input", "output") and not inside
        if stage in self.steps and (whole or (kind == "output" and NAME.fullmatch(part))):
            return stage, kind, part
        hint = self.findings.did_you_mean(folder, self.folders, self._known("folders", self.folders))
        self.findings.error("unknown-folder", f"no folder {short(folder)} in this workflow", folder, hint)
        return "", "", ""

    def _reads(self) -> dict[str, tuple[Read, ...]]:
        """What each stage reads. `A/input` of another stage stands for everything that A reads."""
        words = {name: [self._folder(folder) for folder in step.reads] for name, step in self.steps.items()}
        borrowed = {
            name: {stage for stage, kind, _ in folders if kind == "input" and stage != name}
            for name, folders in words.items()
        }
        reads: dict[str, tuple[Read, ...]] = dict.fromkeys(self.steps, ())
        try:
            order = tuple(TopologicalSorter(borrowed).static_order())
        except CycleError as error:
            path = " -> ".join(error.args[1])
            first = self.steps[error.args[1][0]]
            self.findings.error("cycle", f"stages read each other's input: {path}", first.reads[0], "name an output")
            return reads
        for name in order:
            reads[name] = self._placed(name, self._read(name, words[name], reads))
        return reads

    def _read(
        self, name: str, folders: list[tuple[str, str, str]], reads: Mapping[str, tuple[Read, ...]]
    ) -> tuple[Read, ...]:
        found: dict[Read, None] = {}
        for stage, kind, part in folders:
            if kind == "output":
                found[Read(stage, part)] = None
            elif stage == name:
                found[Read(PAYLOAD)] = None
            elif stage:
                found.update(dict.fromkeys(read._replace(path="") for read in reads[stage]))
        if len(found) > MAX_INPUTS:
            step = self.steps[name]
            message = f"{short(name)} reads more than {MAX_INPUTS} folders"
            self.findings.error("too-many-inputs", message, step.reads[0], "join some of them in a stage before it")
        return tuple(found)[:MAX_INPUTS] if folders else (Read(PAYLOAD),)

    def _placed(self, name: str, reads: tuple[Read, ...]) -> tuple[Read, ...]:
        """Each in the folder of its own that the stage's definition asks for, when it asks."""
        paths = self.specs[name].input_paths if name in self.specs else ()
        if not paths:
            return reads
        if len(reads) > len(paths):
            step = self.steps[name]
            message = f"stage {short(name)} reads {len(reads)} folders, but has {len(paths)} inputPaths"
            self.findings.error("input-paths", message, step.stage, "give it one for each, in this order")
        return tuple(read._replace(path=str(path)) for read, path in zip(reads, paths, strict=False))

    # data and order

    def _cycles(self, components: list[tuple[str, ...]], edges: Edges) -> None:
        for component in components:
            first = min(component, key=self.index.__getitem__)
            if len(component) == 1 and first not in edges[first]:
                continue
            step = self.steps[first]
            at = next(iter((*step.waits_for, *step.reads)), step.stage)
            if len(component) == 1:
                what = "waits for itself" if first in self.waits[first] else "reads its own output"
                self.findings.error("cycle", f"stage {short(first)} {what}", at, "remove that entry")
                continue
            path = " -> ".join(_path(first, component, edges))
            hint = "remove one of these locks or folders"
            self.findings.error("cycle", f"stages wait for each other: {path}", at, hint)

    def _missing_locks(self, components: list[tuple[str, ...]]) -> None:
        """Whoever reads a folder must wait, directly or through others, until it is written."""
        number = {name: n for n, component in enumerate(components) for name in component}
        reach: list[int] | None = None  # per component, the set of components it waits for, as bits
        for name in self.steps:
            for producer in self.inputs[name]:
                if not producer or producer in self.waits[name] or number[producer] == number[name]:
                    continue
                reach = reach or _reach(components, number, self.waits)
                if not reach[number[name]] >> number[producer] & 1:
                    self._missing_lock(name, producer)

    def _missing_lock(self, name: str, producer: str) -> None:
        step, place = self.steps[name], self.index[name] + 1
        lock = self.specs[producer].lock if producer in self.specs else f"{producer}.lock"
        folder = f"{producer}/output"
        at = next((text for text in step.reads if text.startswith(folder)), step.reads[0])
        message = f"stage {short(name)} reads {short(folder)} but does not wait for {short(lock)}"
        hint = f"add {short(lock)} to its waitLocks (entry {place})"
        if self.workflow.dialect == "early-access":
            self.findings.warning("R7", f"{message}; it does now", at, hint)
            self.waits[name] += (producer,)
        else:
            self.findings.error("missing-lock", message, at, hint)

    def _unused(self) -> None:
        used = {stage for names in (*self.inputs.values(), *self.waits.values()) for stage in names}
        used |= {folder.removeprefix("./").partition("/")[0] for folder in self.workflow.results}
        for name, spec in self.specs.items():
            if name not in used and not spec.publish:
                message = f"nobody reads the output of stage {short(name)} or waits for it"
                self.findings.notice("unused", message, self.steps[name].stage, "remove it, or make it a result")


def _components(edges: Edges) -> list[tuple[str, ...]]:
    """Sets of stages that need each other, what is needed first (Tarjan's algorithm, without recursion)."""
    found: list[tuple[str, ...]] = []
    low: dict[str, int] = {}
    path: list[str] = []
    done: set[str] = set()
    for root in edges:
        if root in low:
            continue
        low[root], number = len(low), {}
        number[root] = low[root]
        path.append(root)
        work = [(root, iter(edges[root]))]
        while work:
            name, needed = work[-1]
            for other in needed:
                if other not in low:
                    low[other] = number[other] = len(low)
                    path.append(other)
                    work.append((other, iter(edges[other])))
                    break
                if other not in done:
                    low[name] = min(low[name], low[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == number[name]:
                    start = path.index(name) if path[-1] != name else len(path) - 1
                    component = tuple(path[start:])
                    del path[start:]
                    done.update(component)
                    found.append(component)
    return found


def _reach(components: list[tuple[str, ...]], number: dict[str, int], waits: Edges) -> list[int]:
    """For each component the components it waits for, directly or through others, as bits of a number."""
    reach: list[int] = []
    for here, component in enumerate(components):
        bits = 0
        for other in {number[stage] for name in component for stage in waits[name]} - {here}:
            bits |= reach[other] | 1 << other
        reach.append(bits)
    return reach


def _path(first: str, component: tuple[str, ...], edges: Edges) -> list[str]:
    """A shortest way from a stage of a component back to itself; its first and last entries are that stage."""
    inside, before = set(component), {first: ""}
    queue = [first]
    for name in queue:
        for other in edges[name]:
            if other == first:
                way = [first]
                while name:
                    way.append(name)
                    name = before[name]
                return way[::-1]
            if other in inside and other not in before:
                before[other] = name
                queue.append(other)
    return [first]


def _order(edges: Edges) -> list[str]:
    """Every stage after what it needs; among those that may come next, the one that the file names first."""
    index = {name: number for number, name in enumerate(edges)}
    names = list(edges)
    missing = {name: len(set(needed)) for name, needed in edges.items()}
    users: dict[str, list[str]] = {name: [] for name in edges}
    for name, needed in edges.items():
        for other in set(needed):
            users[other].append(name)
    ready = [index[name] for name in edges if not missing[name]]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        for user in users[name]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, index[user])
    return order


def _digest(workflow: Workflow, nodes: tuple[Node, ...], results: tuple[str, ...]) -> str:
    value = {
        "id": workflow.id,
        "name": workflow.name,
        "nodes": [
            {
                "stage": node.name,
                "inputs": node.inputs,
                "waits": node.waits_for,
                "args": node.step.args,
                "spec": _spec_value(node.spec),
                **({"reads": node.reads} if any(read.folder for read in node.reads) else {}),
            }
            for node in nodes
        ],
        "results": results,
    }
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _spec_value(spec: StageSpec) -> dict[str, object]:
    """Everything in a stage definition that changes what runs, as JSON values."""
    values = {name: getattr(spec, name) for name in _SPEC_FIELDS}
    values = {name: value for name, value in values.items() if value or name not in _LATER_FIELDS}
    values |= {"output_paths": dict(spec.output_paths)} if spec.output_paths else {}
    return values | {
        "image": [spec.image.repository, spec.image.tag, spec.image.digest],
        "resources": [spec.resources.cpu, spec.resources.memory, spec.resources.gpu],
        "env": dict(spec.env),
        "extra": {},  # keys that nobody follows were counted once
    }
