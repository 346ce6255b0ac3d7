"""The verbs of a Kubernetes API in one namespace. Objects are the JSON that the API speaks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from clara_argo.kubernetes.access import Access
from clara_argo.kubernetes.errors import Expired, Invalid, NoSuchKind, NotHere
from clara_argo.kubernetes.exchange import APPLY, JSON, MERGE, Exchange, Request
from clara_argo.kubernetes.kinds import KINDS, PODS, Kind
from clara_argo.kubernetes.watch import Watch
from clara_argo.source import short

MANAGER = "clara-argo"  # owner of the fields that we apply
PAGE = 100  # objects of a list per request: so many of half a megabyte fit into the largest answer that is read
RESTARTS = 3  # of a list whose pages expired while they were read
MAX_LINE = 1 << 20  # bytes; longer lines of a log come in pieces
LOG_SILENCE = 300.0  # seconds without a line, then it is asked whether the pod still runs

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    items: tuple[Object, ...]
    version: str  # resourceVersion of the list: where a watch begins


class Api:
    """Any thread may use it; `close` it, or use it in a `with`. Times in seconds.

    Every verb raises Away (no answer, 429, 5xx), Refused (401, 403, TLS), NotHere, NoSuchKind, Invalid; TryAgain for a
    quota that is used up.
    """

    def __init__(self, access: Access, namespace: str = "", *, timeout: float = 15.0) -> None:
        self.access, self.namespace, self.timeout = access, namespace or access.namespace, timeout
        self._exchange = Exchange(access, timeout)
        self._found: dict[tuple[str, str], Kind] = dict(KINDS)

    def within(self, namespace: str) -> Api:
        """The same cluster, another namespace; "" = all of them, for `list` and `watch`. Connections are shared."""
        other = Api.__new__(Api)
        other.__dict__.update(self.__dict__, namespace=namespace)
        return other

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop idle connections. It may be used afterwards."""
        self._exchange.close()

    def now(self) -> datetime:
        """By the clock of the server: what it and its controllers write is compared with that, not with ours."""
        return datetime.now(UTC) + timedelta(seconds=self._exchange.ahead)

    def get(self, kind: Kind, name: str, subresource: str = "") -> Object:
        return self._send("GET", kind.path(self.namespace, _named(name), subresource))

    def list(self, kind: Kind, labels: str = "", fields: str = "") -> Listing:
        """All that the selectors match, read in pages."""
        for _ in range(RESTARTS):
            try:
                return self._pages(kind, labels, fields, PAGE)
            except Expired:
                continue
        return self._pages(kind, labels, fields, 0)

    def create(self, kind: Kind, object: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Raises Exists, and Invalid for fields that the kind does not have. Away with `maybe_done`: look first."""
        whole = {"apiVersion": kind.version, **({"kind": kind.name} if kind.name else {}), **object}
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict", **_dry(dry_run)}
        return self._send("POST", kind.path(self._namespace(whole)), query, whole, JSON)

    def patch(self, kind: Kind, name: str, change: Mapping[str, Any], subresource: str = "") -> Object:
        """Merge patch. With metadata.resourceVersion in it: raises Conflict when the object has changed since."""
        path = kind.path(self.namespace, _named(name), subresource)
        versioned = "resourceVersion" in change.get("metadata", {})
        return self._send("PATCH", path, {"fieldManager": MANAGER}, change, MERGE, again=versioned)

    def apply(self, object: Mapping[str, Any], *, dry_run: bool = False, force: bool = True) -> Object:
        """Server-side apply: create it, or make the fields that we say ours. Raises Conflict without `force`."""
        kind = self.kind(object)
        path = kind.path(self._namespace(object), _named(object.get("metadata", {}).get("name")))
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict", "force": str(force).lower(), **_dry(dry_run)}
        return self._send("PATCH", path, query, object, APPLY, again=True)

    def delete(self, kind: Kind, name: str, grace: int | None = None, *, uid: str = "") -> None:
        """What depends on it goes too, later. Absent: done. With `uid`: raises Conflict when it is another by now."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self._send("DELETE", kind.path(self.namespace, _named(name)), {}, options, JSON, again=True)
        except NoSuchKind:
            raise
        except NotHere:
            return

    def watch(self, kind: Kind, labels: str = "", fields: str = "", *, tick: float = 0.0) -> Watch:
        """Everything there is, then SYNCED, then every change; see `watch.Watch`. Ends by its `close`."""
        return Watch(lambda: self._first(kind, labels, fields), lambda version, seconds: self._exchange.stream(
            self._request("GET", kind.path(self.namespace), _watching(labels, fields, version, seconds)),
            seconds + self.timeout,
        ), tick)  # fmt: skip

    def log(self, pod: str, container: str = "main", follow: bool = False) -> Iterator[str]:
        """Lines of a container's log, to its end when `follow`. Raises NotHere, and NotStarted while it waits."""
        path = PODS.path(self.namespace, _named(pod), "log")
        query = {"container": container, **({"follow": "true"} if follow else {})}
        silence = self.timeout + (LOG_SILENCE if follow else 0)
        stream = self._exchange.stream(self._request("GET", path, query), silence)
        try:
            while True:
                while follow and not stream.wait(LOG_SILENCE):
                    self.get(PODS, pod)  # a server or pod that went away without a word ends it here
                line = stream.line(MAX_LINE)
                if line is None:
                    return
                yield line.removesuffix(b"\r").decode("utf-8", "replace")
        finally:
            stream.close()

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> Object:
        """Anything else, by its path (quoted by the caller): /version, reviews of rights, discovery."""
        return self._send(method, path, query or {}, body, JSON if body is not None else "", again=method == "GET")

    def kind(self, object: Mapping[str, Any]) -> Kind:
        """The kind of an object; one we do not know is looked up in the cluster. Raises NoSuchKind."""
        version, name = str(object.get("apiVersion") or ""), str(object.get("kind") or "")
        if not version or not name:
            raise Invalid(f"an object to apply has no apiVersion or no kind: {short(str(object)[:200])}; write both")
        if (version, name) not in self._found:
            path = Kind(version, "").path("").rstrip("/")
            for entry in self.ask("GET", path).get("resources", ()):
                if "/" not in entry["name"]:
                    found = Kind(version, entry["name"], bool(entry["namespaced"]), entry["kind"])
                    self._found.setdefault((version, found.name), found)
        try:
            return self._found[version, name]
        except KeyError:
            raise NoSuchKind(
                f"{self.access.server}: the cluster does not know {name} of {version}; install what defines it"
            ) from None

    def _pages(self, kind: Kind, labels: str, fields: str, limit: int) -> Listing:
        query = _selected(labels, fields) | ({"limit": str(limit)} if limit else {})
        items: list[Object] = []
        while True:
            page = self._send("GET", kind.path(self.namespace), query)
            items += page.get("items") or ()
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return Listing(tuple(items), metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    def _first(self, kind: Kind, labels: str, fields: str) -> tuple[tuple[Object, ...], str]:
        listing = self.list(kind, labels, fields)
        return listing.items, listing.version

    def _namespace(self, object: Mapping[str, Any]) -> str:
        return str(object.get("metadata", {}).get("namespace") or self.namespace)

    def _request(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None,
        content: str = "", *, again: bool = False,
    ) -> Request:  # fmt: skip
        data = None if body is None else _text(body)
        again = again or method == "GET"
        return Request(method=method, path=path, query=tuple(query.items()), body=data, content=content, again=again)

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None,
        content: str = "", *, again: bool = False,
    ) -> Object:  # fmt: skip
        return self._exchange.send(self._request(method, path, query or {}, body, content, again=again))


def _text(body: Mapping[str, Any]) -> bytes:
    """JSON, and YAML, as which the server reads what is applied: there a pair of surrogates is no character."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return re.sub("[\x7f-\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _named(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise Invalid("the object has no name; write metadata.name")
    return name


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _selected(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


def _watching(labels: str, fields: str, version: str, seconds: float) -> dict[str, str]:
    more = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": f"{seconds:.0f}"}
    return _selected(labels, fields) | more
