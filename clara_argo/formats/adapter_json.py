"""The `DicomAdapter` part of an appsettings.json of Clara 0.7 and 0.8 -> Configuration.

Keys compare without dashes, underscores and case. In 0.8 AE titles, sources and destinations stood in a database:
`clara_argo.formats.adapter_parts` adds them from what the adapter, or a cluster, answered when it was asked for them.
Read loosely (repair R6), because NVIDIA's own sample is no JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from clara_argo.formats import loose_json, old_adapter, peers
from clara_argo.formats.adapter_tables import JSON
from clara_argo.formats.fields import Fields, empty, short
from clara_argo.model.route import Configuration, Destination, Route, Source
from clara_argo.source import Findings, Map, Node, Text

ROOT, MONAI = "DicomAdapter", "InformaticsGateway"
_FILE = (ROOT, "Logging", "AllowedHosts", "ConnectionStrings", "Kestrel", *old_adapter.OURS)
_ROOT = ("dicom", "services", "storage", *old_adapter.OURS)
_CRD = ("read-ae-titles-from-crd", "read-sources-from-crd", "read-destinations-from-crd")
_TOP = (*_ROOT, *_CRD, "crd-read-intervals")
_LIMIT = "maximum-number-of-associations"
_SCP = (
    "port", _LIMIT, "verification", "reject-unknown-sources", "log-dimse-datasets", "ae-titles", "sources",
)  # fmt: skip
_SCU = ("ae-title", _LIMIT, "log-data-pdus", "export", "destinations")
_EXPORT = ("maximum-retries", "failure-threshold", "poll-frequency-ms")
_SERVICES = ("platform", "results-service-endpoint")
_PLATFORM = (
    "endpoint", "max-retries", "retry-delay-seconds", "parallel-uploads", "upload-metadata", "metadata-dicom-source",
)  # fmt: skip
_STORAGE = ("temporary", "watermark-percent", "reserve-space-gb")
TITLE_KEYS = (
    "name", "ae-title", "overwrite-same-instance", "ignored-sop-classes", "processor", "processor-settings",
)  # fmt: skip
SOURCE_KEYS = ("name", "ae-title", "host-ip")
DESTINATION_KEYS = ("name", "ae-title", "host-ip", "port")
_SETTINGS = ("timeout", "job-retry-delay", "priority", "group-by")
PRIORITIES = ("lower", "normal", "higher", "immediate")
PIPELINE = "pipeline-"
PROCESSOR = "aetitlejobprocessor"  # the one that Clara came with
QUIET = 5.0  # seconds; the default, and the least
TABLE = JSON
_MARK = re.compile(rf'"({ROOT}|{MONAI})"', re.IGNORECASE)


def looks_like(text: str) -> bool:
    """Whether a text is such a file, also when it is no JSON."""
    return _MARK.search(text) is not None and loose_json.begins_like(text)


def is_root(node: Node) -> bool:
    return isinstance(node, Map) and bool({peers.plain(ROOT), peers.plain(MONAI)} & set(map(peers.plain, node)))


@dataclass(frozen=True)
class _File:
    top: Fields
    scp: Fields
    scu: Fields
    findings: Findings

    @classmethod
    def of(cls, node: Node, findings: Findings) -> _File:
        file = peers.section(node, _FILE, findings, "the file")
        for key in ("Logging", "AllowedHosts", "ConnectionStrings", "Kestrel"):
            if key in file:
                message = f"{key!r} is not followed: it is of the program that this file was for"
                findings.notice("not-followed", message, file.at(key), "delete it")
        top = _merged(file, peers.section(file.node.get(ROOT, _nothing(file)), _TOP, findings, f"{ROOT!r}"))
        dicom = _inner(top, "dicom", ("scp", "scu"))
        return cls(top, _inner(dicom, "scp", _SCP), _inner(dicom, "scu", _SCU), findings)


def _merged(file: Fields, root: Fields) -> Fields:
    """Our own keys may stand in the file or in its part."""
    pairs = [(root.node.key(key), root.node[key]) for key in root.node]
    pairs += [
        (file.node.key(key), file.node[key]) for key in old_adapter.OURS if key in file.node and key not in root.node
    ]
    place = root.node if root.node.line else file.node
    return Fields(Map(pairs, place.source, place.line, place.column), root.findings, root.what)


def _nothing(fields: Fields) -> Text:
    return Text("", fields.node.source, fields.node.line, fields.node.column)


def _inner(fields: Fields, key: str, known: tuple[str, ...]) -> Fields:
    return peers.section(fields.node.get(key, _nothing(fields)), known, fields.findings, f"{key!r}")


def read(node: Node, findings: Findings) -> Configuration:
    """The configuration; what is wrong is in `findings` afterwards."""
    if isinstance(node, Map) and peers.plain(MONAI) in map(peers.plain, node):
        hint = "write its AE titles, sources and destinations as 'clara init' shows in adapter.yaml"
        findings.error("dialect", "this is the configuration of a MONAI gateway, which is not read", node, hint)
        findings.check()
    file = _File.of(node, findings)
    sources = old_adapter.sources_of(file.scp, SOURCE_KEYS)
    destinations, named = old_adapter.destinations_of(file.scu, DESTINATION_KEYS)
    _left_behind(file)
    if file.scp.nodes("ae-titles"):
        old_adapter.senders(file.scp, sources)
    configuration = Configuration(
        ae_title=peers.title_of(file.scu, "ae-title", "ClaraSCU"),
        spool=peers.spool_of(file.top, old_adapter.SPOOL),
        host=old_adapter.host_of(file.top),
        port=old_adapter.port_of(file.scp),
        runner=peers.runner_of(file.top),
        sources=sources,
        destinations=destinations,
        routes=_routes(file, sources, destinations),
    )
    peers.compare(configuration, named, findings)
    return configuration


def _left_behind(file: _File) -> None:
    """Keys that are understood and not followed."""
    for key in _CRD:
        old_adapter.no_cluster(file.top, key)
    old_adapter.not_logged(file.scp, "log-dimse-datasets")
    old_adapter.not_logged(file.scu, "log-data-pdus")
    old_adapter.own_limits(file.scp, _LIMIT)
    old_adapter.own_limits(file.scu, _LIMIT)
    old_adapter.always_verified(file.scp)
    _export(file)
    _services(file)
    storage = _inner(file.top, "storage", _STORAGE)
    for key in _STORAGE:
        if key in storage:
            message = f"{key!r} is not followed: the spool is the place for what is received, and watches its disk"
            file.findings.notice("storage", message, storage.at(key), "delete it")
    if "crd-read-intervals" in file.top:
        message = "'crd-read-intervals' is not followed: nothing is read from a cluster"
        file.findings.notice("crd", message, file.top.at("crd-read-intervals"), "delete it")


def _export(file: _File) -> None:
    export = _inner(file.scu, "export", _EXPORT)
    if export.get("failure-threshold") is not None:
        message = "'failure-threshold' is not followed: a delivery is sent whole, or held; a part of it is no success"
        file.findings.warning("threshold", message, export.at("failure-threshold"), "delete it")
    for key in ("maximum-retries", "poll-frequency-ms"):
        if key in export:
            message = f"{key!r} is not followed: a delivery is tried again until it is held, with growing pauses"
            file.findings.notice("export", message, export.at(key), "delete it")


def _services(file: _File) -> None:
    services = _inner(file.top, "services", _SERVICES)
    platform = _inner(services, "platform", _PLATFORM)
    if platform.flag("upload-metadata"):
        message = "'upload-metadata' is not followed: no patient data become labels of a job"
        file.findings.notice("metadata", message, platform.at("upload-metadata"), "delete it")
    others = [(platform, key) for key in _PLATFORM if key != "upload-metadata"]
    for fields, key in (*others, (services, "results-service-endpoint")):
        if key in fields:
            message = f"{key!r} is not followed: jobs run where 'runner' says"
            file.findings.notice("services", message, fields.at(key), "runner: local, or the name of a cluster")


def _routes(file: _File, sources: tuple[Source, ...], destinations: tuple[Destination, ...]) -> tuple[Route, ...]:
    """One route for each AE title."""
    if not file.scp.nodes("ae-titles"):
        message = "the file names no AE titles: in 0.8 they stood in a database, before it in a cluster"
        hint = (
            "give 'clara migrate' their dump as well: kubectl get claraaetitles,sources,destinations -o yaml, or what "
            "the adapter answers on /api/config/claraaetitle, /sourceaetitle and /destinationaetitle"
        )
        file.findings.error("no-ae-titles", message, file.scp.at("ae-titles"), hint)
        return ()
    routes: dict[str, Route] = {}
    titles: dict[str, int] = {}
    for fields, text in peers.items(file.scp, "ae-titles", TITLE_KEYS, "AE title"):
        if text is not None:
            hint = "{name: …, aeTitle: …, processorSettings: {pipeline-x: …}}"
            file.findings.error("kind", f"{fields.what} must be a mapping", text, hint)
            continue
        route = _route(fields, sources, destinations)
        if route is None:
            continue
        titles[route.called] = titles.get(route.called, 0) + 1
        if route.name in routes or titles[route.called] > 1:
            message = f"there are two AE titles {short(route.called if titles[route.called] > 1 else route.name)}"
            file.findings.error("duplicate-name", message, fields.node, "delete one")
        routes.setdefault(route.name, route)
    return tuple(routes.values())


def _route(fields: Fields, sources: tuple[Source, ...], destinations: tuple[Destination, ...]) -> Route | None:
    called = peers.title_of(fields, "ae-title")
    name = str(fields.text("name", called))
    fields.what = f"AE title {short(name)}" if name else fields.what
    _processor(fields)
    old_adapter.title_notes(fields)
    workflows, quiet = _settings(fields)
    if not called:
        return None
    how = "such a file has no word for it; 'clara migrate' writes one that has 'destinations'"
    to = old_adapter.only(fields.findings, name, destinations, fields.at("ae-title"), how)
    return Route(
        name=name,
        called=called,
        sources=tuple(source.name for source in sources),
        workflows=tuple(workflows),
        other_names=MappingProxyType({str(key): (label, name) for key, label in workflows.items()}),
        destinations=(to,) if to else (),
        settle=old_adapter.settle_of(quiet),
    )


def _processor(fields: Fields) -> None:
    """Written as the long name of a C# type: `Nvidia.Clara…Processors.AeTitleJobProcessor, Nvidia.Clara…`."""
    text = fields.text("processor")
    if text and text.partition(",")[0].strip().rpartition(".")[2].lower() != PROCESSOR:
        message = f"'processor' of {fields.what} is {short(text)}, a program in C# that does not run here"
        hint = "delete it, and make what it did the first stage of the workflow (see 'clara init')"
        fields.findings.error("processor", message, fields.at("processor"), hint)


def _settings(fields: Fields) -> tuple[dict[str, str], float]:
    """The workflows that run, each with its label, and the seconds of quiet before they do.

    Every other key is an error, as in 0.8.
    """
    inner = fields.fields("processor-settings")
    spelling = set(map(peers.plain, _SETTINGS))
    known: list[tuple[Text, Node]] = []
    workflows: dict[str, str] = {}
    for key in inner.node:
        value = inner.node[key]
        if key.lower().startswith(PIPELINE):
            workflows |= _pipeline(inner, key, value)
        elif peers.plain(key) in spelling:
            known.append((key, value))
        else:
            hint = inner.findings.did_you_mean(key, _SETTINGS, f"known: {', '.join(_SETTINGS)}, {PIPELINE}NAME")
            inner.findings.error("unknown-setting", f"{inner.what} has the unknown key {short(key)}", key, hint)
    if not workflows:
        message = f"{inner.what} names no pipeline: nothing can run"
        inner.findings.error("no-workflow", message, fields.at("processor-settings"), f"{PIPELINE}NAME: ID")
    settings = peers.section(
        Map(known, inner.node.source, inner.node.line, inner.node.column), _SETTINGS, inner.findings, inner.what
    )
    old_adapter.by_study(settings, "group-by")
    _not_scheduled(settings)
    return workflows, _quiet(settings)


def _pipeline(inner: Fields, key: Text, value: Node) -> dict[str, str]:
    if isinstance(value, Text) and not empty(value):
        return {value: str(key[len(PIPELINE) :])}
    inner.findings.error("value", f"{short(key)} of {inner.what} must be the id of a pipeline", value, "quote the id")
    return {}


def _not_scheduled(settings: Fields) -> None:
    priority = settings.text("priority")
    if priority and priority.lower() not in PRIORITIES:
        settings.wrong("priority", f"must be one of {', '.join(PRIORITIES)}, not {short(priority)}", "priority: normal")
    elif priority.lower() not in ("", "normal"):
        message = "'priority' is not followed: jobs run in the order in which their studies came"
        settings.findings.notice("priority", message, settings.at("priority"), "delete it")
    if "job-retry-delay" in settings:
        settings.whole("job-retry-delay", 5000, 0)
        message = "'job-retry-delay' is not followed: what could not be submitted is tried again with growing pauses"
        settings.findings.notice("retry", message, settings.at("job-retry-delay"), "delete it")


def _quiet(settings: Fields) -> float:
    quiet = peers.seconds_of(settings, "timeout", QUIET, 0, 86400)
    if quiet < QUIET:
        message = f"'timeout' of {settings.what} is less than {QUIET:g} s; {QUIET:g} s are waited, as the original did"
        settings.findings.notice("timeout", message, settings.at("timeout"), f"write {QUIET:g}")
    return max(quiet, QUIET)
