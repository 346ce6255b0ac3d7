"""What lies in a bucket and belongs to no job any more; a real S3 server, Workflows of a stub."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from unit.kubernetes.stub import Stub
from weed import Weed

from clara_argo.artifacts import Stored
from clara_argo.artifacts.s3 import S3Store
from clara_argo.cli import main
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.kinds import WORKFLOWS
from clara_argo.platform import orphans

NOW = datetime.now(UTC)
WEEK, JOB, PAYLOAD = timedelta(days=7), "1" * 32, "2" * 32


class Bucket:
    def __init__(self, *names: str, days: float = 8) -> None:
        self.objects = [Stored(name=name, size=10, modified=NOW - timedelta(days=days)) for name in names]

    def stored(self, prefix: str = "") -> list[Stored]:
        return [one for one in self.objects if one.name.startswith(prefix)]

    def delete_below(self, prefix: str) -> None:
        self.objects = [one for one in self.objects if not one.name.startswith(f"{prefix}/")]


def workflow(job: str = JOB, payload: str = PAYLOAD) -> dict[str, object]:
    parameters = [{"name": "job", "value": job}, {"name": "payload", "value": payload}]
    return {"metadata": {"name": f"by-hand-{job[:4]}"}, "spec": {"arguments": {"parameters": parameters}}}


def found(api: Api, bucket: Bucket) -> list[tuple[str, int]]:
    return [(one.prefix, one.size) for one in orphans.find(api, bucket, WEEK)]


def test_what_no_workflow_names_is_found_and_removed(stub: Stub, api: Api) -> None:
    stub.put(WORKFLOWS, workflow())
    used = (f"jobs/{JOB}/result.tgz", f"payloads/{PAYLOAD}/input.tgz")
    others = ("doctor/x.tgz", "jobs/readme", "mine/jobs/1/x")
    bucket = Bucket(*used, *others, "jobs/3/one/output.tgz", "jobs/3/logs/pod/main.log", "payloads/4/input.tgz")
    assert found(api, bucket) == [("jobs/3", 20), ("payloads/4", 10)]
    gone = list(orphans.remove(bucket, orphans.find(api, bucket, WEEK)))
    assert [one.prefix for one in gone] == ["jobs/3", "payloads/4"]
    assert {one.name for one in bucket.objects} == {*used, *others}


def test_what_somebody_has_written_to_lately_stays(api: Api) -> None:
    bucket = Bucket("jobs/3/one/output.tgz", "jobs/3/two/output.tgz")
    bucket.objects[1] = Stored(name="jobs/3/two/output.tgz", size=10, modified=NOW - timedelta(days=6))
    assert found(api, bucket) == []


@pytest.fixture
def sweep(stub: Stub, weed: Weed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The words of the command on a cluster that has no job, and a bucket of a minute ago."""
    values = {"ENDPOINT": weed.endpoint, "BUCKET": weed.bucket, "ACCESS_KEY": weed.access_key,
              "SECRET_KEY": weed.secret_key, "SECURE": "false"}  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"CLARA_S3_{name}", value)
    config = {
        "current-context": "stub",
        "clusters": [{"name": "stub", "cluster": {"server": stub.url}}],
        "contexts": [{"name": "stub", "context": {"cluster": "stub"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    store = S3Store(weed.endpoint, weed.bucket, weed.access_key, weed.secret_key)
    for top in orphans.OURS:
        store.delete_below(top)
    weed.client().put_object(weed.bucket, "payloads/5/input.tgz", io.BytesIO(b"study"), 5)
    yield ["cluster", "sweep", "-o", "json"]


def run(*words: str) -> Result:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return done


def test_the_command_lists_and_removes_only_when_told(
    sweep: list[str], weed: Weed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(run(*sweep).stdout)["orphans"] == []
    monkeypatch.setattr(orphans, "datetime", Later)
    listed = json.loads(run(*sweep).stdout)
    assert [(one["prefix"], one["bytes"]) for one in listed["orphans"]] == [("payloads/5", 5)]
    assert not listed["removed"] and weed.client().stat_object(weed.bucket, "payloads/5/input.tgz").size == 5
    assert "say --yes" in run("cluster", "sweep").stderr
    assert "payloads/5" in run("cluster", "sweep", "--yes").stdout
    assert list(weed.client().list_objects(weed.bucket, "payloads/", recursive=True)) == []
    assert "nothing to remove" in run("cluster", "sweep").stderr


class Later(datetime):
    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + timedelta(days=8)
