"""A configuration file with everything it names: what `clara adapter serve` starts and `clara adapter check` shows.

Knows how to find workflows in the project of the file. Starts nothing; `echo` asks the destinations, `ask` the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clara_argo import project
from clara_argo.errors import ClaraError, DefinitionError, Finding, Level, NotFound
from clara_argo.formats import adapter as reader
from clara_argo.graph import Graph
from clara_argo.model.route import Configuration, Destination, Route
from clara_argo.model.target import LOCAL
from clara_argo.runners import ready, targets

ANSWERS = "answers a C-ECHO"
READY = "ready"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """`configuration` is None when the file itself is wrong; `graphs` holds what could be compiled."""

    file: Path
    configuration: Configuration | None
    graphs: Mapping[str, Graph]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        return project.has_errors(self.findings)

    def check(self) -> None:
        """Raises DefinitionError with every error."""
        if self.failed:
            raise DefinitionError(finding for finding in self.findings if finding.level is Level.ERROR)

    def lines(self, answers: Mapping[str, str], cluster: Mapping[str, str]) -> list[str]:
        """For people: the node, then each route with its senders, workflows and destinations."""
        if self.configuration is None:
            return []
        node = self.configuration
        lines = [f"{node.ae_title} listens on {node.host}:{node.port}; spool {node.spool}; runner {node.runner}"]
        lines += [f"  {what}: {answer}" for what, answer in cluster.items()]
        if node.runner != LOCAL and not cluster:
            lines.append(f"  target {node.runner} was not asked what it lacks; --echo does")
        for route in node.routes:
            lines.append(f"route {route.name}: called {route.called}")
            lines += [f"  from  {text}" for text in self._senders(route) or ["nobody"]]
            lines += [f"  runs  {self._workflow(name)}" for name in route.workflows or ("nothing",)]
            lines += [f"  to    {text}" for text in self._receivers(route, answers) or ["nobody"]]
            settle = route.settle
            lines.append(f"  after {settle.quiet:g} s without a new image, at most {settle.max:g} s after the first")
        return lines

    def to_json(self, answers: Mapping[str, str], cluster: Mapping[str, str]) -> dict[str, Any]:
        node = self.configuration
        return {
            "schema": 1,
            "findings": [
                {
                    "level": str(finding.level),
                    "code": finding.code,
                    "where": finding.where,
                    "message": finding.message,
                    "hint": finding.hint,
                }
                for finding in self.findings
            ],
            "node": node and _node(node),
            "routes": [
                {
                    "name": route.name,
                    "called": route.called,
                    "sources": list(route.sources),
                    "workflows": {name: _stages(self.graphs[name]) for name in route.workflows if name in self.graphs},
                    "destinations": list(route.destinations),
                }
                for route in (node.routes if node else ())
            ],
            "echo": dict(answers),
            "cluster": dict(cluster),
        }

    def _senders(self, route: Route) -> list[str]:
        assert self.configuration is not None
        known = {one.name: one for one in self.configuration.sources}
        return [
            f"{name} ({known[name].ae_title} at {known[name].host or 'any address'})"
            for name in route.sources
            if name in known
        ]

    def _receivers(self, route: Route, answers: Mapping[str, str]) -> list[str]:
        assert self.configuration is not None
        known = {one.name: one for one in self.configuration.destinations}
        return [_receiver(known[name], answers.get(name, "")) for name in route.destinations if name in known]

    def _workflow(self, name: str) -> str:
        graph = self.graphs.get(name)
        return f"{name}: {' -> '.join(_stages(graph))}" if graph else name


def _node(node: Configuration) -> dict[str, Any]:
    where = {"host": node.host, "port": node.port, "spool": node.spool, "runner": node.runner}
    return {"aeTitle": node.ae_title, **where}


def _receiver(to: Destination, answer: str) -> str:
    return f"{to.name} ({to.ae_title} at {to.host}:{to.port})" + (f": {answer}" if answer else "")


def _stages(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes]


def read(file: Path, *, strict: bool = False) -> Plan:
    """Read the configuration and find its workflows. Wrong content becomes findings. Raises NotFound for no file."""
    try:
        configuration, findings = reader.load(file)
    except DefinitionError as error:
        return Plan(file=file, configuration=None, graphs={}, findings=error.findings)
    graphs: dict[str, Graph] = {}
    roots: dict[str, Path] = {}
    found = [*findings, *_target(file, configuration.runner)]
    for route in configuration.routes:
        root = project.find_root(Path(route.file) if route.file else file)
        for name in route.workflows:
            if name in graphs:
                if roots[name] != root:
                    found += _another(file, route, name, graphs[name], root)
                continue
            roots[name] = root
            try:
                graphs[name], notes = _workflow(file, root, route, name, strict)
                found += notes
            except DefinitionError as error:
                found += error.findings
            except ClaraError as error:
                code = "unknown-workflow" if isinstance(error, NotFound) else "workflow"
                found.append(_finding(file, name, code, f"route {route.name!r}: {error}"))
    if strict:
        found = strictly(found)
    configuration = replace(configuration, spool=_spool(file, configuration))
    return Plan(file=file, configuration=configuration, graphs=graphs, findings=tuple(found))


def spool(file: Path) -> str:
    """Where the adapter of a configuration keeps its state. What runs is not looked at: a workflow that somebody edits
    hides no job. Raises DefinitionError, NotFound."""
    return _spool(file, reader.load(file)[0])


def _spool(file: Path, configuration: Configuration) -> str:
    return str((file.parent / configuration.spool).absolute())


def _workflow(file: Path, root: Path, route: Route, name: str, strict: bool) -> tuple[Graph, tuple[Finding, ...]]:
    """By its name or id, else by another name that an old file has for it. Raises the errors of `project.workflow`."""
    try:
        graph = project.workflow(root, name, strict=strict)
    except NotFound:
        for other in route.other_names.get(name, ()):
            try:
                graph = project.workflow(root, other, strict=strict)
            except NotFound:
                continue
            message = f"route {route.name!r}: no workflow has the id {name!r}; the one named {other!r} runs"
            note = replace(_finding(file, name, "unknown-workflow", message), level=Level.WARNING)
            return graph, (note, *graph.findings)
        raise
    return graph, graph.findings


def _another(file: Path, route: Route, name: str, known: Graph, root: Path) -> Iterable[Finding]:
    """Of one name in two places: it must be one workflow, since there is one template of that name."""
    try:
        if project.workflow(root, name).digest == known.digest:
            return ()
        said = "is another workflow than that of the same name which a route before it runs; rename one"
    except ClaraError as error:
        said = str(error)
    return (_finding(file, name, "workflow", f"route {route.name!r}: {name}: {said}"),)


def strictly(findings: Iterable[Finding]) -> list[Finding]:
    """The same findings; warnings are errors."""
    return [replace(one, level=Level.ERROR) if one.level is Level.WARNING else one for one in findings]


def _target(file: Path, name: str) -> Iterable[Finding]:
    """What is wrong with the target that runs the jobs, in the user's settings."""
    if name == LOCAL:
        return ()
    try:
        targets.find(name)
    except DefinitionError as error:
        return error.findings
    except ClaraError as error:
        code = "unknown-target" if isinstance(error, NotFound) else "target"
        return (_finding(file, name, code, f"'runner': {error}"),)
    return ()


def _finding(file: Path, at: str, code: str, message: str) -> Finding:
    line, column = getattr(at, "line", 0), getattr(at, "column", 0)
    where = (getattr(at, "source", "") if line else "") or str(file)
    return Finding(level=Level.ERROR, code=code, message=message, source=where, line=line, column=column)


def ask(plan: Plan) -> dict[str, str]:
    """What the target that runs the jobs says of each workflow and of its store: READY, or what is missing."""
    if plan.configuration is None:
        return {}
    return {what: trouble or READY for what, trouble in ready.ask(plan.configuration.runner, plan.graphs)}


def echo(plan: Plan) -> dict[str, str]:
    """Each destination by name: ANSWERS, or why not."""
    from clara_adapter.scu import Deadlines, Scu, Unreachable

    answers: dict[str, str] = {}
    if plan.configuration is None:
        return answers
    deadlines = Deadlines(connect=5, associate=5, answer=5, stall=5)
    for destination in plan.configuration.destinations:
        try:
            status = Scu(plan.configuration.ae_title, destination, deadlines).echo()
            answers[destination.name] = ANSWERS if status == 0 else f"answers with status 0x{status:04X}"
        except Unreachable as error:
            answers[destination.name] = error.why
    return answers
