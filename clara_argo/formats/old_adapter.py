"""What the configurations of Clara's own DICOM adapter have in common: YAML from 2019 on, JSON until 2021.

What is understood and not followed is said; what would change results when it is ignored is an error.
"""

from __future__ import annotations

import re

from clara_argo.formats import peers
from clara_argo.formats.fields import Fields, short
from clara_argo.model.route import Destination, Settle, Source
from clara_argo.source import Findings, Node, Text

OURS = ("host", "spool", "runner")  # may stand in an old file, because it has no words for them
STUDY = ("0020000d", "studyinstanceuid")  # how images are put together: by study, as here
_TAG = re.compile(r"[(), ]")
SPOOL = "spool"


def host_of(top: Fields) -> str:
    if top.get("host") is None:
        message = "the adapter listens on 127.0.0.1 only, because the file does not say where"
        top.findings.warning("host", message, top.node, "add 'host: 0.0.0.0' at the top for every address")
    return peers.host_of(top, "host", "127.0.0.1")


def port_of(scp: Fields) -> int:
    port = peers.port_of(scp, "port", 104)
    if port < 1024:
        message = f"port {port} needs a privilege that the adapter should not have"
        scp.findings.warning("port", message, scp.at("port"), "use 11112, the other port registered for DICOM")
    return port


def settle_of(quiet: float) -> Settle:
    """After `quiet` seconds; the longest wait is never shorter than that."""
    return Settle(quiet=quiet, max=max(quiet, Settle().max))


def sources_of(scp: Fields, known: tuple[str, ...]) -> tuple[Source, ...]:
    """Who may send. Two machines may call themselves by one title; those without names get one each."""
    names: dict[str, int] = {}

    def make(fields: Fields, text: Text | None) -> Source | None:
        source = peers.source_of(fields, text, "host-ip")
        if source is None or fields.get("name") is not None:
            return source
        return Source(name=unique(source.name, names), ae_title=source.ae_title, host=source.host)

    return peers.distinct(peers.items(scp, "sources", known, "source"), make, "sources", {})


def destinations_of(scu: Fields, known: tuple[str, ...]) -> tuple[tuple[Destination, ...], dict[str, Node]]:
    """Where results may go; also every name that was written, with its place."""
    named: dict[str, Node] = {}

    def make(fields: Fields, text: Text | None) -> Destination | None:
        return peers.destination_of(fields, text, "host-ip")

    return peers.distinct(peers.items(scu, "destinations", known, "destination"), make, "destinations", named), named


def unique(name: str, names: dict[str, int]) -> str:
    """`name`, or `name-2` and so on when it is taken."""
    names[name] = names.get(name, 0) + 1
    return name if names[name] == 1 else unique(f"{name}-{names[name]}", names)


def not_logged(fields: Fields, key: str) -> None:
    if fields.flag(key):
        message = f"{key!r} is not followed: patient data are never logged"
        fields.findings.notice("log", message, fields.at(key), "delete it")


def own_limits(fields: Fields, key: str) -> None:
    if fields.get(key) is not None:
        fields.whole(key, 25, 1, 1000)
        fields.findings.notice("limits", f"{key!r} is not followed: the adapter has its own limits", fields.at(key))


def always_verified(fields: Fields) -> None:
    if fields.get("verification") is not None:
        message = "'verification' is not followed: every source may send C-ECHO"
        fields.findings.notice("verification", message, fields.at("verification"))


def no_cluster(fields: Fields, key: str) -> None:
    if fields.flag(key):
        message = f"{key!r}: nothing is read from a cluster"
        hint = "write the entries into this file; 'clara migrate' takes them from what kubectl prints"
        fields.findings.notice("crd", message, fields.at(key), hint)


def senders(scp: Fields, sources: tuple[Source, ...]) -> None:
    """Say when nobody may send, or more than those that are named."""
    if not scp.flag("reject-unknown-sources", True):
        message = "'reject-unknown-sources: false' is not followed: only named sources may send"
        scp.findings.warning("unknown-sources", message, scp.at("reject-unknown-sources"), "name them in 'sources'")
    if not sources and not scp.nodes("sources"):
        hint = "sources: [{ae-title: DCM4CHEE, host-ip: 10.0.0.5}]"
        scp.findings.error("nobody", "there are no sources: nobody may send", scp.at("sources"), hint)


def title_notes(fields: Fields) -> None:
    """What an AE title said and is not followed."""
    if fields.flag("overwrite-same-instance"):
        message = "'overwrite-same-instance' is not followed: the first instance of a UID is kept"
        fields.findings.warning("overwrite", message, fields.at("overwrite-same-instance"), "delete it")
    if fields.nodes("ignored-sop-classes"):
        message = "'ignored-sop-classes' cannot be followed: every storage SOP class is taken and reaches the stages"
        hint = "delete it when the stages pass over such objects; else let the sender leave them out"
        fields.findings.error("sop-classes", message, fields.at("ignored-sop-classes"), hint)


def by_study(fields: Fields, key: str) -> None:
    """How images are put together; another way than by study gives other results."""
    text = fields.text(key)
    if text and _TAG.sub("", text).lower() not in STUDY:
        message = f"{key!r} of {fields.what} is {short(text)}; images are put together by study (0020,000D) only"
        fields.findings.error("group-by", message, fields.at(key), "delete it; a stage can tell the series apart")


def only(findings: Findings, name: str, destinations: tuple[Destination, ...], at: Node, how: str) -> str:
    """Where an entry that names no destination sends its results: to the only one there is. `how` to name another."""
    if findings.failed:
        return ""
    if len(destinations) == 1:
        message = f"{name!r} names no destination; results go to {destinations[0].name!r}, the only one"
        findings.notice("destination", message, at, how)
        return destinations[0].name
    message = f"{name!r} names no destination: results stay in the spool"
    findings.warning("no-destination", message, at, how)
    return ""
