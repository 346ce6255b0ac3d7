from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from unit.kubernetes.stub import Stub

from clara_argo.errors import ClaraError, Held, NotFound, Refused, TryAgain
from clara_argo.kubernetes import client, connection
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.errors import Away, Conflict, Exists, Invalid, NoSuchKind, NotHere, NotStarted
from clara_argo.kubernetes.kinds import CONFIG_MAPS, NAMESPACES, NODES, PODS, WORKFLOWS, Kind

MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}


def named(name: str, **labels: str) -> dict[str, object]:
    return {"metadata": {"name": name, "labels": labels}}


def test_an_object_lives(api: Api, stub: Stub) -> None:
    made = api.create(WORKFLOWS, named("one", job="x"))
    assert (made["kind"], made["metadata"]["namespace"]) == ("Workflow", "clara")
    assert api.get(WORKFLOWS, "one") == made
    changed = api.patch(WORKFLOWS, "one", {"spec": {"shutdown": "Stop"}, "metadata": {"labels": {"job": None}}})
    assert changed["spec"] == {"shutdown": "Stop"}
    assert changed["metadata"]["labels"] == {}
    api.delete(WORKFLOWS, "one")
    api.delete(WORKFLOWS, "one")
    assert stub.list(WORKFLOWS) == []
    assert stub.requests[0].query == {"fieldManager": "clara-argo", "fieldValidation": "Strict"}
    with pytest.raises(NotHere, match=r"GET .*/workflows/one: workflows \"one\" not found"):
        api.get(WORKFLOWS, "one")


def test_a_list_is_read_in_pages_and_selected(api: Api, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE", 3)
    for number in range(8):
        stub.put(WORKFLOWS, named(f"n{number}", even=str(number % 2 == 0)))
    listing = api.list(WORKFLOWS)
    assert [item["metadata"]["name"] for item in listing.items] == [f"n{number}" for number in range(8)]
    assert listing.version == str(stub.state.version)
    assert len(stub.requests) == 3
    assert len(api.list(WORKFLOWS, labels="even=True").items) == 4
    assert len(api.list(WORKFLOWS, fields="metadata.name=n3").items) == 1
    assert api.within("other").list(WORKFLOWS).items == ()
    assert len(api.within("").list(WORKFLOWS).items) == 8


@pytest.mark.parametrize("times", [1, 3])
def test_a_list_whose_pages_expire_begins_again(
    api: Api, stub: Stub, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(client, "PAGE", 3)
    for number in range(8):
        stub.put(WORKFLOWS, named(f"n{number}"))
    stub.expire_pages(times)
    assert len(api.list(WORKFLOWS).items) == 8
    assert ("limit" in stub.requests[-1].query) == (times == 1)  # at last without pages


def test_a_list_of_large_objects_is_no_answer_that_is_too_large(
    api: Api, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of 200 Workflows of half a megabyte, made smaller."""
    monkeypatch.setattr(connection, "MAX_BODY", connection.MAX_BODY // 128)
    for number in range(200):
        stub.put(WORKFLOWS, named(f"n{number}") | {"status": {"nodes": "x" * (1 << 12)}})
    assert len(api.list(WORKFLOWS).items) == 200


def test_a_second_create_finds_the_first(api: Api) -> None:
    api.create(WORKFLOWS, named("one"))
    with pytest.raises(Exists, match="already exists") as caught:
        api.create(WORKFLOWS, named("one"))
    assert isinstance(caught.value, Held)


def test_a_patch_of_an_old_version_conflicts(api: Api, stub: Stub) -> None:
    old = api.create(WORKFLOWS, named("one"))["metadata"]["resourceVersion"]
    stub.change(WORKFLOWS, "one", {"status": {"phase": "Running"}})
    with pytest.raises(Conflict, match="modified; read it again"):
        api.patch(WORKFLOWS, "one", {"metadata": {"resourceVersion": old}, "spec": {"x": 1}})


def test_apply_creates_changes_and_takes_back(api: Api, stub: Stub) -> None:
    assert api.apply(MAP, dry_run=True)["data"] == {"a": "1"}
    assert stub.list(CONFIG_MAPS) == []
    first = api.apply(MAP)
    assert api.apply(MAP)["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert api.apply(MAP | {"data": {"b": "2"}})["data"] == {"b": "2"}
    assert stub.requests[-1].headers["Content-Type"] == "application/apply-patch+yaml"
    assert stub.requests[-1].query == {"fieldManager": "clara-argo", "fieldValidation": "Strict", "force": "true"}


def test_any_character_can_be_applied(api: Api) -> None:
    """The server reads it as YAML."""
    text = '\t"\\ud83d\x7f\x85é中\u2028\ufeff\uffff😀'
    assert api.apply(MAP | {"data": {"a": text}})["data"] == {"a": text}


def test_apply_learns_kinds_from_the_cluster(api: Api, stub: Stub) -> None:
    stub.kinds.add(Kind("example.org/v1", "widgets", False, "Widget"))
    widget = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}}
    api.apply(widget)
    api.apply(widget)
    paths = [request.path for request in stub.requests]
    assert paths == ["/apis/example.org/v1", "/apis/example.org/v1/widgets/w", "/apis/example.org/v1/widgets/w"]
    with pytest.raises(NoSuchKind, match="does not know Gadget of example.org/v1"):
        api.apply({"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": "g"}})
    with pytest.raises(NoSuchKind):
        api.apply({"apiVersion": "nowhere.org/v1", "kind": "Gadget", "metadata": {"name": "g"}})


def test_a_kind_that_is_not_installed_is_not_an_absent_object(api: Api, stub: Stub) -> None:
    stub.kinds.remove(WORKFLOWS)
    for ask in (lambda: api.list(WORKFLOWS), lambda: api.get(WORKFLOWS, "one"), lambda: api.delete(WORKFLOWS, "one")):
        with pytest.raises(NoSuchKind, match="install what defines it"):
            ask()


def test_delete_waits_for_finalizers_and_knows_the_object(api: Api, stub: Stub) -> None:
    made = api.create(WORKFLOWS, {"metadata": {"name": "one", "finalizers": ["x/y"]}})
    with pytest.raises(Conflict, match="UID"):
        api.delete(WORKFLOWS, "one", uid="another")
    api.delete(WORKFLOWS, "one", grace=0, uid=made["metadata"]["uid"])
    assert "deletionTimestamp" in stub.get(WORKFLOWS, "one")["metadata"]
    api.patch(WORKFLOWS, "one", {"metadata": {"finalizers": None}})
    assert stub.list(WORKFLOWS) == []
    assert stub.requests[-2].body["gracePeriodSeconds"] == 0


def test_kinds_without_namespace(api: Api, stub: Stub) -> None:
    api.create(NAMESPACES, named("other"))
    assert api.get(NAMESPACES, "other")["metadata"]["name"] == "other"
    assert api.list(NODES).items == ()
    assert [request.path for request in stub.requests] == [
        "/api/v1/namespaces", "/api/v1/namespaces/other", "/api/v1/nodes",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", ".", "..", "../secrets", "a/b", "a%2fb", "x" * 300])
def test_what_is_no_name_never_leaves(api: Api, stub: Stub, name: str) -> None:
    for ask in (
        lambda: api.get(WORKFLOWS, name),
        lambda: api.delete(WORKFLOWS, name),
        lambda: api.patch(WORKFLOWS, name, {}),
        lambda: list(api.log(name)),
        lambda: api.apply(MAP | {"metadata": {"name": name}}),
    ):
        with pytest.raises(Invalid):
            ask()
    assert stub.requests == []


@pytest.mark.parametrize("name", ["a?watch=1", "a b", "a#b", "a\r\nX: y", "ä", "a;b", "a\\b"])
def test_odd_names_are_one_step_of_the_path(api: Api, stub: Stub, name: str) -> None:
    with pytest.raises(NotHere):
        api.get(PODS, name)
    with pytest.raises(Invalid):
        api.create(WORKFLOWS, named(name))
    assert stub.requests[0].query == {}
    assert stub.requests[0].path.count("/") == 6


def test_logs(api: Api, stub: Stub) -> None:
    with pytest.raises(NotHere):
        list(api.log("p"))
    stub.put(PODS, named("p"))
    with pytest.raises(NotStarted, match="waiting to start"):
        list(api.log("p"))
    stub.write_log("p", "one")
    stub.write_log("p", "zwei ä")
    assert list(api.log("p")) == ["one", "zwei ä"]
    following = api.log("p", follow=True)
    assert [next(following), next(following)] == ["one", "zwei ä"]
    stub.write_log("p", "three")
    assert next(following) == "three"
    stub.end_log("p")
    assert list(following) == []
    stub.write_log("p", "other", container="wait")
    assert list(api.log("p", "wait")) == ["other"]


def test_a_long_line_comes_in_pieces(api: Api, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_LINE", 1000)
    stub.put(PODS, named("p"))
    stub.write_log("p", "x" * 2500)
    assert [len(piece) for piece in api.log("p")] == [1000, 1000, 500]


def test_a_silent_log_of_a_pod_that_has_gone_ends(api: Api, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOG_SILENCE", 0.05)
    stub.put(PODS, named("p"))
    stub.write_log("p", "one")
    following = api.log("p", follow=True)
    assert next(following) == "one"
    stub.remove(PODS, "p")
    with pytest.raises(NotHere):
        next(following)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, Refused, "log in again"),
        (403, Refused, "give this account the right"),
        (429, Away, "overloaded"),
        (500, Away, "the test wants 500"),
        (503, Away, "try again"),
        (302, Refused, "points elsewhere"),
        (400, Invalid, "must be corrected"),
        (415, Invalid, "must be corrected"),
        (418, Invalid, "the test wants 418"),
    ],
)
def test_every_status_is_an_error_of_ours(
    api: Api, stub: Stub, status: int, error: type[ClaraError], words: str
) -> None:
    stub.fail_next(status=status)
    with pytest.raises(error, match=words) as caught:
        api.create(WORKFLOWS, named("one"))
    assert str(caught.value).startswith(f"{stub.url}: POST /apis/argoproj.io/v1alpha1/namespaces/clara/workflows: ")
    if isinstance(caught.value, Away):
        assert caught.value.maybe_done == (status >= 500)
    assert stub.list(WORKFLOWS) == []


@pytest.mark.parametrize(
    ("missing", "error"),
    [
        ('clusterrole.rbac.authorization.k8s.io "system:discovery" not found', Away),
        ('role.rbac.authorization.k8s.io "clara-adapter" not found', Refused),
    ],
)
def test_a_server_that_does_not_know_its_roles_yet_has_just_started(
    api: Api, stub: Stub, missing: str, error: type[ClaraError]
) -> None:
    """Seen after a restart of Kubernetes 1.36; a binding to a role that was deleted reads much the same."""
    message = f'workflows is forbidden: User "x" cannot list resource "workflows": RBAC: [{missing}]'
    status = {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message}
    stub.answers["GET", "/apis/argoproj.io/v1alpha1/namespaces/clara/workflows"] = (403, status)
    with pytest.raises(error, match="forbidden"):
        api.list(WORKFLOWS)


def test_a_quota_is_no_missing_right(api: Api, stub: Stub) -> None:
    message = 'workflows "one" is forbidden: exceeded quota: clara, requested: count/workflows=1, used: 9, limited: 9'
    status = {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message}
    stub.answers["POST", "/apis/argoproj.io/v1alpha1/namespaces/clara/workflows"] = (403, status)
    with pytest.raises(TryAgain, match="exceeded quota.*raise the quota") as caught:
        api.create(WORKFLOWS, named("one"))
    assert not isinstance(caught.value, Away)


def test_rights_that_are_missing(api: Api, stub: Stub) -> None:
    stub.denied.add(("get", "pods/log"))
    with pytest.raises(Refused, match=r"pods/log is forbidden"):
        list(api.log("p"))
    stub.denied.add(("list", "workflows"))
    with pytest.raises(Refused):
        api.list(WORKFLOWS)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_wait_is_waited_for(api: Api, stub: Stub, status: int) -> None:
    stub.fail_next(2, status, retry_after="0")
    api.create(WORKFLOWS, named("one"))
    assert len(stub.requests) == 3


def test_but_not_beyond_the_deadline(api: Api, stub: Stub) -> None:
    stub.fail_next(1, 429, retry_after="3600")
    with pytest.raises(Away) as caught:
        api.create(WORKFLOWS, named("one"))
    assert not caught.value.maybe_done
    assert len(stub.requests) == 1


def test_a_lost_reply_of_a_create_is_said_and_not_repeated(api: Api, stub: Stub) -> None:
    stub.lose_reply_next()
    with pytest.raises(Away, match="may have been carried out") as caught:
        api.create(WORKFLOWS, named("one"))
    assert caught.value.maybe_done
    assert len(stub.requests) == 1
    assert api.get(WORKFLOWS, "one")


def test_a_lost_reply_of_what_does_no_harm_twice_goes_again(api: Api, stub: Stub) -> None:
    version = api.create(WORKFLOWS, named("one"))["metadata"]["resourceVersion"]
    stub.lose_reply_next()
    with pytest.raises(Conflict):  # it was done the first time
        api.patch(WORKFLOWS, "one", {"metadata": {"resourceVersion": version}, "spec": {"x": 1}})
    stub.lose_reply_next()
    api.apply(MAP)
    stub.lose_reply_next()
    api.delete(WORKFLOWS, "one")
    stub.lose_request_next()
    assert api.list(WORKFLOWS).items == ()
    stub.lose_request_next(2)
    with pytest.raises(Away) as caught:
        api.list(WORKFLOWS)
    assert not caught.value.maybe_done


def test_a_patch_without_version_does_not_go_again(api: Api, stub: Stub) -> None:
    stub.put(WORKFLOWS, named("one"))
    stub.lose_reply_next()
    with pytest.raises(Away) as caught:
        api.patch(WORKFLOWS, "one", {"spec": {"x": 1}})
    assert caught.value.maybe_done


def test_a_server_that_came_back_is_met_again_also_by_a_create(api: Api, stub: Stub) -> None:
    api.create(WORKFLOWS, named("one"))
    stub.down()
    with pytest.raises(Away, match="cannot be reached") as caught:
        api.create(WORKFLOWS, named("two"))
    assert not caught.value.maybe_done
    assert isinstance(caught.value, TryAgain)
    stub.up()
    api.create(WORKFLOWS, named("two"))  # the kept connection is dead, and known to be


def test_a_slow_server_meets_the_deadline(stub: Stub) -> None:
    stub.slow(30)
    with stub.api(timeout=0.2) as api:
        with pytest.raises(Away, match=r"no answer within 0\.2 s") as caught:
            api.create(WORKFLOWS, named("one"))
        assert caught.value.maybe_done
        with pytest.raises(Away) as caught:
            api.list(WORKFLOWS)
        assert not caught.value.maybe_done
        stub.down()  # ends the waiting


def test_connections_are_kept_and_not_shared(api: Api, stub: Stub) -> None:
    stub.put(WORKFLOWS, named("one"))
    ready = threading.Barrier(8)

    def work(_: int) -> None:
        ready.wait(10)
        for _ in range(20):
            assert api.get(WORKFLOWS, "one")["metadata"]["name"] == "one"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert stub.accepted <= 8


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clock_of_the_server_may_be_another(api: Api, stub: Stub, hours: int) -> None:
    stub.ahead = hours * 3600
    api.ask("GET", "/version")
    assert abs(api.within("other").now() - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(minutes=30)


@pytest.mark.parametrize("date", ["", "nonsense", "Fri, 99 Jan 2027 00:00:00 GMT"])
def test_a_server_that_does_not_say_the_time_has_ours(api: Api, stub: Stub, date: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unit.kubernetes.serving.Handler.date_time_string", lambda *_: date)
        api.ask("GET", "/version")
    assert abs(api.now() - datetime.now(UTC)) < timedelta(minutes=30)


def test_ask_and_a_review_of_rights(api: Api, stub: Stub) -> None:
    assert api.ask("GET", "/version")["gitVersion"] == "v1.36.3"
    stub.denied.add(("delete", "pods"))
    spec = {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "clara"}}
    answer = api.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": spec})
    assert answer["status"] == {"allowed": False}


def test_callbacks_see_every_change_and_may_change_more(api: Api, stub: Stub) -> None:
    def controller(type: str, kind: Kind, object: dict[str, object]) -> None:
        if kind == WORKFLOWS and "status" not in object:
            stub.change(WORKFLOWS, "one", {"status": {"phase": "Running"}})

    stub.on_change(controller)
    api.create(WORKFLOWS, named("one"))
    assert api.get(WORKFLOWS, "one")["status"] == {"phase": "Running"}


def test_errors_are_of_the_families_that_callers_know() -> None:
    assert issubclass(NotHere, NotFound)
    assert issubclass(NoSuchKind, NotHere)
    assert issubclass(Invalid, Refused)
    assert issubclass(Conflict, TryAgain)
