from __future__ import annotations

from importlib.metadata import version

import pytest

from clara_argo.runners import command

CLICK = version("click")
MAJOR = CLICK.split(".")[0]


@pytest.mark.parametrize(
    "line",
    [
        "click", "Click", f"click=={CLICK}", f"click == {MAJOR}.*", "click>=1,<999", "click~=8.0", "click!=1.0",
        f"click==={CLICK}", "click[extra]>=8", "click>=8 # why", "# click==0", "", "-r other.txt",
        "click==0; python_version < '3'", "somewhere @ https://example.org/x.whl", f"click<={CLICK}.0",
    ],
)  # fmt: skip
def test_met_or_not_ours_to_judge(line: str) -> None:
    assert command.missing(line) == ()


@pytest.mark.parametrize("line", ["click==0.1", "click<1", "click>999", "click~=7.0", "click!=" + CLICK, "click==7.*"])
def test_another_version_is_named(line: str) -> None:
    assert command.missing(line) == (f"{line} (found {CLICK})",)


def test_all_that_is_missing_is_named() -> None:
    assert command.missing("no-such-a\nclick\nno_such.b >= 2\n") == ("no-such-a", "no_such.b >= 2")
