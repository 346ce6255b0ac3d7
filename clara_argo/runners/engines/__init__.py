"""How a stage of a local job is started: as a process, or in its image by podman or docker. By name, from one table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from clara_argo.errors import NotInstalled, UsageError
from clara_argo.graph import Graph
from clara_argo.model.target import PROCESS
from clara_argo.runners.engines.engine import Engine
from clara_argo.runners.engines.processes import processes
from clara_argo.source import did_you_mean

__all__ = ["ENGINES", "Engine", "known", "ready", "sweep"]


def _podman(graph: Graph, home: str) -> Engine:
    from clara_argo.runners.engines.containers import containers
    from clara_argo.runners.engines.programs import PODMAN

    return containers(PODMAN, graph, home)


def _docker(graph: Graph, home: str) -> Engine:
    from clara_argo.runners.engines.containers import containers
    from clara_argo.runners.engines.programs import DOCKER

    return containers(DOCKER, graph, home)


ENGINES: Mapping[str, Callable[[Graph, str], Engine]] = {
    PROCESS: lambda graph, home: processes(graph),
    "podman": _podman,
    "docker": _docker,
}


def known(name: str) -> str:
    """The name. Raises UsageError when there is no such engine."""
    if name not in ENGINES:
        hint = did_you_mean(name, ENGINES, "there are " + ", ".join(ENGINES))
        raise UsageError(f"no engine {name!r}; {hint}")
    return name


def ready(name: str, graph: Graph, home: Path) -> Engine:
    """The engine, when it can run every stage of the graph. `home` tells its containers from those of others.

    Raises NotInstalled, DefinitionError or UsageError: what can be known before anything starts.
    """
    return ENGINES[known(name)](graph, mark(home))


def sweep(name: str, job: str, home: Path) -> None:
    """Remove what a runner left that was killed together with its guards: containers that still run.

    Only for who holds the job's lock. An engine that is not here any more has none, and need not be asked.
    """
    if name == PROCESS:
        return
    from clara_argo.runners.engines.programs import PROGRAMS

    with suppress(NotInstalled):
        PROGRAMS[known(name)].sweep(job, mark(home))


def mark(home: Path) -> str:
    """Homes may have jobs of the same id; nobody else needs to know where a home is."""
    return hashlib.sha256(str(home).encode("utf-8", "surrogateescape")).hexdigest()[:16]
