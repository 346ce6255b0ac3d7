"""`services` and `models` of an operator: programs that ran beside it. Only inference servers are known, and shared.

None is started here. The user names one that runs, `--set CLARA_TRITON_URL=HOST:PORT` (gRPC), and the operator gets the
variables that it knew: the names of the service's connections.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from clara_argo.formats.fields import Fields, as_text, short
from clara_argo.formats.operators.imports import Imports
from clara_argo.formats.operators.table import keys
from clara_argo.formats.stage import ENV_NAME
from clara_argo.source import Findings, List, Map, Node
from clara_driver import contract

SERVER = ("tritonserver", "tensorrtserver")  # in the name of an image
URL = contract.TRITON_URL
ADDRESS = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})")
GRPC, HTTP = 8001, 8000  # ports of a server
LEAST, MOST = 1024, 65535
HOW = f"name one that runs: --set {URL}=HOST:PORT"
PATH = "operators[].services[]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """What an operator asks of an inference server: variables, each with the port that it is for."""

    needed: bool = False
    ports: Mapping[str, int] = field(default_factory=dict)
    kept: str = ""  # its services as they are written, JSON

    def variables(self, address: str) -> dict[str, str]:
        """With the address of a server, gRPC `host:port`."""
        host = address.rpartition(":")[0]
        if not self.needed or not host:
            return {}
        return {URL: address} | {
            name: address if port == GRPC else f"{host}:{HTTP}" for name, port in self.ports.items()
        }


def read(operator: Fields, imports: Imports, lenient: bool) -> Server:
    """What its services are. Those that are no inference server are errors: they are not run."""
    ports: dict[str, int] = {}
    what = f"a service of {operator.what}"
    plain = [_no_arguments(node, what, operator) for node in operator.nodes("services")]
    nodes = [node for one in plain if (node := imports.resolved(one, what, lenient)) is not None]
    for number, node in enumerate(nodes, 1):
        ports |= _service(Fields(node, operator.findings, f"service {number} of {operator.what}"))
    needed = bool(nodes) or bool(operator.nodes("models"))
    kept = as_text(List(nodes)) if nodes else ""
    return Server(needed=needed, ports=ports, kept=kept)


def _no_arguments(node: Node, what: str, operator: Fields) -> Node:
    """A service's file has no parameters: Clara took no notice of what an import gave it."""
    inner = node.get("import") if isinstance(node, Map) else None
    if not isinstance(node, Map) or not isinstance(inner, Map) or "args" not in inner:
        return node
    operator.findings.notice("import", f"{what} has no parameters; 'args' is not followed", inner.key("args"))
    rest = Map([(key, inner[key]) for key in inner if key != "args"], inner.source, inner.line, inner.column)
    pairs = [(key, rest if key == "import" else node[key]) for key in node]
    return Map(pairs, node.source, node.line, node.column)


def _service(service: Fields) -> dict[str, int]:
    service.unknown(keys(PATH))
    service.fields("requests").unknown(keys(f"{PATH}.requests"))
    container = service.fields("container")
    container.unknown(keys(f"{PATH}.container"))
    image = container.text("image")
    name = service.text("name") or image
    findings = service.findings
    if not any(word in image.lower() for word in SERVER):
        message = f"the service {short(name)} is not run: it is no inference server"
        hint = "run it beside, and give its address in 'variables' of the operator"
        findings.error("service", message, service.node, hint)
        return {}
    findings.notice("service", f"the service {short(name)} is not started here", service.node, HOW)
    return _connections(service.fields("connections"))


def _connections(connections: Fields) -> dict[str, int]:
    connections.unknown(keys(f"{PATH}.connections"))
    for node in connections.nodes("volume"):
        message = f"a volume in {connections.what}: no folder is shared with a service"
        connections.findings.error("service", message, node, "put the files into the image of the operator")
    found = {}
    for node in connections.nodes("http"):
        one = Fields(node, connections.findings, f"a connection in {connections.what}")
        one.unknown(keys(f"{PATH}.connections.http[]"))
        name = one.required("name")
        if name and not ENV_NAME.fullmatch(name):
            one.wrong("name", f"cannot be the name of a variable: {short(name)}", "use letters, digits and _")
        elif name:
            found[str(name)] = one.whole("port", HTTP, least=LEAST, most=MOST)
    return found


def address(given: Mapping[str, str], findings: Findings) -> str:
    """The server that the user names, else empty."""
    text = given.get(URL, "")
    found = ADDRESS.fullmatch(text)
    if text and (found is None or not 0 < int(found[2]) <= MOST):
        findings.error("server", f"{URL} is {short(text)}, not HOST:PORT", None, f"for example {URL}=triton:{GRPC}")
        return ""
    return text
