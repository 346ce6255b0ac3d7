"""The adapter's part of a migration: its file and what stood outside of it become one configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePath

from clara_argo import project, shipped
from clara_argo.errors import DefinitionError, Finding
from clara_argo.formats import adapter, adapter_json, adapter_parts, old_adapter
from clara_argo.formats.fields import as_text
from clara_argo.graph import Graph
from clara_argo.migrate.reading import Reading
from clara_argo.migrate.text import commented
from clara_argo.model.route import Configuration, Route
from clara_argo.model.workflow import Workflow
from clara_argo.source import Findings, List, Map, Node, Text, short

REGISTERED, SENT = "register-results", "ClaraSCU"  # a kept key of pipelines: where their results were to go


def join(readings: Sequence[Reading], findings: Findings) -> Configuration | None:
    """The one configuration that is to be written; None when there is none, or when it is ours already."""
    files = [reading for reading in readings if reading.configuration is not None]
    parts = [entry for reading in readings for entry in reading.parts]
    for reading in files[1:]:
        message = f"{reading.path} is a second configuration of an adapter, beside {files[0].path}"
        findings.error("two-configurations", message, reading.configuration, "migrate one after the other")
    root: Node | None = files[0].configuration if files else None
    unread = any(reading.is_unknown for reading in readings)  # perhaps it is the configuration
    if len(files) > 1 or (root is None and (unread or not parts)):
        return None
    if root is not None and parts and not adapter_json.is_root(root):
        message = "entries from a cluster or database are added to a JSON configuration (DicomAdapter) only"
        findings.error("parts", message, parts[0][1], "write them into the file by hand, or leave it out")
        return None
    own = Findings(str(files[0].path) if files else "", strict=findings.strict)
    node = adapter_parts.merged(root, parts) if parts else root
    assert node is not None  # there is a file, or there are parts
    configuration: Configuration | None = None
    with suppress(DefinitionError):  # its findings are among those
        configuration = adapter.of_node(node, own)
    findings.extend(own.all)
    if own.failed or (files and files[0].ours):
        return None
    return configuration


def comments(readings: Sequence[Reading], findings: Sequence[Finding]) -> str:
    """What the adapter's old files say and nobody knows here, a line each, harmless whatever it is."""
    unknown = {(f.source, f.line, f.column) for f in findings if f.code == "unknown-key"}
    pairs = [pair for reading in readings for node in reading.nodes for pair in _pairs(node)]
    kept = ((key, as_text(value)) for key, value in pairs if (key.source, key.line, key.column) in unknown)
    return commented(kept, "Not known, and not followed; from the files that this one was made of:")


def _pairs(node: Node) -> Iterator[tuple[Text, Node]]:
    """Every key with its value, also in what they hold. Depth is bounded by the reader."""
    if isinstance(node, List):
        for item in node:
            yield from _pairs(item)
    elif isinstance(node, Map):
        for key in node:
            yield key, node[key]
            yield from _pairs(node[key])


def pointed(configuration: Configuration, graphs: Sequence[Graph], findings: Findings) -> Configuration:
    """Its routes name workflows that there are, and the destinations that those wanted."""
    own = tuple(graph.workflow for graph in graphs)
    known = (*own, *project.workflows(shipped.folder("templates")))
    routes = [_running(route, own, known, findings) for route in configuration.routes]
    names = {destination.name for destination in configuration.destinations}
    taken: dict[str, int] = {}
    split = [one for route in routes for one in _sending(route, own, names, findings)]
    routes = [replace(route, name=old_adapter.unique(route.name, taken)) for route in split]
    return replace(configuration, routes=tuple(routes), spool=_beside(configuration.spool, findings))


def _beside(spool: str, findings: Findings) -> str:
    """A path that began at the old file would lead somewhere else from the new one."""
    if spool == old_adapter.SPOOL or PurePath(spool).is_absolute():
        return spool
    message = f"the spool {short(spool)} began at the old file; the new adapter has its own, beside adapter.yaml"
    findings.notice("spool", message, None, "write an absolute path to go on with the old one")
    return old_adapter.SPOOL


def _running(route: Route, own: Sequence[Workflow], known: Sequence[Workflow], findings: Findings) -> Route:
    """An unknown id becomes the name, where a workflow has one that the old file says beside it."""
    names: dict[str, None] = {}
    for name in route.workflows:
        if any(project.is_called(workflow, name) for workflow in known):
            names[name] = None
            continue
        others = {other.lower() for other in route.other_names.get(name, ())}
        named = next((workflow for workflow in own if workflow.name.lower() in others), None)
        names[str(named.name) if named else name] = None
        if named is not None:
            message = f"no workflow has the id {short(name)}; route {short(route.name)} runs {short(named.name)}"
            hint = f"write {named.name}"
        else:
            some = ", ".join(short(workflow.name) for workflow in own) or "none"
            message = f"route {short(route.name)} runs {short(name)}, which is in none of these files; they hold {some}"
            hint = "migrate its file, too, or write one of these names into adapter.yaml"
        findings.warning("unknown-workflow", message, name, hint)
    return replace(route, workflows=tuple(names))


def _sending(route: Route, own: Sequence[Workflow], names: set[str], findings: Findings) -> list[Route]:
    """Pipelines named their destinations themselves; those go before the only one that there is. A route for each
    group of workflows that send alike: nobody gets the results of another."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in route.workflows:
        to = route.destinations
        for workflow in own:
            if project.is_called(workflow, name) and (wanted := _registered(workflow)):
                to = _known(wanted, names, workflow, route, findings)
        groups.setdefault(to, []).append(name)
    return [replace(route, workflows=tuple(some), destinations=to) for to, some in groups.items()] or [route]


def _known(
    wanted: Sequence[str], names: set[str], workflow: Workflow, route: Route, findings: Findings
) -> tuple[str, ...]:
    what = f"the results of {short(workflow.name)}, which route {short(route.name)} runs,"
    for name in wanted:
        if name not in names:
            message = f"{what} are for {short(name)}, which is no destination here"
            hint = "add it to 'destinations' of adapter.yaml, and to the route"
            findings.warning("unknown-destination", message, workflow.name, hint)
    found = tuple(dict.fromkeys(name for name in wanted if name in names))
    where = f"go to {', '.join(map(short, found))}" if found else "stay in the spool"
    findings.notice("destination", f"{what} {where}, as its register-results says", workflow.name)
    return found


def _registered(workflow: Workflow) -> list[str]:
    """The reader of pipelines wrote the text: a list of what was registered, with agent and data."""
    made = json.loads(workflow.extra.get(REGISTERED, "[]")) if workflow.dialect == "operators" else []
    return [name for one in made if one["agent"] == SENT for name in one["data"]]
