"""Where the store of a target is: what the settings say, else what the cluster's own objects say."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.kubernetes.stub import Stub

from clara_argo.errors import ClaraError, NotFound, Refused, TryAgain
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.kinds import CONFIG_MAPS, SECRETS
from clara_argo.model.target import Credentials, StoreAccess, Target
from clara_argo.runners import clusterstore
from clara_argo.runners.clusterstore import ClusterStore, Found

OURS = Credentials(access_key="ours", secret_key="ours")
THEIRS = Credentials(access_key="clara", secret_key="hidden")
REPOSITORY = """\
archiveLogs: true
s3:
  endpoint: s3.clara.svc:8333
  bucket: clara
  insecure: true
  region: eu-1
  accessKeySecret: {name: clara-s3, key: accesskey}
  secretKeySecret: {name: clara-s3, key: secretkey}
"""


def secret(**values: str) -> dict[str, object]:
    return {
        "metadata": {"name": "clara-s3"},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as stub:
        stub.put(SECRETS, secret(accesskey="clara", secretkey="hidden", ca="CERTIFICATE"))
        yield stub


def repository(stub: Stub, text: str) -> None:
    stub.put(CONFIG_MAPS, {"metadata": {"name": "artifact-repositories"}, "data": {"clara-v1": text}})


def find(api: Api, credentials: Credentials | None = None, **own: object) -> Found:
    target = Target(name="hospital", store=StoreAccess(**own))  # type: ignore[arg-type]
    return clusterstore.find(api, target, lambda access: credentials)


def test_what_is_open_is_read_from_the_cluster(stub: Stub, api: Api) -> None:
    repository(stub, REPOSITORY)
    inside = StoreAccess(endpoint="s3.clara.svc:8333", bucket="clara", secure=False, region="eu-1")
    assert find(api) == Found(access=inside, credentials=THEIRS, inside=True)
    forwarded = find(api, endpoint="127.0.0.1:9000")
    assert (forwarded.access.endpoint, forwarded.access.bucket, forwarded.access.secure) == (
        "127.0.0.1:9000", "clara", False,
    )  # fmt: skip
    assert forwarded.credentials == THEIRS and not forwarded.inside


def test_a_store_that_is_named_asks_for_no_rights(stub: Stub, api: Api) -> None:
    own = find(api, OURS, endpoint="s3.example:443", bucket="b")
    assert own == Found(access=StoreAccess(endpoint="s3.example:443", bucket="b", secure=True), credentials=OURS)
    assert find(api, OURS, endpoint="localhost:8333", bucket="b").access.secure is False
    assert find(api, OURS, endpoint="[::1]:8333", bucket="b").access.secure is False
    assert find(api, OURS, endpoint="s3.example", bucket="b", secure=False).access.secure is False
    assert not stub.requests


def test_credentials_of_ours_need_no_secret(stub: Stub, api: Api) -> None:
    repository(stub, REPOSITORY)
    stub.denied = {("get", "secrets")}
    assert find(api, OURS).credentials == OURS


def test_certificates_of_the_cluster_become_a_file(
    stub: Stub, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLARA_HOME", str(tmp_path))
    repository(stub, REPOSITORY.replace("insecure: true", "caSecret: {name: clara-s3, key: ca}"))
    found = find(api)
    assert found.access.secure and Path(found.access.authority).read_text() == "CERTIFICATE"
    assert find(api).access.authority == found.access.authority


@pytest.mark.parametrize("denied", ["configmaps", "secrets"])
def test_missing_rights_name_both_ways(stub: Stub, api: Api, denied: str) -> None:
    repository(stub, REPOSITORY)
    stub.denied = {("get", denied)}
    with pytest.raises(Refused) as caught:
        find(api)
    said = str(caught.value)
    assert denied in said and "let this account read" in said and "'store' of 'hospital'" in said


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("", NotFound, "no such key"),
        ("s3: [", Refused, "clara-v1"),
        ("gcs: {}", Refused, "no S3 endpoint"),
        (REPOSITORY.replace("accesskey}", "other}"), NotFound, "has no key 'other'"),
        (REPOSITORY.replace("name: clara-s3", "name: away"), NotFound, "away"),
        (REPOSITORY.replace("  accessKeySecret: {name: clara-s3, key: accesskey}\n", ""), Refused, "no Secrets"),
    ],
)
def test_what_cannot_be_used_is_said(stub: Stub, api: Api, text: str, kind: type[ClaraError], said: str) -> None:
    repository(stub, text)
    with pytest.raises(kind) as caught:
        find(api)
    assert said in str(caught.value) and "CLARA_S3_ENDPOINT" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_cluster_without_our_objects(api: Api) -> None:
    with pytest.raises(NotFound, match="artifact-repositories"):
        find(api)


def test_an_address_of_the_cluster_is_told_at_once(stub: Stub, api: Api) -> None:
    repository(stub, REPOSITORY.replace("s3.clara.svc:8333", "store.svc.invalid:8334"))
    store = ClusterStore(api, Target(), lambda access: None)
    with pytest.raises(Refused, match="-n clara port-forward service/store 8333:8334"):
        store.list()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers, nobody else takes it
        access = StoreAccess(endpoint=f"127.0.0.1:{closed.getsockname()[1]}", bucket="b")
        with pytest.raises(TryAgain, match="not reached from here"):
            clusterstore.reach(Found(access=access, credentials=OURS, inside=True), Target())


def test_nothing_is_asked_before_the_first_call(stub: Stub, api: Api) -> None:
    ClusterStore(api, Target(), lambda access: None)
    assert not stub.requests
