"""The adapter as a process: the runner its configuration names, the service, signals."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from clara_adapter import service
from clara_adapter.plan import Plan
from clara_argo.errors import Interrupted
from clara_argo.graph import Graph
from clara_argo.runners import ready
from clara_argo.runners.targets import open_runner

log = logging.getLogger(__name__)


def serve(plan: Plan, port: int | None = None) -> None:
    """Serve until a signal comes. Raises what keeps the adapter from starting."""
    configuration = plan.configuration
    assert configuration is not None  # plan.check() was called
    if port is not None:
        configuration = replace(configuration, port=port)
    for finding in plan.findings:
        log.warning("%s", finding)
    with open_runner(configuration.runner, home=Path(configuration.spool)) as runner:
        adapter = service.Adapter(configuration, runner, plan.graphs)
        number = service.serve(adapter, lambda: _say_ready(adapter, plan.graphs))
        log.info("stopped by signal %d", number)
    if number == signal.SIGINT:
        raise Interrupted("stopped; everything unfinished goes on at the next start")


def _say_ready(adapter: service.Adapter, graphs: Mapping[str, Graph]) -> None:
    host, port = adapter.address
    where = {"event": "ready", "host": host, "port": port}
    log.info("%s is ready on %s:%d", adapter.configuration.ae_title, host, port, extra={"clara": where})
    asking = (adapter.configuration.runner, graphs)
    threading.Thread(target=_say_what_is_there, args=asking, name="clara-target", daemon=True).start()


def _say_what_is_there(target: str, graphs: Mapping[str, Graph]) -> None:
    """Beside the service: studies are received whatever a cluster answers, and jobs wait for what it lacks."""
    for what, trouble in ready.ask(target, graphs):
        if trouble:
            log.error("%s: jobs wait on target %s: %s", what, target, trouble)
        else:
            log.info("%s: ready on target %s", what, target)
