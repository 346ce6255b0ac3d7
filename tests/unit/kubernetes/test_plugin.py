from __future__ import annotations

import json
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from unit.kubernetes.certificates import Certificates
from unit.kubernetes.stub import Stub
from unit.kubernetes.test_access import config, encoded, write

from clara_argo.errors import NotInstalled, Refused
from clara_argo.kubernetes import plugin
from clara_argo.kubernetes.access import find
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.credentials import Credentials
from clara_argo.kubernetes.errors import Away
from clara_argo.kubernetes.kinds import PODS

V1 = "client.authentication.k8s.io/v1"
# Counts its runs in a file beside it, and prints what `answer` holds; {n} = the number of the run.
PROGRAM = """\
#!{python}
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
with open(here / "runs", "a") as runs:
    runs.write(json.dumps([sys.argv[1:], os.environ.get("MINE"), os.environ["KUBERNETES_EXEC_INFO"], sys.stdin.read()]))
    runs.write("\\n")
print((here / "answer").read_text().replace("{{n}}", str(len((here / "runs").read_text().splitlines()))))
"""


class Program:
    def __init__(self, folder: Path, source: str = PROGRAM) -> None:
        self.folder = folder
        self.path = folder / "login"
        write(self.path, source.format(python=sys.executable))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)

    def answers(self, version: str = V1, **status: Any) -> None:
        write(self.folder / "answer", {"apiVersion": version, "kind": "ExecCredential", "status": status})

    @property
    def runs(self) -> list[Any]:
        return [json.loads(line) for line in (self.folder / "runs").read_text().splitlines()]

    def credentials(self, cluster: dict[str, Any] | None = None, **more: Any) -> Credentials:
        asked = {"apiVersion": V1, "command": "./login", "args": None, "env": None, "interactiveMode": "Never"} | more
        return find(write(self.folder / "config", config(cluster, {"exec": asked}))).credentials


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_it_is_asked_once_and_told_what_the_file_says(program: Program) -> None:
    program.answers(token="t{n}")
    credentials = program.credentials(
        {"server": "https://h:1", "tls-server-name": "name"},
        args=["get", "token"], env=[{"name": "MINE", "value": "yes"}], provideClusterInfo=True,
    )  # fmt: skip
    with ThreadPoolExecutor(4) as pool:
        headers = {future.result().authorisation for future in [pool.submit(credentials.now) for _ in range(8)]}
    assert headers == {"Bearer t1"}
    ((arguments, mine, info, typed),) = program.runs
    assert (arguments, mine, typed) == (["get", "token"], "yes", "")
    assert json.loads(info) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": "https://h:1", "tls-server-name": "name"}},
    }


@pytest.mark.parametrize(
    ("expires", "again"),
    [("2099-01-01T00:00:00Z", False), ("2020-01-01T00:00:00Z", True), ("2020-01-01T00:00:00.123456789+02:00", True)],
)
def test_it_is_asked_again_when_its_answer_expires(program: Program, expires: str, again: bool) -> None:
    program.answers(token="t{n}", expirationTimestamp=expires)
    credentials = program.credentials()
    credentials.now()
    assert credentials.now().authorisation == ("Bearer t2" if again else "Bearer t1")


def test_it_is_asked_again_after_401(program: Program, issued: Certificates) -> None:
    program.answers(token="t{n}")
    with Stub(issued.server()) as stub:
        stub.token = "t2"
        cluster = {"server": stub.url, "certificate-authority": str(issued.authority)}
        program.credentials(cluster)
        with Api(find(str(program.folder / "config"))) as api:
            assert api.list(PODS).items == ()
            assert api.list(PODS).items == ()
    assert len(program.runs) == 2
    assert len(stub.requests) == 3


def test_it_may_give_a_certificate(program: Program, issued: Certificates) -> None:
    certificate, key = issued.certificate("client").read_text(), issued.key("client").read_text()
    program.answers(clientCertificateData=certificate, clientKeyData=key)
    with Stub(issued.server(ask=True)) as stub:
        program.credentials({"server": stub.url, "certificate-authority-data": encoded(issued.authority)})
        with Api(find(str(program.folder / "config"))) as api:
            assert api.list(PODS).items == ()
            assert api.list(PODS).items == ()
    assert len(program.runs) == 1


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("#!/bin/sh\necho 'Error: session over' >&2; echo more >&2; exit 3", Refused,
         "failed with 3: Error: session over; log in again"),
        ("#!/bin/sh\nexit 1", Refused, "it said nothing"),
        ("#!/bin/sh\necho hello", Refused, "not JSON"),
        ("#!/bin/sh\necho '[]'", Refused, "no ExecCredential"),
        ("#!/nowhere/at/all", Refused, "cannot be started"),
    ],
)  # fmt: skip
def test_a_plug_in_that_fails(tmp_path: Path, source: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        Program(tmp_path, source).credentials().now()
    assert words in str(caught.value)
    assert "'./login'" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "neither a token nor a certificate"),
        ({"clientKeyData": "x"}, "neither a token nor a certificate"),
        ({"token": 1}, "its token is not a text"),
        ({"token": "a\nb"}, "holds no token"),
        ({"token": "x", "expirationTimestamp": "tomorrow"}, "is no time"),
        ({"clientCertificateData": "x", "clientKeyData": "x"}, "do not work"),
    ],
)
def test_answers_that_make_no_sense(program: Program, status: dict[str, Any], words: str) -> None:
    program.answers(**status)
    with pytest.raises(Refused, match=words):
        program.credentials().now()


def test_another_version_is_said(program: Program) -> None:
    program.answers("client.authentication.k8s.io/v1beta1", token="x")
    with pytest.raises(Refused, match="the kubeconfig says"):
        program.credentials().now()
    assert program.credentials(apiVersion="client.authentication.k8s.io/v1beta1").now().authorisation == "Bearer x"


def test_a_plug_in_that_is_not_installed_says_how(program: Program) -> None:
    with pytest.raises(NotInstalled, match="Run our installer"):
        program.credentials(command="no-such-login", installHint="Run\n  our installer").now()


def test_a_plug_in_that_does_not_end_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "PATIENCE", 0.3)
    with pytest.raises(Away, match="did not end within"):
        Program(tmp_path, "#!/bin/sh\nsleep 600 & sleep 600").credentials().now()
