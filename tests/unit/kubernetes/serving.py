"""How `stub.Stub` speaks HTTP: one handler for every request, with the faults that the test asked for."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from unit.kubernetes.state import NAMESPACE, Key, Object, Refusal

from clara_argo.kubernetes.kinds import Kind

if TYPE_CHECKING:
    from unit.kubernetes.stub import Stub

REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
REVIEW_OF_OTHERS = f"/apis/authorization.k8s.io/v1/namespaces/{NAMESPACE}/localsubjectaccessreviews"

NO_YAML = re.compile(rb"(?<!\\)(?:\\\\)*\\ud[89a-f]")  # half a character, as JSON may write it


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


class Server(ThreadingHTTPServer):
    daemon_threads = False  # `server_close` waits for them
    request_queue_size = 64

    def __init__(self, stub: Stub, port: int, tls: ssl.SSLContext | None) -> None:
        self.stub, self.tls = stub, tls
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

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
            shut(connection)
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((time.time() if timestamp is None else timestamp) + self.server.stub.ahead)

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
        raw = self.rfile.read(size)
        body = json.loads(raw) if raw else None
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
            if "apply-patch" in self.headers.get("Content-Type", "") and NO_YAML.search(raw):
                raise Refusal(400, "BadRequest", "error decoding YAML: found invalid Unicode character escape code")
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


def shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
