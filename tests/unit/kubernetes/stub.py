"""A Kubernetes API server in this process, for tests of whatever speaks to one.

    with Stub() as stub, stub.api() as api:
        stub.on_change(controller)              # controller(type, kind, object), after every change, in its thread
        api.create(WORKFLOWS, {...})
        stub.change(WORKFLOWS, "name", {"status": {"phase": "Running"}})   # what a controller would do
        stub.lose_reply_next()                  # faults: see the methods

It keeps objects with resourceVersion and uid; it knows no schema, no owners, no rights but `token` and `denied`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote

from unit.kubernetes.serving import Place, Request, Server, shut
from unit.kubernetes.state import NAMESPACE as NAMESPACE
from unit.kubernetes.state import Object, OnChange, Refusal, State

from clara_argo.kubernetes.access import Access, Address
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.credentials import Credentials, Fixed
from clara_argo.kubernetes.kinds import KINDS, Kind


class Stub:
    """Serves from `with` to its end, always on one port."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.state = State()
        self.kinds = set(KINDS.values())  # remove one: its CRD is not installed
        self.requests: list[Request] = []
        self.token = ""  # asked for in every request when not empty
        self.denied: set[tuple[str, str]] = set()  # (verb, plural) that reviews of rights and requests refuse
        self.rights: dict[str, set[tuple[str, str]]] = {}  # user: what a review of others says that it may
        self.judge: Callable[[Object], str] = lambda object: ""  # why a new object is refused (400); "" = it is not
        self.answers: dict[tuple[str, str], tuple[int, bytes | Object]] = {}  # (method, path): status and body
        self.logs: dict[tuple[str, str], list[str]] = {}  # (pod, container): lines
        self.ended_logs: set[tuple[str, str]] = set()
        self.faults: dict[str, int] = defaultdict(int)
        self.failure: tuple[int, str] = (500, "")
        self.delay = 0.0
        self.ahead = 0.0  # seconds; its clock is before ours
        self.gone_by_status = False
        self.bookmarks = 0
        self.accepted = 0  # connections
        self.port = 0
        self._tls = tls
        self._stopping = threading.Event()
        self._streams: set[socket.socket] = set()
        self._server: Server | None = None

    def __enter__(self) -> Stub:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def access(self, credentials: Credentials | None = None, namespace: str = NAMESPACE) -> Access:
        server = Address(self._tls is not None, "127.0.0.1", self.port, "")
        return Access(server=server, credentials=credentials or Fixed(None), namespace=namespace)

    def api(self, namespace: str = NAMESPACE, timeout: float = 5.0) -> Api:
        return Api(self.access(), namespace, timeout=timeout)

    # What a controller or a person does beside the client

    def on_change(self, callback: OnChange) -> None:
        """Called with type, kind and a copy of the object, in the thread of the change; it may change more."""
        self.state.callbacks.append(callback)

    def put(self, kind: Kind, object: Object, namespace: str = NAMESPACE) -> Object:
        return self.state.create(kind, namespace, object)

    def get(self, kind: Kind, name: str, namespace: str = NAMESPACE) -> Object:
        return self.state.get((kind, namespace if kind.namespaced else "", name))

    def list(self, kind: Kind, labels: str = "", namespace: str = NAMESPACE) -> list[Object]:
        return self.state.all(kind, namespace if kind.namespaced else "", labels, "")

    def change(self, kind: Kind, name: str, patch: Object, namespace: str = NAMESPACE) -> Object:
        return self.state.patch((kind, namespace if kind.namespaced else "", name), patch)

    def remove(self, kind: Kind, name: str, namespace: str = NAMESPACE) -> Object:
        return self.state.delete((kind, namespace if kind.namespaced else "", name))

    def write_log(self, pod: str, line: str, container: str = "main") -> None:
        with self.state.changed:
            self.logs.setdefault((pod, container), []).append(line)
            self.state.changed.notify_all()

    def end_log(self, pod: str, container: str = "main") -> None:
        """Who follows it comes to its end."""
        with self.state.changed:
            self.ended_logs.add((pod, container))
            self.state.changed.notify_all()

    # Faults

    def fail_next(self, times: int = 1, status: int = 500, retry_after: str = "") -> None:
        """The next requests do nothing and are answered so."""
        self.failure, self.faults["fail"] = (status, retry_after), times

    def lose_reply_next(self, times: int = 1) -> None:
        """The next requests that change something do it, and the connection closes without an answer."""
        self.faults["reply"] = times

    def lose_request_next(self, times: int = 1) -> None:
        """The next requests are read, and the connection closes; nothing is done."""
        self.faults["request"] = times

    def slow(self, seconds: float) -> None:
        """From now on every answer comes so much later; 0 = at once."""
        self.delay = seconds

    def gone(self, *, by_status: bool = False) -> None:
        """Every version known so far is too old: watches get 410, as an event or (the next ones) as a status."""
        with self.state.changed:
            self.gone_by_status = by_status
            self.state.floor = self.state.bump()
            self.state.changed.notify_all()
        if by_status:
            self.cut_watches()

    def expire_pages(self, times: int = 1) -> None:
        """The next continued page of a list is answered 410."""
        self.faults["page"] = times

    def bookmark(self) -> None:
        """Every watch gets a bookmark of a new version."""
        with self.state.changed:
            self.bookmarks = self.state.bump()
            self.state.changed.notify_all()

    def cut_watches(self) -> None:
        """Streams that are open break."""
        with self.state.changed:
            for stream in self._streams:
                shut(stream)

    def watches(self) -> int:
        """Streams that are open now."""
        with self.state.changed:
            return len(self._streams)

    def down(self) -> None:
        """Nothing listens any more; every connection breaks. What is stored stays."""
        if self._server is not None:
            self._stopping.set()
            with self.state.changed:
                self.state.changed.notify_all()
            self._server.stop()
            self._server = None

    def up(self) -> None:
        self._stopping.clear()
        self._server = server = Server(self, self.port, self._tls)
        self.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    # For the handler

    def pause(self) -> None:
        if self.delay:
            self._stopping.wait(self.delay)

    def strikes(self, fault: str) -> bool:
        with self.state.changed:
            struck = self.faults[fault] > 0
            self.faults[fault] -= struck
            return struck

    def place(self, path: str) -> Place:
        """Raises Refusal for a kind that is not served."""
        steps = [unquote(step) for step in path.strip("/").split("/")]
        size = {"api": 2, "apis": 3}.get(steps[0], 0)
        version, rest = "/".join(steps[1:size]), steps[size:]
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        kind = next((kind for kind in self.kinds if (kind.version, kind.plural) == (version, (rest or [""])[0])), None)
        if not size or kind is None or len(rest) > 3:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        name, subresource = [*rest[1:], "", ""][:2]
        return Place(kind, namespace, name, subresource)

    @contextlib.contextmanager
    def streaming(self, connection: socket.socket) -> Iterator[None]:
        with self.state.changed:
            self._streams.add(connection)
            self.state.changed.notify_all()
        try:
            yield
        finally:
            with self.state.changed:
                self._streams.discard(connection)

    def events(self, place: Place, query: Mapping[str, str]) -> Iterator[Object]:
        """Of a watch, to its end."""
        seen, marked = int(query.get("resourceVersion") or 0), self.bookmarks
        end = time.monotonic() + float(query.get("timeoutSeconds") or 300)
        selectors = query.get("labelSelector", ""), query.get("fieldSelector", "")
        while not self._stopping.is_set():
            with self.state.changed:
                if seen < self.state.floor:
                    yield {"type": "ERROR", "object": Refusal(410, "Expired", "too old resource version").status}
                    return
                events = self.state.since(seen, place.kind, place.namespace, *selectors)
                if events or self.bookmarks > marked:
                    seen = self.state.version
            for type, object in events:
                yield {"type": type, "object": object}
            if self.bookmarks > marked:
                marked = self.bookmarks
                yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(marked)}}}
            if time.monotonic() >= end:
                return
            with self.state.changed:
                if seen == self.state.version or not self.state.since(seen, place.kind, place.namespace, *selectors):
                    self.state.changed.wait(min(end - time.monotonic(), 1))

    def lines(self, log: tuple[str, str], follow: bool) -> Iterator[str]:
        """Of a container's log."""
        told = 0
        while True:
            with self.state.changed:
                new = self.logs[log][told:]
                ended = not follow or log in self.ended_logs or self._stopping.is_set()
                if not new and not ended:
                    self.state.changed.wait(1)
            yield from new
            told += len(new)
            if ended and not new:
                return
