"""The command itself: help, versions, exit codes, completion, and that nothing heavy is loaded for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clara_argo import __version__
from clara_argo.cli import COMMANDS


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


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from clara_argo.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted(set(sys.modules) & {'numpy', 'yaml', 'pydicom', 'pynetdicom', 'sqlalchemy', 'asyncio'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    assert "_CLARA_COMPLETE" in clara("completion", shell)
