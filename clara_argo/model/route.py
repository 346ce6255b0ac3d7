"""What the adapter's configuration says: who may send, what runs, where results go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

EMPTY: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Somebody who may send: AE title and address must both match. `host` empty = any address."""

    name: str
    ae_title: str
    host: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A storage SCP that takes results."""

    name: str
    ae_title: str
    host: str
    port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Settle:
    """When a study is complete: `quiet` seconds after the last durable instance, at most `max` after the first."""

    quiet: float = 10.0
    max: float = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """What happens to studies sent to one called AE title."""

    name: str
    called: str
    sources: tuple[str, ...]  # names of sources; nobody named = nobody may send
    workflows: tuple[str, ...]  # names or ids
    destinations: tuple[str, ...]  # names of destinations
    settle: Settle = Settle()
    file: str = ""  # that says so, where it is not the configuration's own
    # How an old file calls a workflow beside its id, which may be one of a platform that is gone.
    other_names: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """The adapter's whole configuration; a value that exists is consistent (names resolve, titles are valid)."""

    ae_title: str
    spool: str
    host: str = "127.0.0.1"
    port: int = 11112
    runner: str = "local"  # or the name of a target, where jobs run
    sources: tuple[Source, ...] = ()
    destinations: tuple[Destination, ...] = ()
    routes: tuple[Route, ...] = ()
