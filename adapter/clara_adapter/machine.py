"""What this machine says to a configuration: can the spool be one, is the address to listen on ours, would results
come back, and is work waiting that the configuration has left behind. Leaves nothing behind and starts nothing.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from clara_adapter import plan as plans
from clara_adapter import stranded
from clara_adapter.plan import Plan
from clara_adapter.scp import no_port
from clara_adapter.spool import Spool
from clara_argo.errors import ClaraError, Finding, Level
from clara_argo.formats.peers import ANY
from clara_argo.model.route import Configuration

PRIVILEGED = 1024  # ports below it are tried themselves


def examine(plan: Plan, *, strict: bool = False) -> Plan:
    """The plan with what this machine adds to its findings. Errors are what `serve` would refuse, here and now."""
    if plan.configuration is None:
        return plan
    found = tuple(replace(finding, source=str(plan.file)) for finding in _findings(plan.configuration))
    return replace(plan, findings=(*plan.findings, *(plans.strictly(found) if strict else found)))


def _findings(node: Configuration) -> Iterator[Finding]:
    spool = Spool(Path(node.spool))
    try:
        spool.probe()
    except ClaraError as error:
        yield Finding(level=Level.ERROR, code="spool", message=str(error))
    try:
        for text in stranded.find(spool.state, node):
            yield Finding(level=Level.WARNING, code="left-behind", message=text)
    except ClaraError as error:
        yield Finding(level=Level.ERROR, code="state", message=str(error))
    refused = _bind(node.host, node.port if node.port < PRIVILEGED else 0)
    if refused is not None:
        yield Finding(level=Level.ERROR, code="address", message=str(no_port(node.host, node.port, refused)))
    for to in node.destinations if node.host in ANY else ():
        if to.port == node.port and _bind(to.host, 0) is None:
            message = f"destination {to.name!r} is this adapter itself, {to.host}:{to.port}: results come back"
            yield Finding(level=Level.WARNING, code="loop", message=message, hint="name the node that takes results")


def _bind(host: str, port: int) -> OSError | None:
    """Why nobody can listen there, if nobody can; that somebody does already is no reason."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return None if error.errno == errno.EADDRINUSE else error
    return None
