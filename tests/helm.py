"""Real Helm, 3 and 4, where there is one: on the PATH, by CLARA_HELM3 and CLARA_HELM4, or kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from clara_argo.compile.check.reading import Loader

KEPT = Path("~/.cache/clara-argo/helm").expanduser()
KUBERNETES = "1.36.0"
Object = dict[str, Any]


class Refused(Exception):
    """Helm's own words."""


@cache
def find(major: int) -> str:
    """The program; "" where there is none of this version."""
    named = os.environ.get(f"CLARA_HELM{major}", "")
    for program in (named, str(KEPT / f"helm{major}" / "helm"), shutil.which("helm") or ""):
        if program and Path(program).is_file() and _version(program).startswith(f"v{major}."):
            return program
    return ""


def _version(program: str) -> str:
    done = subprocess.run(
        [program, "version", "--template", "{{.Version}}"], capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


def missing(major: int) -> str:
    return "" if find(major) else f"no Helm {major}: CLARA_HELM{major} names none, and there is none on the PATH"


# Parameters of a test: each Helm there is, a line of skip for one that is missing. EACH_LONG: the older in CI only.
EACH = [pytest.param(major, marks=pytest.mark.skipif(not find(major), reason=missing(major))) for major in (3, 4)]
EACH_LONG = [pytest.param(3, marks=[*EACH[0].marks, pytest.mark.long]), EACH[1]]


def run(major: int, *arguments: str, env: dict[str, str] | None = None) -> str:
    """Its standard output. Raises Refused."""
    command = [find(major), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def template(major: int, chart: Path, *options: str, namespace: str = "clara") -> dict[tuple[str, str], Object]:
    """What a release would make, by kind and name. Raises Refused."""
    fixed = ("--namespace", namespace, "--kube-version", KUBERNETES)
    return {
        (made["kind"], made["metadata"]["name"]): made
        for made in objects(run(major, "template", "rel", str(chart), *fixed, *options))
    }


def objects(text: str) -> Iterator[Object]:
    yield from (made for made in yaml.load_all(text, Loader=Loader) if made)


def lint(major: int, chart: Path, *options: str) -> str:
    return run(major, "lint", "--strict", "--kube-version", KUBERNETES, str(chart), *options)
