"""The adapter's part of a migration: its file and what stood outside of it become one configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clara_argo import project, shipped
from clara_argo.formats import adapter, adapter_json, adapter_parts
from clara_argo.graph import Graph
from clara_argo.migrate.reading import Reading
from clara_argo.model.route import Configuration, Route
from clara_argo.source import Findings, Node, short


def join(readings: Sequence[Reading], findings: Findings) -> Configuration | None:
    """The one configuration that is to be written; None when there is none, or when it is ours already."""
    files = [reading for reading in readings if reading.configuration is not None]
    parts = [entry for reading in readings for entry in reading.parts]
    for reading in files[1:]:
        message = f"{reading.path} is a second configuration of an adapter, beside {files[0].path}"
        findings.error("two-configurations", message, reading.configuration, "migrate one after the other")
    root: Node | None = files[0].configuration if files else None
    if len(files) > 1 or (root is None and not parts):
        return None
    if root is not None and parts and not adapter_json.is_root(root):
        message = "entries from a cluster or database are added to a JSON configuration (DicomAdapter) only"
        findings.error("parts", message, parts[0][1], "write them into the file by hand, or leave it out")
        return None
    own = Findings(str(files[0].path) if files else "", strict=findings.strict)
    node = adapter_parts.merged(root, parts) if parts else root
    assert node is not None  # there is a file, or there are parts
    configuration = adapter.of_node(node, own)
    findings.extend(own.all)
    if own.failed or (files and files[0].ours):
        return None
    return configuration


def pointed(configuration: Configuration, graphs: Sequence[Graph], findings: Findings) -> Configuration:
    """Its routes name workflows that there are: an unknown id becomes the name, where a workflow has the route's."""
    workflows = [graph.workflow for graph in graphs]
    known = [*workflows, *project.workflows(shipped.folder("templates"))]

    def known_as(name: str, route: Route) -> str:
        if any(project.is_called(workflow, name) for workflow in known):
            return name
        for workflow in workflows:
            if workflow.name.lower() == route.name.lower():
                message = f"no workflow has the id {short(name)}; route {short(route.name)} runs the one of that name"
                findings.warning("unknown-workflow", message, name, f"write {workflow.name}")
                return str(workflow.name)
        names = ", ".join(short(workflow.name) for workflow in workflows) or "none"
        message = f"route {short(route.name)} runs {short(name)}, which is in none of these files; they hold {names}"
        findings.warning("unknown-workflow", message, name, "migrate its file, too, or write one of these names")
        return name

    routes = (
        replace(route, workflows=tuple(dict.fromkeys(known_as(name, route) for name in route.workflows)))
        for route in configuration.routes
    )
    return replace(configuration, routes=tuple(routes))
