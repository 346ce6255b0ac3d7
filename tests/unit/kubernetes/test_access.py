from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.kubernetes.certificates import Certificates
from unit.kubernetes.stub import Stub

from clara_argo.errors import ClaraError, DefinitionError, NotFound, Refused
from clara_argo.kubernetes import access as accesses
from clara_argo.kubernetes import kubeconfig
from clara_argo.kubernetes.access import address, find
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.errors import Away
from clara_argo.kubernetes.kinds import PODS


def config(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"} | (cluster or {})}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    } | more


def write(path: Path, content: dict[str, Any] | str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({}, ""),
        ({"token": "abc"}, "Bearer abc"),
        ({"tokenFile": "token"}, "Bearer from-file"),
        ({"token": "abc", "tokenFile": "token"}, "Bearer from-file"),
        ({"username": "me", "password": "pä:ss"}, "Basic bWU6cMOkOnNz"),
        ({"token": "abc", "username": "me", "password": "x"}, "Bearer abc"),
    ],
)
def test_who_we_are(tmp_path: Path, user: dict[str, str], header: str) -> None:
    write(tmp_path / "token", "from-file\n")
    found = find(write(tmp_path / "config", config(user=user)))
    assert found.credentials.now().authorisation == header
    assert found.credentials.now().tls is not None
    assert (found.namespace, str(found.server)) == ("default", "https://127.0.0.1:6443")


def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    write(token, "one")
    credentials = find(write(tmp_path / "config", config(user={"tokenFile": str(token)}))).credentials
    assert credentials.now().authorisation == "Bearer one"
    assert not credentials.refused()
    write(token, "two")
    assert credentials.refused()
    assert credentials.now().authorisation == "Bearer two"
    token.unlink()
    with pytest.raises(Refused, match="token cannot be read"):
        credentials.now()


def test_without_tls_nobody_learns_who_we_are(tmp_path: Path) -> None:
    found = find(write(tmp_path / "config", config({"server": "http://127.0.0.1:8080"}, {"token": "abc"})))
    assert found.credentials.now() == (None, "")


@pytest.mark.parametrize(
    ("cluster", "user", "words"),
    [
        ({"proxy-url": "http://proxy"}, {}, "'proxy-url' is not supported"),
        ({}, {"auth-provider": {"name": "gcp"}}, "'auth-provider' is not supported"),
        ({}, {"as": "admin"}, "'as' is not supported"),
        ({"server": "localhost:6443"}, {}, "write https://HOST:PORT"),
        ({"server": ""}, {}, "write https://HOST:PORT"),
        ({"server": "ftp://x"}, {}, "write https://HOST:PORT"),
        ({"server": "https://x:99999"}, {}, "write https://HOST:PORT"),
        ({"server": {"x": "y"}}, {}, "'server' must be a text"),
        ({"certificate-authority-data": "!!"}, {}, "'certificate-authority-data' is not base64"),
        ({"certificate-authority-data": "aGFsbG8="}, {}, "authority is not PEM"),
        ({"certificate-authority": "absent.pem"}, {}, "absent.pem cannot be read"),
        ({"insecure-skip-tls-verify": "perhaps"}, {}, "write true or false"),
        ({"insecure-skip-tls-verify": True, "certificate-authority-data": "aGFsbG8="}, {}, "keep one of the two"),
        ({}, {"client-certificate-data": "aGFsbG8="}, "needs its key"),
        ({}, {"client-certificate-data": "aGFsbG8=", "client-key-data": "aGFsbG8="}, "do not work"),
        ({}, {"tokenFile": "."}, "cannot be read"),
        ({}, {"token": "a b"}, "holds no token"),
        ({}, {"username": "a:b", "password": "c"}, "holds a ':'"),
        ({}, {"exec": "x"}, "must be a mapping"),
        ({}, {"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x"}}, "is not spoken"),
        ({}, {"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}, "names no command"),
        ({}, {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "x", "interactiveMode": "Always"}},
         "wants to ask at a terminal"),
        ({}, {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "x", "args": "y"}},
         "a list of texts is expected"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], words: str) -> None:
    path = write(tmp_path / "config", config(cluster, user))
    with pytest.raises(Refused) as caught:
        find(path).credentials.now()
    assert words in str(caught.value)
    assert path in str(caught.value) or "absent" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("a: [", DefinitionError, "config:2:1: error"),
        ("just words", DefinitionError, "no kubeconfig"),
        ("[]", DefinitionError, "no kubeconfig"),
        ("", NotFound, "no current-context"),
        ("clusters: null\ncurrent-context: x", NotFound, "there is no context 'x'"),
        ("clusters: {}\ncurrent-context: x", Refused, "a list of mappings"),
        ("contexts: [{name: x, context: 1}]", DefinitionError, "must be a mapping"),
        ("contexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x", NotFound, "there is no cluster 'c'"),
        (b"\xff\xfe\x00", DefinitionError, "UTF-16"),
        (b"a: " + b"x" * (1 << 20), DefinitionError, "larger than 1 MiB"),
    ],
)
def test_what_is_no_kubeconfig(tmp_path: Path, content: str | bytes, error: type[ClaraError], words: str) -> None:
    with pytest.raises(error) as caught:
        find(write(tmp_path / "config", content))
    assert words in str(caught.value)


def test_a_context_is_chosen_by_name(tmp_path: Path) -> None:
    path = write(
        tmp_path / "config",
        config(contexts=[
            {"name": "x", "context": {"cluster": "c", "user": "u"}},
            {"name": "hospital", "context": {"cluster": "c", "user": "u", "namespace": "clara"}},
        ]),
    )  # fmt: skip
    assert find(path).namespace == "default"
    assert find(path, "hospital").namespace == "clara"
    with pytest.raises(NotFound, match="did you mean 'hospital'"):
        find(path, "hospitl")


def test_several_files_are_merged_as_kubectl_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "one" / "config", {
        "clusters": [{"name": "c", "cluster": {"server": "https://first:1", "certificate-authority": "ca"}}],
        "users": [{"name": "u", "user": {"tokenFile": "token"}}],
    })  # fmt: skip
    write(tmp_path / "one" / "token", "of-one")
    write(tmp_path / "two" / "config", config({"server": "https://second:2"}, {"token": "of-two"}))
    more = {"name": "y", "context": {"cluster": "c", "user": "u", "namespace": "third"}}
    write(tmp_path / "three" / "config", {"contexts": [more], "current-context": "y"})
    paths = [tmp_path / name / "config" for name in ("one", "absent", "two", "three")]
    choice = kubeconfig.read(paths, required=False).choose()
    assert (choice.server, choice.user.folder, choice.namespace) == ("https://first:1", tmp_path / "one", "default")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, paths)))
    if shutil.which("kubectl"):
        seen = json.loads(subprocess.check_output(["kubectl", "config", "view", "--minify", "--raw", "-o", "json"]))
        assert seen["clusters"][0]["cluster"]["server"] == choice.server
        assert "token" not in seen["users"][0]["user"]
    with pytest.raises(Refused, match="ca cannot be read"):
        find()


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match=r"\.kube/config is not there"):
        find()
    home = Path(os.environ["HOME"]) / ".kube" / "config"
    write(home, config({"server": "https://home:1"}))
    assert find().server.host == "home"
    monkeypatch.setenv("KUBECONFIG", write(tmp_path / "set", config({"server": "https://set:1"})))
    assert find().server.host == "set"
    assert find(write(tmp_path / "named", config({"server": "https://named:1"}))).server.host == "named"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(NotFound, match="absent is not there"):
        find()
    with pytest.raises(NotFound, match="no such file"):
        find(str(tmp_path / "absent"))


def test_the_pods_own_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, issued: Certificates) -> None:
    monkeypatch.setattr(accesses, "POD", tmp_path)
    shutil.copy(issued.authority, tmp_path / "ca.crt")
    write(tmp_path / "token", "of-the-pod")
    write(tmp_path / "namespace", "clara")
    with Stub(issued.server()) as stub:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(stub.port))
        stub.token = "of-the-pod"
        found = find()
        with Api(found) as api:
            assert api.list(PODS).items == ()
            stub.token = "renewed"
            write(tmp_path / "token", "renewed")
            assert api.list(PODS).items == ()
            assert stub.requests[-1].path == "/api/v1/namespaces/clara/pods"
    with pytest.raises(NotFound, match="only the pod's own account"):
        find(context="x")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    assert str(find().server) == f"https://[fd00::1]:{stub.port}"


@pytest.mark.parametrize("as_files", [True, False])
def test_a_client_certificate_opens_the_door(tmp_path: Path, issued: Certificates, as_files: bool) -> None:
    with Stub(issued.server(ask=True)) as stub:
        server = {"server": stub.url}
        if as_files:
            shutil.copytree(issued.folder, tmp_path / "pki")
            cluster = server | {"certificate-authority": "pki/ca.pem"}
            user = {"client-certificate": "pki/client.pem", "client-key": "pki/client.key"}
        else:
            cluster = server | {"certificate-authority-data": encoded(issued.authority)}
            user = {
                "client-certificate-data": encoded(issued.certificate("client")),
                "client-key-data": encoded(issued.key("client")),
            }
        with Api(find(write(tmp_path / "config", config(cluster, user)))) as api:
            assert api.list(PODS).items == ()
        with (
            Api(find(write(tmp_path / "config", config(cluster, {"token": "x"})))) as api,
            pytest.raises(Refused) as no,
        ):
            api.list(PODS)
        assert "certificate required" in str(no.value)


def test_whose_server_is_believed(tmp_path: Path, issued: Certificates) -> None:
    data = encoded(issued.authority)
    with Stub(issued.server()) as stub:

        def ask(**cluster: Any) -> None:
            path = write(tmp_path / "config", config({"server": stub.url} | cluster))
            with Api(find(path), timeout=5) as api:
                api.list(PODS)

        ask(**{"certificate-authority-data": data})
        ask(**{"certificate-authority-data": data, "tls-server-name": "api.example"})
        ask(**{"insecure-skip-tls-verify": True})
        with pytest.raises(Refused, match="certificate is not trusted"):
            ask()
        with pytest.raises(Refused, match="certificate is not trusted .*another.example"):
            ask(**{"certificate-authority-data": data, "tls-server-name": "another.example"})
    with Stub() as plain, pytest.raises((Refused, Away), match="TLS|lost|reached"):
        path = write(tmp_path / "config", config({"server": plain.url.replace("http:", "https:")}))
        Api(find(path), timeout=2).list(PODS)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://example.org", "https://example.org:443"),
        ("http://h", "http://h:80"),
        ("https://[::1]:6443/", "https://[::1]:6443"),
        ("https://rancher/k8s/clusters/c-1/", "https://rancher:443/k8s/clusters/c-1"),
    ],
)
def test_addresses(url: str, text: str) -> None:
    assert str(address(url, "here")) == text


TEXT = st.one_of(
    st.sampled_from(["", "null", "c", "u", "x", "true", "https://h:1", "http://h", "aGk=", "."]), st.text()
)
VALUE = st.recursive(TEXT, lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXT, inner)), max_leaves=5)
FIELDS = st.sampled_from(
    ["server", "certificate-authority", "certificate-authority-data", "tls-server-name", "insecure-skip-tls-verify",
     "token", "tokenFile", "client-certificate", "client-key-data", "username", "password", "exec", "namespace",
     "cluster", "user", "as", "proxy-url", "name", "apiVersion", "command", "args", "env"]
)  # fmt: skip
ENTRY = st.one_of(VALUE, st.dictionaries(FIELDS, VALUE))


@st.composite
def configs(draw: st.DrawFn) -> bytes:
    cheap = {"insecure-skip-tls-verify": True}  # to load the system's authorities is slow
    whole = config(cheap | draw(st.dictionaries(FIELDS, ENTRY)), draw(st.dictionaries(FIELDS, ENTRY)))
    if draw(st.booleans()):
        whole |= draw(st.dictionaries(st.sampled_from(list(whole)), ENTRY))
    return json.dumps(whole).encode()


@settings(
    max_examples=40 if os.environ.get("CLARA_LONG") else 12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.one_of(st.binary(), st.text(st.characters(codec="utf-8")).map(str.encode), configs()))
def test_any_kubeconfig_is_read_or_refused_by_us(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    try:
        found = find(str(path))
    except ClaraError as error:
        assert str(error)
    else:
        assert found.server.host
