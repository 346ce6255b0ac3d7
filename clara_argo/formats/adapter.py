"""The adapter's configuration: text -> Configuration. Our own form, and by its keys those of Clara: YAML and JSON.

Names of sources and destinations are resolved here; workflows are only named, because finding them needs a project.
Everything that is wrong is reported at once, with line and column; a key that is not known is a warning.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from clara_argo import source
from clara_argo.errors import Finding
from clara_argo.formats import adapter_json, dicom_server, include, loose_json, peers
from clara_argo.formats.fields import Fields, short
from clara_argo.model.route import Configuration, Route, Settle
from clara_argo.source import Findings, Map, Node, Text, decode, parse

KEYS = ("ae-title", "host", "port", "spool", "runner", "sources", "destinations", "routes", include.KEY)
SOURCE_KEYS = ("name", "ae-title", "host")
DESTINATION_KEYS = ("name", "ae-title", "host", "port")
ROUTE_KEYS = ("name", "called", "sources", "settle", "workflows", "destinations")


def read(text: str | bytes, source_name: str = "<text>") -> tuple[Configuration, tuple[Finding, ...]]:
    """The configuration, and warnings and notices. Raises DefinitionError with every finding when one is an error."""
    findings = Findings(source_name)
    text = decode(text, source_name)
    return of_node(node_of(text, findings), findings), findings.check()


def load(path: Path) -> tuple[Configuration, tuple[Finding, ...]]:
    """As `read`, with the files that it includes. Raises NotFound when there is no such file."""
    findings = Findings(str(path))
    node = node_of(source.read(path), findings)
    return of_node(include.merged(node, path.parent, findings), findings), findings.check()


def node_of(text: str, findings: Findings) -> Node:
    """What is written, with the repairs of its dialect. Raises DefinitionError for what is neither YAML nor JSON."""
    if adapter_json.looks_like(text):
        return loose_json.parse(text, findings)
    repaired = dicom_server.Repair(text, findings)
    return repaired.places(parse(repaired.text, findings.source))


def of_node(node: Node, findings: Findings) -> Configuration:
    """The configuration in one of the dialects; what is wrong is in `findings` afterwards."""
    if adapter_json.is_root(node):
        return adapter_json.read(node, findings)
    if dicom_server.looks_like(node):
        return dicom_server.read(node, findings)
    return _read(node, findings)


def _read(node: Node, findings: Findings) -> Configuration:
    top = peers.section(node, KEYS, findings, "the configuration")
    if top.get(include.KEY) is not None:
        message = f"{include.KEY!r} is not followed: the text has no folder"
        findings.warning("include", message, top.at(include.KEY), "name the file")
    title = peers.title_of(top, "ae-title")
    named_sources: dict[str, Node] = {}
    named_destinations: dict[str, Node] = {}
    sources = peers.distinct(
        peers.items(top, "sources", SOURCE_KEYS, "source"),
        lambda fields, text: peers.source_of(fields, text, "host"),
        "sources",
        named_sources,
    )
    destinations = peers.distinct(
        peers.items(top, "destinations", DESTINATION_KEYS, "destination"),
        lambda fields, text: peers.destination_of(fields, text, "host"),
        "destinations",
        named_destinations,
    )
    top.need("routes", "routes: [{name: ct, called: CT_AI, sources: […], workflows: […], destinations: […]}]")
    routes = _routes(top, title, named_sources, named_destinations)
    configuration = Configuration(
        ae_title=title,
        spool=peers.spool_of(top),
        host=peers.host_of(top, "host", "127.0.0.1"),
        port=peers.port_of(top, "port", 11112),
        runner=peers.runner_of(top),
        sources=sources,
        destinations=destinations,
        routes=routes,
    )
    peers.compare(configuration, named_destinations, findings)
    return configuration


def _routes(top: Fields, title: str, sources: Collection[str], destinations: Collection[str]) -> tuple[Route, ...]:
    routes: dict[str, Route] = {}
    for number, node in enumerate(top.nodes("routes"), 1):
        name = node.get("name") if isinstance(node, Map) else None
        what = f"route {short(name)}" if isinstance(name, Text) and name else f"route {number}"
        route = _route(peers.section(node, ROUTE_KEYS, top.findings, what), title, sources, destinations)
        if route.name in routes:
            top.findings.error("duplicate-name", f"there are two routes named {short(route.name)}", name, "rename one")
        routes.setdefault(route.name, route)
    return tuple(routes.values())


def _route(fields: Fields, title: str, sources: Collection[str], destinations: Collection[str]) -> Route:
    called = peers.title_of(fields, "called", title)
    findings, what = fields.findings, fields.what
    senders, workflows, receivers = fields.texts("sources"), fields.texts("workflows"), fields.texts("destinations")
    if not fields.nodes("sources"):
        findings.warning("nobody", f"{what} names no sources: nobody may send", fields.at("sources"), "sources: […]")
    if not fields.nodes("workflows"):
        message = f"{what} names no workflows: studies are kept and nothing runs"
        findings.warning("no-workflow", message, fields.at("workflows"), "workflows: […]")
    if not fields.nodes("destinations"):
        message = f"{what} names no destinations: results stay in the spool"
        findings.warning("no-destination", message, fields.at("destinations"), "destinations: […]")
    return Route(
        name=str(fields.text("name", called)),
        called=called,
        sources=peers.resolve(senders, sources, findings, "source", what),
        workflows=tuple(dict.fromkeys(name for name in workflows if name)),
        destinations=peers.resolve(receivers, destinations, findings, "destination", what),
        settle=_settle(fields),
        file="" if fields.node.source == findings.source else fields.node.source,
    )


def _settle(fields: Fields) -> Settle:
    inner = fields.get("settle")
    if inner is None:
        return Settle()
    settle = peers.section(inner, ("quiet", "max"), fields.findings, f"'settle' of {fields.what}")
    quiet = peers.seconds_of(settle, "quiet", Settle().quiet, 0.001, 86400)
    most = peers.seconds_of(settle, "max", max(Settle().max, quiet), 0.001, 7 * 86400)
    if most < quiet:
        settle.wrong(
            "max", f"is {most:g} s, less than 'quiet' with {quiet:g} s", "a study is complete at the latest then"
        )
    return Settle(quiet=quiet, max=max(most, quiet))
