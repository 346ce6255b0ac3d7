"""Settings of targets, credentials, the environment, and which runner a name opens."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clara_argo.errors import DefinitionError, Finding, NotFound, UsageError
from clara_argo.formats import targets as settings
from clara_argo.model.target import Credentials, StoreAccess, Target
from clara_argo.runners import targets
from clara_argo.runners.local import LocalRunner

FULL = """\
hospital:
  kubeconfig: hospital.kubeconfig
  context: imaging
  namespace: radiology
  registry: registry.example:5000/team
  pull-secrets: [pull]
  fused: true
  pending: 60
  store:
    endpoint: s3.example:8333
    bucket: clara
    secure: true
    region: eu-1
    credentials: /etc/clara/s3.yaml
    authority: ~/ca.pem
argo:
  namespace: mine
"""


def findings_of(text: str) -> tuple[Finding, ...]:
    try:
        settings.read(text, "targets.yaml")
    except DefinitionError as error:
        return error.findings
    return ()


def test_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    read = settings.read(FULL, "targets.yaml", Path("/settings"))
    assert read["argo"] == Target(namespace="mine")
    assert read["hospital"] == Target(
        name="hospital",
        kubeconfig="/settings/hospital.kubeconfig",
        context="imaging",
        namespace="radiology",
        registry="registry.example:5000/team",
        pull_secrets=("pull",),
        fused=True,
        pending=60,
        store=StoreAccess(
            endpoint="s3.example:8333",
            bucket="clara",
            secure=True,
            region="eu-1",
            credentials="/etc/clara/s3.yaml",
            authority=str(tmp_path / "ca.pem"),
        ),
    )


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("local: {}", "1:1", "'local' is this machine"),
        ("'a b': {}", "1:1", "cannot be a target's name"),
        ("x:\n  namspace: y", "2:3", "did you mean 'namespace'?"),
        ("x:\n  store: {bukket: y}", "2:11", "did you mean 'bucket'?"),
        ("x:\n  namespace: My_Space", "2:14", "lower-case letters"),
        ("x:\n  pending: soon", "2:12", "a whole number from 1"),
        ("x:\n  fused: perhaps", "2:10", "must be true or false"),
        ("x:\n  store: {endpoint: 'https://s3.example/'}", "2:21", "write s3.example, and secure: true"),
        ("x:\n  store: {endpoint: 's3:99999'}", "2:21", "write host:port"),
        ("x:\n  store: {bucket: No}", "2:19", "3 to 63"),
        ("x:\n  store: s3.example", "2:10", "must be a mapping"),
        ("x:\n  pull-secrets: pull", "2:17", "must be a list"),
        ("x:\n  kubeconfig: \"a\\tb\"", "2:15", "cannot be printed"),
        ("- x", "1:1", "must be a mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text: str, where: str, said: str) -> None:
    found = findings_of(text)
    assert [f"targets.yaml:{where}" in str(one) and said in str(one) for one in found] == [True], found


@given(st.text() | st.binary(max_size=200))
def test_whatever_the_file_holds_it_is_only_wrong(text: str | bytes) -> None:
    for read in (settings.read, settings.credentials):
        try:
            read(text)
        except DefinitionError as error:
            assert error.findings


def test_credentials_are_read_and_not_shown() -> None:
    read = settings.credentials("access-key: clara\nsecret-key: hidden\n")
    assert read == Credentials(access_key="clara", secret_key="hidden")
    assert "hidden" not in repr(read)
    for text in ("access-key: clara\nsecret-kye: hidden", "hidden", "[hidden]", "access-key: [hidden]\nsecret-key: a"):
        with pytest.raises(DefinitionError) as caught:
            settings.credentials(text, "s3.yaml")
        assert "s3.yaml:" in str(caught.value) and "hidden" not in str(caught.value)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the settings; the environment says nothing."""
    for variable in targets.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("CLARA_HOME", str(tmp_path / "home"))
    (tmp_path / "clara-argo").mkdir()
    return tmp_path / "clara-argo"


def test_argo_is_there_without_settings(config: Path) -> None:
    assert targets.find("argo") == Target()
    (config / "targets.yaml").write_text("hospital: {namespace: imaging}")
    assert targets.find("argo") == Target()
    assert targets.find("hospital").namespace == "imaging"


@pytest.mark.parametrize("text", ["", "# hospital: {}\n"])
def test_settings_that_say_nothing(config: Path, text: str) -> None:
    (config / "targets.yaml").write_text(text)
    assert targets.known() == {"argo": Target()}


def test_an_unknown_target_names_the_nearest(config: Path) -> None:
    (config / "targets.yaml").write_text("hospital: {}")
    with pytest.raises(NotFound, match=r"did you mean 'hospital'\? .*targets\.yaml"):
        targets.find("hopsital")
    with pytest.raises(UsageError, match="this machine"):
        targets.find("local")


def test_the_environment_goes_before_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config / "targets.yaml").write_text("argo: {namespace: a, store: {endpoint: 'old:1', bucket: old, region: r}}")
    for variable, value in (
        ("CLARA_NAMESPACE", "b"), ("CLARA_S3_ENDPOINT", "new:2"), ("CLARA_S3_BUCKET", "new"), ("CLARA_S3_SECURE", "no"),
        ("CLARA_S3_REGION", "s"),
    ):  # fmt: skip
        monkeypatch.setenv(variable, value)
    store = StoreAccess(endpoint="new:2", bucket="new", secure=False, region="s")
    assert targets.find("argo") == Target(namespace="b", store=store)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CLARA_NAMESPACE", "A_B"), ("CLARA_S3_ENDPOINT", "http://x"), ("CLARA_S3_BUCKET", "B"),
        ("CLARA_S3_SECURE", "maybe"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(UsageError, match=variable):
        targets.find("argo", {variable: value, "HOME": "/nowhere"})


def test_credentials_of_the_environment_or_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s3.yaml"
    file.write_text("access-key: clara\nsecret-key: hidden\n")
    file.chmod(0o600)
    access = StoreAccess(credentials=str(file))
    assert targets.credentials(access, {}) == Credentials(access_key="clara", secret_key="hidden")
    assert not caplog.records
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        targets.credentials(access, {})
    assert f"chmod 600 {file}" in caplog.text and "hidden" not in caplog.text
    given = {"CLARA_S3_ACCESS_KEY": "a", "CLARA_S3_SECRET_KEY": "b"}
    assert targets.credentials(access, given) == Credentials(access_key="a", secret_key="b")
    with pytest.raises(UsageError, match="CLARA_S3_SECRET_KEY is not set"):
        targets.credentials(access, {"CLARA_S3_ACCESS_KEY": "a"})
    assert targets.credentials(StoreAccess(), {}) is None
    with pytest.raises(NotFound, match="nothing.yaml"):
        targets.credentials(StoreAccess(credentials=str(tmp_path / "nothing.yaml")), {})


def test_a_name_opens_its_runner(config: Path, tmp_path: Path) -> None:
    with targets.open_runner(home=tmp_path / "home", jobs=1) as runner:
        assert isinstance(runner, LocalRunner)
    with pytest.raises(UsageError, match="--jobs is for this machine"), targets.open_runner("argo", jobs=2):
        pass
    with pytest.raises(NotFound, match="no target 'nowhere'"), targets.open_runner("nowhere"):
        pass
