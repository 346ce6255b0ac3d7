from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Iterator

import pytest
from unit.kubernetes.certificates import Certificates
from unit.kubernetes.stub import Stub

from clara_argo.errors import Refused
from clara_argo.kubernetes import watch as watching
from clara_argo.kubernetes.access import Access, Address
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.credentials import Fixed
from clara_argo.kubernetes.errors import Away, NoSuchKind
from clara_argo.kubernetes.kinds import WORKFLOWS
from clara_argo.kubernetes.tls import Trust
from clara_argo.kubernetes.watch import ADDED, AWAY, DELETED, MODIFIED, SYNCED, TICK, Event, Watch


def put(stub: Stub, name: str, **labels: str) -> None:
    stub.put(WORKFLOWS, {"metadata": {"name": name, "labels": labels}})


def take(watch: Iterator[Event], count: int) -> list[tuple[str, str]]:
    """Type and name of the next events."""
    return [(type, object.get("metadata", {}).get("name", "")) for type, object in itertools.islice(watch, count)]


def until(watch: Iterator[Event], type: str) -> list[tuple[str, str]]:
    """The next events up to one of that type."""
    events = []
    for event in watch:
        events.append((event.type, event.object.get("metadata", {}).get("name", "")))
        if event.type == type:
            return events
    raise AssertionError(f"the watch ended without {type}: {events}")


@pytest.fixture
def watch(api: Api, stub: Stub) -> Iterator[Watch]:
    put(stub, "a", mine="yes")
    put(stub, "b", mine="yes")
    with api.watch(WORKFLOWS, labels="mine=yes") as watch:
        assert take(watch, 3) == [(ADDED, "a"), (ADDED, "b"), (SYNCED, "")]
        yield watch


def test_changes_come_as_they_happen(watch: Watch, stub: Stub) -> None:
    put(stub, "c", mine="yes")
    put(stub, "d", mine="no")
    stub.change(WORKFLOWS, "a", {"status": {"phase": "Odd", "unknown": [1]}})
    stub.change(WORKFLOWS, "b", {"metadata": {"labels": {"mine": "no"}}})
    stub.remove(WORKFLOWS, "a")
    assert take(watch, 4) == [(ADDED, "c"), (MODIFIED, "a"), (DELETED, "b"), (DELETED, "a")]
    asked = stub.requests[-1].query
    assert asked["allowWatchBookmarks"] == "true"
    assert float(asked["timeoutSeconds"]) > 0


@pytest.mark.parametrize("by_status", [False, True])
def test_after_a_gap_only_the_differences_come(watch: Watch, stub: Stub, by_status: bool) -> None:
    stub.remove(WORKFLOWS, "a")
    stub.change(WORKFLOWS, "b", {"status": {"phase": "Running"}})
    put(stub, "c", mine="yes")
    stub.gone(by_status=by_status)
    assert sorted(until(watch, SYNCED)) == [(ADDED, "c"), (DELETED, "a"), (MODIFIED, "b"), (SYNCED, "")]
    put(stub, "d", mine="yes")
    assert until(watch, ADDED)[-1] == (ADDED, "d")


def test_an_object_made_anew_under_its_name_is_another(watch: Watch, stub: Stub) -> None:
    stub.remove(WORKFLOWS, "a")
    put(stub, "a", mine="yes")
    stub.gone()
    assert until(watch, SYNCED) == [(DELETED, "a"), (ADDED, "a"), (SYNCED, "")]


def test_a_bookmark_moves_the_version_on(watch: Watch, stub: Stub) -> None:
    before = watch._version
    stub.bookmark()
    put(stub, "c", mine="yes")
    assert take(watch, 1) == [(ADDED, "c")]
    assert int(watch._version) > int(before) + 1


def test_a_watch_that_the_server_ends_goes_on_from_its_version(
    api: Api, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SECONDS", 0.1)
    monkeypatch.setattr("clara_argo.kubernetes.client._watching", _short)
    with api.watch(WORKFLOWS, tick=0.1) as watch:
        assert take(watch, 1) == [(SYNCED, "")]
        while sum("watch" in request.query for request in stub.requests) < 3:
            assert take(watch, 1) == [(TICK, "")]
        put(stub, "a")
        assert until(watch, ADDED)[-1] == (ADDED, "a")
    assert sum("watch" not in request.query for request in stub.requests) == 1


def _short(labels: str, fields: str, version: str, seconds: float) -> dict[str, str]:
    return {"watch": "1", "resourceVersion": version, "timeoutSeconds": "0.1"}


def test_an_absent_server_is_told_once_and_waited_for(watch: Watch, stub: Stub) -> None:
    stub.down()
    type, object = next(watch)
    assert type == AWAY
    assert "cannot be reached" in object["message"]
    put(stub, "c", mine="yes")
    timer = threading.Timer(0.5, stub.up)
    timer.start()
    assert until(watch, SYNCED) == [(ADDED, "c"), (SYNCED, "")]
    timer.join()


def test_the_first_list_raises(api: Api, stub: Stub) -> None:
    stub.kinds.remove(WORKFLOWS)
    with pytest.raises(NoSuchKind):
        next(api.watch(WORKFLOWS))
    stub.down()
    with pytest.raises(Away):
        next(api.watch(WORKFLOWS))


def test_rights_withdrawn_end_it(watch: Watch, stub: Stub) -> None:
    stub.denied.add(("watch", "workflows"))
    stub.cut_watches()
    with pytest.raises(Refused, match="forbidden"):
        until(watch, "NEVER")
    assert list(watch) == []


@pytest.mark.parametrize("tick", [0.0, 60.0])
def test_another_thread_may_close_it(api: Api, stub: Stub, tick: float) -> None:
    watch = api.watch(WORKFLOWS, tick=tick)
    assert take(watch, 1) == [(SYNCED, "")]
    seen: list[Event] = []
    reader = threading.Thread(target=lambda: seen.extend(watch))
    reader.start()
    with stub.state.changed:
        assert stub.state.changed.wait_for(lambda: stub.watches() == 1, 10)
    watch.close()
    reader.join(10)
    assert not reader.is_alive()
    assert seen == []


def test_ticks_come_between_events_also_over_tls(issued: Certificates) -> None:
    with Stub(issued.server()) as stub:
        trust = Trust.of_file(issued.authority, "the test")
        with (
            Api(stub.access(Fixed(trust.context())), timeout=5) as api,
            api.watch(WORKFLOWS, tick=0.05) as watch,
        ):
            assert take(watch, 3) == [(SYNCED, ""), (TICK, ""), (TICK, "")]
            put(stub, "a")
            put(stub, "b")
            events = until(watch, ADDED) + until(watch, ADDED)
            assert [event for event in events if event[0] != TICK] == [(ADDED, "a"), (ADDED, "b")]
            assert take(watch, 1) == [(TICK, "")]


def test_a_silent_stream_is_given_up(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SECONDS", 0.1)
    monkeypatch.setattr("clara_argo.kubernetes.client._watching", lambda *_: {"watch": "1", "resourceVersion": "0"})
    with stub.api(timeout=0.2) as api, api.watch(WORKFLOWS) as watch:
        assert take(watch, 2) == [(SYNCED, ""), (SYNCED, "")]


def test_a_stream_that_the_server_never_ends_is_given_up_between_ticks(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a proxy that keeps the connection of a server that is gone."""
    monkeypatch.setattr(watching, "SECONDS", 0.1)
    monkeypatch.setattr(watching, "LATE", 0.1)
    monkeypatch.setattr("clara_argo.kubernetes.client._watching", lambda *_: {"watch": "1", "resourceVersion": "0"})
    with stub.api() as api, api.watch(WORKFLOWS, tick=0.02) as watch:
        lists = (event.type for event in itertools.islice(watch, 500) if event.type != TICK)
        assert list(itertools.islice(lists, 2)) == [SYNCED, SYNCED]


ITEM = {"metadata": {"name": "a", "resourceVersion": "7"}}
BROKEN = [
    b"not json",
    b"{}",
    b"[]",
    b"null",
    b'{"type": "ADDED", "object": 1}',
    b'{"type": "ADDED", "object": {"metadata": null}}',
    b'{"type": "ERROR", "object": null}',
    b'{"type": "ERROR", "object": {"code": 500}}',
    b'{"type": "ADDED", "object": {"metadata": {"name":',
    b"[" * 100_000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("line", BROKEN, ids=range(len(BROKEN)))
def test_a_stream_that_makes_no_sense_is_begun_anew(line: bytes) -> None:
    listing = json.dumps({"metadata": {"resourceVersion": "5"}, "items": [ITEM]}).encode()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        access = Access(server=Address(False, "127.0.0.1", listening.getsockname()[1], ""), credentials=Fixed(None))

        def serve() -> None:
            for answer in (listing, line, listing, b'{"type":"DELETED","object":%s}\n' % json.dumps(ITEM).encode()):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + answer)

        server = threading.Thread(target=serve)
        server.start()
        with Api(access, timeout=10) as api, api.watch(WORKFLOWS) as watch:
            assert take(watch, 4) == [(ADDED, "a"), (SYNCED, ""), (SYNCED, ""), (DELETED, "a")]
        server.join(10)
