"""The adapter as a process: the runner its configuration names, the service, signals."""

from __future__ import annotations

import logging
import signal
from dataclasses import replace
from pathlib import Path

from clara_adapter import service
from clara_adapter.plan import Plan
from clara_argo.errors import Interrupted
from clara_argo.runners.local import LocalRunner

log = logging.getLogger(__name__)


def serve(plan: Plan, port: int | None = None) -> None:
    """Serve until a signal comes. Raises what keeps the adapter from starting."""
    configuration = plan.configuration
    assert configuration is not None  # plan.check() was called
    if port is not None:
        configuration = replace(configuration, port=port)
    for finding in plan.findings:
        log.warning("%s", finding)
    with LocalRunner(Path(configuration.spool)) as runner:
        adapter = service.Adapter(configuration, runner, plan.graphs)
        number = service.serve(adapter, lambda: _say_ready(adapter))
        log.info("stopped by signal %d", number)
    if number == signal.SIGINT:
        raise Interrupted("stopped; everything unfinished goes on at the next start")


def _say_ready(adapter: service.Adapter) -> None:
    host, port = adapter.address
    where = {"event": "ready", "host": host, "port": port}
    log.info("%s is ready on %s:%d", adapter.configuration.ae_title, host, port, extra={"clara": where})
