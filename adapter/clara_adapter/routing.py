"""Who may send to whom: the configuration's sources and routes as answers to an association request.

AE titles and addresses are looked up, nothing else is done with them. Knows no sockets but the resolver.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable
from functools import lru_cache

from clara_adapter.peer import UNKNOWN_CALLED, UNKNOWN_CALLING, Peer, Refusal
from clara_argo.model.route import Configuration, Route, Source

log = logging.getLogger(__name__)
RESOLVE_AGAIN_SECONDS = 60.0


class Addresses:
    """The addresses of host names: asked for at the start, and again in the background when they are a minute old."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, frozenset[str]] = {}
        self._asked: dict[str, float] = {}
        self._lock = threading.Lock()

    def learn(self, host: str) -> None:
        """Ask now, unless it is an address itself."""
        if host and not _is_address(host):
            with self._lock:
                self._asked[host] = self._clock()
            self._resolve(host)

    def has(self, host: str, address: str) -> bool:
        """Whether `host`, a name or an address, is at `address`. Returns at once."""
        plain = _plain(address)
        if _plain(host) == plain:
            return True
        if _is_address(host):
            return False
        self._refresh(host)
        return plain in self._known.get(host, frozenset())

    def _refresh(self, host: str) -> None:
        with self._lock:
            if self._clock() - self._asked.get(host, -RESOLVE_AGAIN_SECONDS) < RESOLVE_AGAIN_SECONDS:
                return
            self._asked[host] = self._clock()
        threading.Thread(target=self._resolve, args=(host,), name="clara-resolve", daemon=True).start()

    def _resolve(self, host: str) -> None:
        """What was known stays when the name cannot be resolved now."""
        try:
            found = frozenset(_plain(str(entry[4][0])) for entry in socket.getaddrinfo(host, None))
        except OSError as error:
            log.warning("host name %r of a source cannot be resolved: %s", host, error)
            return
        self._known[host] = found


class Routing:
    """Answers `admit` for the receiving side and names the routes that an instance takes."""

    def __init__(self, configuration: Configuration) -> None:
        self._routes = configuration.routes
        self._sources = {source.name: source for source in configuration.sources}
        self._addresses = Addresses()
        for source in configuration.sources:
            self._addresses.learn(source.host)

    def admit(self, peer: Peer) -> Refusal | None:
        """None = welcome. What is wrong first decides: the called title, then calling title and address."""
        if not any(route.called == peer.called for route in self._routes):
            return UNKNOWN_CALLED
        if not self.routes(peer):
            return UNKNOWN_CALLING
        return None

    def routes(self, peer: Peer) -> tuple[Route, ...]:
        """Every route with this called title that names this sender."""
        return tuple(route for route in self._routes if route.called == peer.called and self._sends_to(route, peer))

    def _sends_to(self, route: Route, peer: Peer) -> bool:
        sources = (self._sources[name] for name in route.sources if name in self._sources)
        return any(self._is(source, peer) for source in sources)

    def _is(self, source: Source, peer: Peer) -> bool:
        return source.ae_title == peer.calling and (not source.host or self._addresses.has(source.host, peer.address))


@lru_cache(maxsize=1024)
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def _plain(address: str) -> str:
    """An IPv4 address in IPv6 clothes is the IPv4 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
