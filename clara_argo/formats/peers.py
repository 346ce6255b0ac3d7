"""What adapter configurations of every dialect share: keys in any spelling, AE titles, hosts, sources, destinations.

Reports what is wrong and returns what is right, so that one reading finds everything.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from clara_argo.formats.fields import Fields, empty, short
from clara_argo.model.route import Configuration, Destination, Source
from clara_argo.model.target import LOCAL
from clara_argo.source import Findings, Map, Node, Text

TARGET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")  # between the dots of a host name
_ADDRESS = re.compile(r"[0-9.]*|.*:.*")  # meant as an address: a name has a letter and no colon
ANY = ("0.0.0.0", "::")  # every address of a machine
_SECONDS = re.compile(r"[0-9]{1,7}(\.[0-9]{1,3})?")
Named = TypeVar("Named", Source, Destination)


def plain(key: str) -> str:
    """Keys compare without dashes, underscores and case: `ae-title` = `aeTitle` = `ae_title`."""
    return key.replace("-", "").replace("_", "").lower()


def section(node: Node, known: Collection[str], findings: Findings, what: str) -> Fields:
    """The fields of a mapping under the spellings in `known`; unknown keys and keys that stand twice are reported."""
    if not isinstance(node, Map):
        return Fields(node, findings, what)
    spelling = {plain(key): key for key in known}
    seen: dict[str, Text] = {}
    items: list[tuple[Text, Node]] = []
    for key in node:
        name = spelling.get(plain(key), str(key))
        if name in seen:
            message = f"the key {short(key)} stands here again, as {short(seen[name])} in line {seen[name].line}"
            findings.error("duplicate-key", message, key, "keep one of the two")
            continue
        seen[name] = key
        items.append((Text(name, key.source, key.line, key.column), node[key]))
    fields = Fields(Map(items, node.source, node.line, node.column), findings, what)
    fields.unknown(known)
    return fields


def items(fields: Fields, key: str, known: Collection[str], what: str) -> Iterable[tuple[Fields, Text | None]]:
    """The entries of a list: a mapping each, or a plain text (returned beside empty fields)."""
    for number, node in enumerate(fields.nodes(key), 1):
        if isinstance(node, Text):
            if empty(node):
                fields.findings.error("empty", f"{what} {number} is empty", node, "name it, or delete the entry")
                continue
            yield Fields(Map((), node.source, node.line, node.column), fields.findings, f"{what} {short(node)}"), node
        else:
            yield section(node, known, fields.findings, f"{what} {number}"), None


def ae_title(text: str, fields: Fields, at: Node) -> str:
    """A title by PS3.5 6.2 (AE): 1 to 16 characters of ASCII, no backslash, not only blanks; outer blanks do not count.

    The empty text when it is none.
    """
    problem = ""
    title = text.strip(" ")
    if not title:
        problem = "is empty"
    elif len(title) > 16:
        problem = f"has {len(title)} characters; 16 are allowed"
    elif "\\" in title:
        problem = "contains a backslash"
    elif not (title.isascii() and title.isprintable()):
        problem = "contains something else than letters, digits and signs of ASCII"
    if not problem:
        return title
    fields.findings.error("ae-title", f"the AE title {short(text)} of {fields.what} {problem}", at, "use another title")
    return ""


def title_of(fields: Fields, key: str, default: str = "") -> str:
    """A required AE title, or the default where it is not given."""
    if default and fields.get(key) is None:
        return default
    text = fields.required(key, "the name by which DICOM nodes know each other, for example CT_AI")
    return ae_title(text, fields, fields.at(key)) if text else ""


def host_of(fields: Fields, key: str, default: str = "") -> str:
    """A host name or an address, without a port."""
    text = fields.text(key, default)
    if not text or (_is_address(text) if _ADDRESS.fullmatch(text) else _is_name(text)):
        return str(text)
    fields.wrong(
        key, f"is not a host name or address: {short(text)}", "for example 10.0.0.5; the port is a key of its own"
    )
    return ""


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text)) and text.isprintable()
    except ValueError:
        return False


def _is_name(text: str) -> bool:
    return len(text) <= 253 and all(map(_LABEL.fullmatch, text.split(".")))


def port_of(fields: Fields, key: str, default: int) -> int:
    return fields.whole(key, default, 1, 65535)


def spool_of(fields: Fields, default: str = "") -> str:
    """The path of a folder; required where there is no default."""
    hint = "the folder for received studies and the adapter's state"
    text = fields.text("spool", default) if default else fields.required("spool", hint)
    if not text.isprintable():
        fields.wrong("spool", f"has a character that cannot be printed: {short(text)}", "name a folder")
    return str(text)


def runner_of(fields: Fields) -> str:
    """Where jobs run: this machine or a target, by its name, with its place. Which targets there are, settings say."""
    text = fields.text("runner", LOCAL)
    if not TARGET_NAME.fullmatch(text):
        hint = f"write runner: {LOCAL}, or the name of a cluster"
        fields.wrong("runner", f"cannot be the name of a target: {short(text)}", hint)
        return LOCAL
    return text


def seconds_of(fields: Fields, key: str, default: float, least: float, most: float) -> float:
    """A number of seconds, at most three digits behind the point."""
    word = fields.text(key)
    if not word:
        return default
    value = float(word) if _SECONDS.fullmatch(word) else -1.0
    if least <= value <= most:
        return value
    fields.wrong(key, f"must be seconds from {least:g} to {most:g}, not {short(word)}", "for example 10")
    return default


def source_of(fields: Fields, text: Text | None, host_key: str) -> Source | None:
    """Who may send. A plain text is an AE title."""
    if text is not None:
        title = ae_title(text, fields, text)
        _any_address(title, fields, text)
        return Source(name=title, ae_title=title) if title else None
    title = title_of(fields, "ae-title")
    name = fields.text("name", title)
    host = host_of(fields, host_key)
    if not host and fields.get(host_key) is None:
        _any_address(title, fields, fields.node)
    return Source(name=str(name), ae_title=title, host=host) if title and name else None


def _any_address(title: str, fields: Fields, at: Node) -> None:
    if title:
        message = f"{fields.what} names no address: every machine that calls itself {title!r} may send"
        fields.findings.warning("any-address", message, at, "add its address")


def destination_of(fields: Fields, text: Text | None, host_key: str) -> Destination | None:
    """Where results go."""
    if text is not None:
        hint = f"write {{name: {text}, ae-title: {text}, {host_key}: …, port: …}}"
        fields.findings.error("kind", f"{fields.what} needs a host and a port", text, hint)
        return None
    title = title_of(fields, "ae-title")
    name = fields.text("name", title)
    fields.need(host_key, "the address of the node that takes results")
    fields.need("port", "the port of the node that takes results")
    host, port = host_of(fields, host_key), port_of(fields, "port", 0)
    if not (title and name and host and port):
        return None
    return Destination(name=str(name), ae_title=title, host=host, port=port)


def distinct(
    found: Iterable[tuple[Fields, Text | None]],
    make: Callable[[Fields, Text | None], Named | None],
    what: str,
    names: dict[str, Node],
) -> tuple[Named, ...]:
    """Those entries that are right, each under a name of its own. `names` collects every name that was written,
    with its place, so that one mistake in an entry is not reported again wherever the entry is used."""
    kept: dict[str, Named] = {}
    for fields, text in found:
        written = text if text is not None else fields.node.get("name", fields.node.get("ae-title", ""))
        names.setdefault(str(written), text if text is not None else fields.node)
        value = make(fields, text)
        if value is None:
            continue
        if value.name in kept:
            at = text if text is not None else fields.node.get("name", fields.node)
            fields.findings.error("duplicate-name", f"there are two {what} named {short(value.name)}", at, "rename one")
            continue
        kept[value.name] = value
    return tuple(kept.values())


def resolve(
    names: Sequence[Text], known: Collection[str], findings: Findings, what: str, owner: str
) -> tuple[str, ...]:
    """The names that are known; an unknown one is an error that names the nearest."""
    kept: list[str] = []
    for name in names:
        if name not in known:
            listed = f"known: {', '.join(sorted(known)[:20])}" if known else f"no {what} is defined; add it"
            hint = findings.did_you_mean(name, known, listed)
            findings.error(f"unknown-{what}", f"{owner} names the unknown {what} {short(name)}", name, hint)
        elif str(name) not in kept:
            kept.append(str(name))
    return tuple(kept)


def compare(configuration: Configuration, places: Mapping[str, Node], findings: Findings) -> None:
    """Warn of what is right entry by entry and hardly meant as a whole. `places`: of the destinations, by name."""
    first: dict[tuple[str, str, int], str] = {}
    for to in configuration.destinations:
        at, name = places.get(to.name), short(to.name)
        if to.port == configuration.port and _is_here(to.host, configuration.host):
            message = (
                f"destination {name} is this adapter itself, {to.host}:{to.port}: results come back or are refused"
            )
            findings.warning("loop", message, at, "name the node that takes results")
        other = first.setdefault((to.ae_title, to.host, to.port), to.name)
        if other != to.name:
            message = f"destinations {short(other)} and {name} are the same node: a route with both sends twice"
            findings.warning("same-destination", message, at, "delete one")
    if not configuration.routes and not findings.failed:
        findings.warning("no-route", "there are no routes: nobody may send, nothing runs", None, "add one to 'routes'")


def _is_here(host: str, listening: str) -> bool:
    """Whether who listens on `listening` is reached at `host`, as far as the two texts tell."""
    return host == listening or (_loops(host) and (_loops(listening) or listening in ANY))


def _loops(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
