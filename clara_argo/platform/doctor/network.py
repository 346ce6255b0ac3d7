"""Whether network policies leave the pods of jobs a way to the API server and to a store outside.

Only addresses are compared. Whether the cluster's network keeps policies at all is not known.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

from clara_argo.errors import Refused
from clara_argo.kubernetes.client import Object
from clara_argo.kubernetes.kinds import NETWORK_POLICIES, Kind
from clara_argo.platform.doctor.findings import Check, ok, unknown, warn
from clara_argo.platform.doctor.site import Site

PART = "network"
SLICES = Kind("discovery.k8s.io/v1", "endpointslices", name="EndpointSlice")
SERVER = "kubernetes.io/service-name=kubernetes"  # the API server's own, in the namespace default
LABELS = {"workflows.argoproj.io/workflow": "", "workflows.argoproj.io/completed": "false"}  # of a job's pod
EVERYWHERE: Object = {}

Way = tuple[str, int]  # address and port


def network(site: Site) -> Iterator[Check]:
    try:
        policies = [one["spec"] for one in site.api.list(NETWORK_POLICIES).items if _holds(one["spec"])]
    except Refused:
        yield unknown(PART, "this account may not look at network policies")
        return
    if not policies:
        yield ok(PART, "no policy limits where the pods of jobs go")
        return
    rules = [rule for policy in policies for rule in policy.get("egress") or ()]
    try:
        server = _server(site)
        yield from _judge(rules, "the API server", server)
        if not server:
            yield unknown(PART, "nobody says where the API server is: its Service has no addresses")
    except Refused:
        yield unknown(PART, "this account may not look where the API server is")
    yield from _judge(rules, "the store", _store(site.endpoint))


def _holds(policy: Object) -> bool:
    """Does it limit where a job's pod goes?"""
    return "Egress" in (policy.get("policyTypes") or ()) and _chosen(policy.get("podSelector") or EVERYWHERE)


def _chosen(selector: Object) -> bool:
    if not (selector.get("matchLabels") or EVERYWHERE).items() <= LABELS.items():
        return False
    return all(_fits(one) for one in selector.get("matchExpressions") or ())


def _fits(expression: Object) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "Exists":
            return key in LABELS
        case "DoesNotExist":
            return key not in LABELS
        case "NotIn":
            return LABELS.get(key) not in values
        case _:
            return LABELS.get(key) in values


def _server(site: Site) -> list[Way]:
    slices = site.api.within("default").list(SLICES, labels=SERVER).items
    return [
        (address, int(port["port"]))
        for one in slices
        for port in one.get("ports") or ()
        for end in one.get("endpoints") or ()
        for address in end["addresses"]
    ]


def _store(endpoint: str) -> list[Way]:
    """Nothing for a name that only the cluster knows, or nobody."""
    host, _, port = endpoint.rpartition(":")
    if not port.isdigit():
        host, port = endpoint, "443"
    if "." not in host or "svc" in host.split("."):
        return []
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({(str(where[0]), int(port)) for *_, where in found})


def _judge(rules: list[Object], what: str, ways: list[Way]) -> Iterator[Check]:
    """One address that is open will do: a name may have several."""
    if not ways:
        return
    shown = ", ".join(f"{address} port {port}" for address, port in ways)
    if any(_leads(rule, way) for rule in rules for way in ways):
        yield ok(PART, f"policies let the pods of jobs reach {what} ({shown})")
        return
    said = f"policies keep the pods of jobs from {what} ({shown}), where the cluster's network keeps policies"
    yield warn(PART, said, "a NetworkPolicy with this address and port under egress, or mend the one for it")


def _leads(rule: Object, way: Way) -> bool:
    address, port = way
    open_port = not rule.get("ports") or any(_has(one, port) for one in rule["ports"])
    return open_port and (not rule.get("to") or any(_contains(peer.get("ipBlock"), address) for peer in rule["to"]))


def _has(port: Object, number: int) -> bool:
    first = port.get("port", number)
    tcp = port.get("protocol", "TCP") == "TCP"
    return tcp and isinstance(first, int) and first <= number <= int(port.get("endPort", first))


def _contains(block: Object | None, address: str) -> bool:
    if block is None:
        return False
    where = ipaddress.ip_address(address.partition("%")[0])
    return where in ipaddress.ip_network(block["cidr"]) and not any(
        where in ipaddress.ip_network(left) for left in block.get("except") or ()
    )
