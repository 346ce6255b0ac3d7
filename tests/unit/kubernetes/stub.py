"""A Kubernetes API server in this process, for tests of whatever speaks to one.

    with Stub() as stub, stub.api() as api:
        stub.on_change(controller)              # controller(type, kind, object), after every change, in its thread
        api.create(WORKFLOWS, {...})
        stub.change(WORKFLOWS, "name", {"status": {"phase": "Running"}})   # what a controller would do
        stub.lose_reply_next()                  # faults: see the methods

It keeps objects with resourceVersion and uid; it knows no schema, no owners, no rights but `token` and `denied`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from unit.kubernetes.state import Key, Object, OnChange, Refusal, State

from clara_argo.kubernetes.access import Access, Address
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.credentials import Credentials, Fixed
from clara_argo.kubernetes.kinds import KINDS, Kind

NAMESPACE = "clara"
REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
REVIEW_OF_OTHERS = f"/apis/authorization.k8s.io/v1/namespaces/{NAMESPACE}/localsubjectaccessreviews"


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class Place(NamedTuple):
    """What a path names; without a name: all of the kind."""

    kind: Kind
    namespace: str
    name: str
    subresource: str

    @property
    def key(self) -> Key:
        return (self.kind, self.namespace if self.kind.namespaced else "", self.name)


class Lost(Exception):
    """Close the connection without an answer."""


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
        self.gone_by_status = False
        self.bookmarks = 0
        self.accepted = 0  # connections
        self.port = 0
        self._tls = tls
        self._stopping = threading.Event()
        self._streams: set[socket.socket] = set()
        self._server: _Server | None = None

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
                _shut(stream)

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
        self._server = server = _Server(self, self.port, self._tls)
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


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # `server_close` waits for them
    request_queue_size = 64

    def __init__(self, stub: Stub, port: int, tls: ssl.SSLContext | None) -> None:
        self.stub, self.tls = stub, tls
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.connections.add(connection)
        self.stub.accepted += 1
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are what the tests are about."""

    def stop(self) -> None:
        self.shutdown()
        for connection in list(self.connections):
            _shut(connection)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (Lost, ConnectionError, ssl.SSLError):
            self.close_connection = True

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        stub, parts = self.server.stub, urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        query = dict(parse_qsl(parts.query))
        stub.requests.append(Request(self.command, parts.path, query, body, dict(self.headers)))
        if stub.strikes("request"):
            raise Lost
        stub.pause()
        try:
            if stub.strikes("fail"):
                code, later = stub.failure
                raise Refusal(code, "Failure", f"the test wants {code}")
            if stub.token and self.headers.get("Authorization") != f"Bearer {stub.token}":
                raise Refusal(401, "Unauthorized", "Unauthorized")
            if (self.command, parts.path) in stub.answers:
                code, answer = stub.answers[self.command, parts.path]
            else:
                code, answer = self._answer(parts.path, query, body)
        except Refusal as refusal:
            code, answer = refusal.code, refusal.status
            later = stub.failure[1] if code == stub.failure[0] else ""
        else:
            later = ""
            if code < 300 and self.command != "GET" and stub.strikes("reply"):
                raise Lost
        if answer is not None:
            self._send(code, answer, later)

    def _send(self, code: int, answer: bytes | Object, later: str) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(code)
        if later:
            self.send_header("Retry-After", later)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        stub = self.server.stub
        if path == "/version":
            return 200, {"major": "1", "minor": "36", "gitVersion": "v1.36.3"}
        if path == REVIEW:
            asked = body["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            return 201, body | {"status": {"allowed": (asked["verb"], resource) not in stub.denied}}
        if path == REVIEW_OF_OTHERS:
            asked = body["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            may = (asked["verb"], resource) in stub.rights.get(body["spec"]["user"], set())
            return 201, body | {"status": {"allowed": may}}
        if (resources := self._resources(path)) is not None:
            return 200, {"kind": "APIResourceList", "resources": resources}
        place = stub.place(path)
        self._allow(place, query)
        if self.command == "GET":
            return self._read(place, query)
        dry = query.get("dryRun") == "All"
        if self.command == "POST":
            if reason := stub.judge(body):
                raise Refusal(400, "BadRequest", reason)
            return 201, stub.state.create(place.kind, place.namespace, body, dry=dry)
        if self.command == "DELETE":
            return 200, stub.state.delete(place.key, (body or {}).get("preconditions", {}).get("uid", ""))
        if "apply-patch" in self.headers["Content-Type"]:
            applied, new = stub.state.apply(place.key, body, dry=dry)
            return 201 if new else 200, applied
        return 200, stub.state.patch(place.key, body, dry=dry)

    def _resources(self, path: str) -> list[Object] | None:
        """Of a group and version, when the path names just that."""
        version = path.strip("/").removeprefix("apis/").removeprefix("api/")
        found = [kind for kind in self.server.stub.kinds if kind.version == version]
        return [{"name": kind.plural, "namespaced": kind.namespaced, "kind": kind.name} for kind in found] or None

    def _allow(self, place: Place, query: dict[str, str]) -> None:
        verbs = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
        read = "get" if place.name else "watch" if "watch" in query else "list"
        verb = verbs.get(self.command, read)
        resource = "/".join(filter(None, (place.kind.plural, place.subresource)))
        if (verb, resource) in self.server.stub.denied:
            raise Refusal(403, "Forbidden", f'{resource} is forbidden: User "test" cannot {verb} it', place.name)

    def _read(self, place: Place, query: dict[str, str]) -> tuple[int, Any]:
        stub = self.server.stub
        if place.subresource == "log":
            return self._log(place, query)
        if place.name:
            return 200, stub.state.get(place.key)
        if "watch" in query:
            return self._watch(place, query)
        with stub.state.changed:
            found = stub.state.all(place.kind, place.namespace, query.get("labelSelector", ""),
                                   query.get("fieldSelector", ""))  # fmt: skip
            version = str(stub.state.version)
        start = int(base64.b64decode(query["continue"])) if "continue" in query else 0
        if start and stub.strikes("page"):
            raise Refusal(410, "Expired", "The provided continue parameter is too old")
        end = start + int(query.get("limit") or len(found) or 1)
        more = {"continue": base64.b64encode(str(end).encode()).decode()} if end < len(found) else {}
        return 200, {"kind": f"{place.kind.name}List", "metadata": {"resourceVersion": version, **more},
                     "items": found[start:end]}  # fmt: skip

    def _watch(self, place: Place, query: dict[str, str]) -> tuple[int, None]:
        stub = self.server.stub
        if stub.gone_by_status and int(query.get("resourceVersion") or 0) < stub.state.floor:
            raise Refusal(410, "Expired", "too old resource version")
        self._chunks(json.dumps(event) for event in stub.events(place, query))
        return 200, None

    def _log(self, place: Place, query: dict[str, str]) -> tuple[int, None]:
        stub, log = self.server.stub, (place.name, query.get("container", "main"))
        stub.state.get(place.key)
        if log not in stub.logs:
            text = f'container "{log[1]}" in pod "{log[0]}" is waiting to start: PodInitializing'
            raise Refusal(400, "BadRequest", text)
        self._chunks(stub.lines(log, query.get("follow") == "true"))
        return 200, None

    def _chunks(self, lines: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with self.server.stub.streaming(self.connection):
            for line in lines:
                data = line.encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
