"""The NGC API key: taken where it is offered, kept for its owner alone, never shown."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.sdk.typed import Done, typed

Type = Callable[..., Done]
KEY = "nvapi-AbC_123"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("NGC_API_KEY", raising=False)
    return tmp_path / "config" / "clara-argo" / "ngc-api-key"


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str]) -> Type:
    return typed(capsys)


def check(kept: Path, said: Done) -> None:
    assert kept.read_text() == f"{KEY}\n" and kept.stat().st_mode & 0o777 == 0o600
    config = kept.with_name("ngc-docker-config.json")
    assert sorted(kept.parent.iterdir()) == [kept, config] and config.stat().st_mode & 0o777 == 0o600
    login = json.loads(config.read_text())["auths"]["nvcr.io"]
    assert (login["username"], login["password"]) == ("$oauthtoken", KEY)
    assert base64.b64decode(login["auth"]).decode() == f"$oauthtoken:{KEY}"
    assert str(kept) in said.out and str(config) in said.out and KEY not in said.out + said.err


def test_from_the_environment(kept: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGC_API_KEY", KEY)
    check(kept, type_("clara-wf set_ngc_api_key"))


def test_from_a_file_and_before_the_environment(
    kept: Path, type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGC_API_KEY", "other")
    (tmp_path / "key").write_text(f"{KEY}\r\n")
    check(kept, type_(f"clara-wf setkey --file {tmp_path}/key"))
    kept.chmod(0o644)
    check(kept, type_(f"clara-wf setkey --file {tmp_path}/key"))


@pytest.mark.parametrize("data", [KEY.encode(), b"\xef\xbb\xbf%s\r\n" % KEY.encode()])
def test_from_a_pipe(kept: Path, type_: Type, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    check(kept, type_("clara-wf setkey --file -"))


def test_from_a_hidden_prompt(kept: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    asked = []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda prompt: asked.append(prompt) or KEY)
    check(kept, type_("clara-wf setkey"))
    assert asked


@pytest.mark.parametrize("text", ["", "two words", "a\nb", "ä", "x" * 1025])
def test_what_is_no_key(kept: Path, type_: Type, tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    said = type_(f"clara-wf setkey --file {tmp_path}/key", 64)
    assert "no key" in said.err and not kept.exists()


def test_nowhere_to_take_it_from(kept: Path, type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert "--file" in type_("clara-wf setkey", 64).err
    assert "no such file" in type_(f"clara-wf setkey --file {tmp_path}/none", 6).err
    assert "cannot be read" in type_(f"clara-wf setkey --file {tmp_path}", 64).err


def test_no_line_that_is_said_shows_the_key_to_others(kept: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user of a machine sees the arguments of its programs."""
    monkeypatch.setenv("NGC_API_KEY", KEY)
    lines = [line for line in type_("clara-wf setkey").out.splitlines() if line.startswith("for ")]
    assert len(lines) == 3 and not [line for line in lines if "$(" in line]
    assert all(line.endswith((f" < {kept}", f" < {kept.with_name('ngc-docker-config.json')}")) for line in lines)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_takes_the_line_for_a_cluster(kept: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGC_API_KEY", KEY)
    line = next(line for line in type_("clara-wf setkey").out.splitlines() if line.startswith("for a cluster: "))
    typed = line.removeprefix("for a cluster: ").replace(" < ", " --dry-run=client -o json < ")
    done = subprocess.run(["sh", "-c", typed], capture_output=True, text=True, timeout=60, check=True)
    secret = json.loads(done.stdout)
    assert (secret["kind"], secret["type"]) == ("Secret", "kubernetes.io/dockerconfigjson")
    config = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
    assert config["auths"]["nvcr.io"]["password"] == KEY


def test_a_second_key_takes_the_place_of_the_first_in_both_files(
    kept: Path, type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("nvapi-first", KEY):
        monkeypatch.setenv("NGC_API_KEY", key)
        said = type_("clara-wf setkey")
    check(kept, said)


def test_where_it_cannot_be_kept_no_copy_is_left(kept: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGC_API_KEY", KEY)
    kept.mkdir(parents=True)
    said = type_("clara-wf setkey", 64)
    assert f"{kept} cannot be written" in said.err and [*kept.parent.iterdir()] == [kept]
    assert KEY not in said.out + said.err
