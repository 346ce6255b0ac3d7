"""kubeconfig files -> the cluster, user and namespace of one context, merged and read as kubectl does.

What kubectl no longer does (auth-provider) and what we do not do (proxies, impersonation) is refused by name: a
setting that is passed over in silence would connect as somebody else, or to somewhere else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clara_argo.errors import NotFound, Refused
from clara_argo.kubernetes.credentials import Credentials, Fixed, TokenFile, basic, bearer
from clara_argo.kubernetes.plugin import VERSIONS, Command, Plugin
from clara_argo.kubernetes.tls import Trust, text_of
from clara_argo.source import Findings, List, Map, Node, Text, did_you_mean, documents, short
from clara_argo.source import read as read_text

SECTIONS = ("cluster", "user", "context")
TRUE, FALSE = ("true", "yes", "on"), ("", "false", "no", "off")
REFUSED = {
    "proxy-url": "a proxy is not used",
    "auth-provider": "kubectl has given up auth-provider too; use an exec plug-in",
    "as": "impersonation is not used",
    "as-uid": "impersonation is not used",
    "as-groups": "impersonation is not used",
    "as-user-extra": "impersonation is not used",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One cluster, user or context: its fields, and where they stand."""

    fields: Map
    origin: str = ""
    folder: Path = Path()

    def get(self, key: str) -> Node | None:
        """None also for what kubectl writes as null."""
        value = self.fields.get(key)
        return None if value is None or (isinstance(value, Text) and value in ("", "null", "~")) else value

    def text(self, key: str) -> str:
        value = self.get(key)
        if value is not None and not isinstance(value, Text):
            raise Refused(f"{self.origin}: {key!r} must be a text; correct the kubeconfig")
        return str(value or "")

    def flag(self, key: str) -> bool:
        word = self.text(key).lower()
        if word not in TRUE + FALSE:
            raise Refused(f"{self.origin}: {key!r} is {short(word)}; write true or false")
        return word in TRUE

    def pem(self, key: str) -> str:
        """The content of `key`-data, else of the file that `key` names; relative to the kubeconfig."""
        data = self.text(f"{key}-data")
        if data:
            try:
                return base64.b64decode("".join(data.split()), validate=True).decode("utf-8")
            except (binascii.Error, ValueError):
                raise Refused(f"{self.origin}: '{key}-data' is not base64 of a PEM text; fetch it anew") from None
        path = self.text(key)
        return text_of(self.folder / path, self.origin) if path else ""

    def refuse(self) -> None:
        for key, why in REFUSED.items():
            if self.get(key) is not None:
                raise Refused(f"{self.origin}: {key!r} is not supported ({why}); use another context")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One context, resolved."""

    cluster: Entry
    user: Entry
    namespace: str
    origin: str

    @property
    def server(self) -> str:
        return self.cluster.text("server")

    @property
    def tls_name(self) -> str:
        return self.cluster.text("tls-server-name")

    def credentials(self, secure: bool) -> Credentials:
        """Raises Refused. Without TLS nobody learns who we are, as with kubectl."""
        self.cluster.refuse()
        self.user.refuse()
        if not secure:
            return Fixed(None)
        trust = self._trust()
        user = self.user
        if path := user.text("tokenFile"):
            return TokenFile(user.folder / path, trust.context(), user.origin)
        if token := user.text("token"):
            return Fixed(trust.context(), bearer(token, user.origin))
        if (plugin := user.get("exec")) is not None:
            return Plugin(self._command(plugin, trust), trust)
        if name := user.text("username"):
            return Fixed(trust.context(), basic(name, user.text("password"), user.origin))
        return Fixed(trust.context())

    def _trust(self) -> Trust:
        authority, insecure = self.cluster.pem("certificate-authority"), self.cluster.flag("insecure-skip-tls-verify")
        if authority and insecure:
            raise Refused(
                f"{self.cluster.origin}: it names an authority and says to verify nothing; keep one of the two"
            )
        certificate, key = self.user.pem("client-certificate"), self.user.pem("client-key")
        if bool(certificate) != bool(key):
            raise Refused(f"{self.user.origin}: a client certificate needs its key, and the key its certificate")
        return Trust(origin=self.origin, authority=authority, verify=not insecure, certificate=certificate, key=key)

    def _command(self, node: Node, trust: Trust) -> Command:
        where = f"{self.user.origin}: 'exec'"
        if not isinstance(node, Map):
            raise Refused(f"{where} must be a mapping; correct the kubeconfig")
        plugin = Entry(node, where, self.user.folder)
        version, command = plugin.text("apiVersion"), plugin.text("command")
        if version not in VERSIONS:
            raise Refused(f"{where}: the apiVersion {short(version)} is not spoken; write {VERSIONS[0]}")
        if not command:
            raise Refused(f"{where}: it names no command; write one")
        if plugin.text("interactiveMode") == "Always":
            raise Refused(
                f"{where}: the plug-in wants to ask at a terminal; log in with it first, or use another context"
            )
        return Command(
            version=version,
            command=command,
            arguments=tuple(_texts(plugin.get("args"), where)),
            environment=tuple(
                (entry.text("name"), entry.text("value")) for entry in _entries(plugin.get("env"), where)
            ),
            folder=plugin.folder,
            hint=plugin.text("installHint"),
            cluster=self._told(trust) if plugin.flag("provideClusterInfo") else None,
        )

    def _told(self, trust: Trust) -> dict[str, object]:
        told: dict[str, object] = {"server": self.server}
        if trust.authority:
            told["certificate-authority-data"] = base64.b64encode(trust.authority.encode()).decode("ascii")
        if not trust.verify:
            told["insecure-skip-tls-verify"] = True
        if self.tls_name:
            told["tls-server-name"] = self.tls_name
        return told


@dataclass(frozen=True, slots=True)
class Config:
    """The entries of all files by section and name. Of two with one name the first counts."""

    entries: Mapping[str, Mapping[str, Entry]]
    current: str
    paths: str

    def choose(self, context: str = "") -> Choice:
        """Raises NotFound for a context, cluster or user that is not there; Refused for a field of the wrong type."""
        context = context or self.current
        if not context:
            raise NotFound(f"{self.paths}: it says no current-context; name a context")
        chosen = self._get("context", context, self.paths)
        user = chosen.text("user")
        return Choice(
            cluster=self._get("cluster", chosen.text("cluster"), chosen.origin),
            user=self._get("user", user, chosen.origin) if user else Entry(Map()),
            namespace=chosen.text("namespace") or "default",
            origin=chosen.origin,
        )

    def _get(self, section: str, name: str, where: str) -> Entry:
        known = self.entries[section]
        if name not in known:
            hint = did_you_mean(name, list(known)[:1000], "add it, or name another context")
            raise NotFound(f"{where}: there is no {section} {short(name)}; {hint}")
        return known[name]


def read(paths: Iterable[Path], *, required: bool) -> Config:
    """Files that are not there are passed over unless `required`. Raises NotFound, DefinitionError, Refused."""
    entries: dict[str, dict[str, Entry]] = {section: {} for section in SECTIONS}
    current, seen = "", []
    for path in paths:
        try:
            text = read_text(path)
        except NotFound:
            if required:
                raise
            continue
        seen.append(str(path))
        for top in documents(text, str(path))[:1]:  # an empty file is an empty kubeconfig
            current = current or _take(top, path, entries)
    return Config(entries, current, ", ".join(seen))


def _take(top: Node, path: Path, entries: dict[str, dict[str, Entry]]) -> str:
    """The entries of one file into `entries`; its current context is returned."""
    findings = Findings(str(path))
    if not isinstance(top, Map):
        findings.error("kubeconfig", "this is no kubeconfig", top, "name the file that kubectl uses")
        findings.check()
        return ""
    for section in SECTIONS:
        for named in _entries(Entry(top).get(f"{section}s"), str(path)):
            name, fields = named.text("name"), named.get(section)
            if fields is None:
                fields = Map()
            if not isinstance(fields, Map):
                findings.error("kubeconfig", f"'{section}' of {short(name)} must be a mapping", fields, "correct it")
                continue
            entry = Entry(fields, f"{path}: {section} {short(name)}", path.absolute().parent)
            entries[section].setdefault(name, entry)
    findings.check()
    return Entry(top, str(path)).text("current-context")


def _entries(node: Node | None, where: str) -> tuple[Entry, ...]:
    if node is None:
        return ()
    if not isinstance(node, List) or not all(isinstance(entry, Map) for entry in node):
        raise Refused(f"{where}: a list of mappings is expected in line {node.line}; correct the kubeconfig")
    return tuple(Entry(entry, where) for entry in node if isinstance(entry, Map))


def _texts(node: Node | None, where: str) -> tuple[str, ...]:
    if node is None:
        return ()
    if not isinstance(node, List) or not all(isinstance(entry, Text) for entry in node):
        raise Refused(f"{where}: a list of texts is expected in line {node.line}; correct the kubeconfig")
    return tuple(str(entry) for entry in node)
