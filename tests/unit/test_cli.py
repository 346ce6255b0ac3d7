"""The command itself: help, versions, exit codes, completion, and that nothing heavy is loaded for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from clara_argo import __version__
from clara_argo.cli import COMMANDS, clara_wf


def clara(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "clara_argo", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_version() -> None:
    assert clara("--version").split() == ["clara,", "version", __version__]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    text = clara(command, "--help")
    assert f"clara {command}" in text.split("Options:")[0].replace("python -m clara_argo", "clara")


def test_unknown_command_names_the_nearest() -> None:
    assert "Did you mean 'graph'?" in clara("grahp", code=64)


def loaded(*words: str, environment: dict[str, str] | None = None) -> set[str]:
    """The modules that a command has imported."""
    code = (
        f"import sys; from clara_argo.cli import main\ntry: main({[*words]!r})\nexcept SystemExit: pass\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"numpy", "pydicom", "pynetdicom", "sqlalchemy", "asyncio"}
OF_A_CLUSTER = {"hera", "minio", "urllib3", "ssl", "clara_argo.kubernetes", "clara_argo.runners.argo"}


def test_help_loads_nothing_heavy() -> None:
    assert not loaded("--help") & (HEAVY | OF_A_CLUSTER | {"yaml"})


def test_what_is_here_loads_nothing_of_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("")
    run = ["run", str(tmp_path / "x.yaml"), "--input", str(tmp_path), "--output", str(tmp_path.parent / "out")]
    for words in (["jobs"], ["describe", "00"], ["stop", "00"], ["delete", "00"], run):
        modules = loaded(*words, environment={"CLARA_HOME": str(tmp_path)})
        assert not modules & (HEAVY | OF_A_CLUSTER), words


def test_looking_at_a_cluster_loads_neither_compiler_nor_store(tmp_path: Path) -> None:
    """No cluster is there: it ends at the first request."""
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "contexts: [{name: x, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: x\n"
    )
    environment = {"CLARA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "KUBECONFIG": str(kubeconfig)}
    modules = loaded("jobs", "--on", "argo", environment=environment)
    assert "clara_argo.runners.argo" in modules and not modules & {"hera", "pydantic", "minio"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    assert "_CLARA_COMPLETE" in clara("completion", shell)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("cr", "create_stage"),
        ("ds --f", "--force"),
        ("test --engine po", "podman"),
        ("nonsense -", "--version"),
        ("", "list_stages"),
    ],
)
def test_bash_completes_clara_wf(tmp_path: Path, words: str, found: str) -> None:
    """What is typed after the program, and what the last word may become: nothing is said of a wrong one."""
    program = tmp_path / "clara-wf"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m clara_argo.cli.clara_wf "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(clara("completion", "bash", "clara-wf"))
    count = len(words.split(" "))
    line = f". ./script; COMP_WORDS=(clara-wf {words}); COMP_CWORD={count}; _clara_wf_completion ./clara-wf"
    line += '; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert found in done.stdout.split("\n") and not done.stderr


def test_zsh_and_fish_complete_clara_wf() -> None:
    assert clara("completion", "zsh", "clara-wf").startswith("#compdef clara-wf\n")
    assert "--command clara-wf " in clara("completion", "fish", "clara-wf")


def test_what_the_system_refuses_is_said() -> None:
    said = clara("lint", "x" * 300, code=64)
    assert "File name too long; change its permissions, or name another one" in said and "Traceback" not in said


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_letters_that_a_terminal_does_not_have_are_no_failure(tmp_path: Path, encoding: str) -> None:
    for name in (b"\xe2\x80\xa6", b"a\xff"):  # an ellipsis, and what is no letter anywhere
        done = subprocess.run(
            [sys.executable, "-m", "clara_argo", "init", name], cwd=tmp_path, capture_output=True, timeout=60,
            env={**os.environ, "PYTHONIOENCODING": encoding}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (b"\\u2026/" if encoding == "latin-1" and name != b"a\xff" else b"/") in done.stdout


def test_words_in_capitals_and_words_of_the_article_that_are_not_offered() -> None:
    assert "Did you mean 'graph'?" in clara("GRAPH", code=64)
    for word in clara_wf.ABSENT:
        with pytest.raises(click.UsageError, match="a stage loads its model itself"):
            clara_wf.main.resolve_command(click.Context(clara_wf.main), [word])
