"""`clara` and `clara-wf` as they are typed, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from clara_argo import cli
from clara_argo.cli import clara_wf


class Done(NamedTuple):
    out: str
    err: str


def typed(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    def type_(line: str, code: int = 0) -> Done:
        program, *words = line.split()
        with pytest.raises(SystemExit) as ended:
            {"clara": cli.main, "clara-wf": clara_wf.main}[program](words)
        done = Done(*capsys.readouterr())
        assert ended.value.code == code, done
        return done

    return type_
