"""Who is let in: called title, calling title, address; names of hosts; several routes for one title."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from adapter.hospital import CALLED, CALLING, HOST, configuration, wait_until

from clara_adapter.peer import UNKNOWN_CALLED, UNKNOWN_CALLING, Peer, Refusal
from clara_adapter.routing import RESOLVE_AGAIN_SECONDS, Addresses, Routing
from clara_argo.model.route import Source

HOSTILE = ["", "../../etc/x", "$(id)", "{{x}}", "CT1\n", "ct1", "CT1\\CT1", "CT_AI "]


@pytest.fixture
def routing(tmp_path: Path) -> Routing:
    return Routing(configuration(tmp_path, {}))


@pytest.mark.parametrize(
    "peer, answer",
    [
        (Peer(CALLING, CALLED, HOST), None),
        (Peer(CALLING, CALLED, "::ffff:127.0.0.1"), None),
        (Peer(CALLING, CALLED, "10.0.0.5"), UNKNOWN_CALLING),
        (Peer(CALLING, CALLED, "::1"), UNKNOWN_CALLING),
        (Peer("CT2", CALLED, HOST), UNKNOWN_CALLING),
        (Peer(CALLING, "CT_AJ", HOST), UNKNOWN_CALLED),
        (Peer("CT2", "CT_AJ", HOST), UNKNOWN_CALLED),
    ],
)
def test_title_and_address_must_both_be_right(routing: Routing, peer: Peer, answer: Refusal | None) -> None:
    assert routing.admit(peer) == answer


@pytest.mark.parametrize("title", HOSTILE)
def test_titles_are_only_looked_up(routing: Routing, title: str) -> None:
    assert routing.admit(Peer(title, CALLED, HOST)) == UNKNOWN_CALLING
    assert routing.admit(Peer(CALLING, title, HOST)) == UNKNOWN_CALLED


def test_nobody_named_means_nobody_may_send(tmp_path: Path) -> None:
    config = configuration(tmp_path, {})
    closed = replace(config, routes=tuple(replace(route, sources=()) for route in config.routes))
    assert Routing(closed).admit(Peer(CALLING, CALLED, HOST)) == UNKNOWN_CALLING


def test_a_source_without_host_may_be_anywhere(tmp_path: Path) -> None:
    config = replace(configuration(tmp_path, {}), sources=(Source(name="CT1", ae_title=CALLING),))
    assert Routing(config).admit(Peer(CALLING, CALLED, "10.9.8.7")) is None


def test_an_instance_takes_every_route_that_names_its_sender(tmp_path: Path) -> None:
    config = configuration(tmp_path, {})
    (route,) = config.routes
    more = (route, replace(route, name="b"), replace(route, name="c", sources=()), replace(route, name="d", called="X"))
    found = Routing(replace(config, routes=more)).routes(Peer(CALLING, CALLED, HOST))
    assert [one.name for one in found] == ["ct", "b"]


def test_a_host_name_is_resolved_at_the_start(tmp_path: Path) -> None:
    config = replace(configuration(tmp_path, {}), sources=(Source(name="CT1", ae_title=CALLING, host="localhost"),))
    assert Routing(config).admit(Peer(CALLING, CALLED, HOST)) is None
    assert Routing(config).admit(Peer(CALLING, CALLED, "10.0.0.1")) == UNKNOWN_CALLING


def test_a_host_name_is_asked_for_again_after_a_while_and_nobody_waits(tmp_path: Path) -> None:
    now = [0.0]
    addresses = Addresses(lambda: now[0])
    wait_until(lambda: addresses.has("localhost", HOST), "the name is resolved")
    addresses._known.clear()
    assert not addresses.has("localhost", HOST)  # asked a moment ago
    now[0] += RESOLVE_AGAIN_SECONDS
    wait_until(lambda: addresses.has("localhost", HOST), "the name is resolved again")


def test_a_name_that_nobody_knows_lets_nobody_in(tmp_path: Path) -> None:
    source = Source(name="CT1", ae_title=CALLING, host="no-such-host.invalid")
    config = replace(configuration(tmp_path, {}), sources=(source,))
    assert Routing(config).admit(Peer(CALLING, CALLED, HOST)) == UNKNOWN_CALLING
