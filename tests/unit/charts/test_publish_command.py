"""`clara-wf publish_chart`: by id and by name, in an SDK folder and for what is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from clara_argo.cli import clara_wf, main


def say(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(clara_wf.main, list(words))
    return done.exit_code, done.output


def test_a_workflow_is_published_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["init", "--sdk", "sdk"]).exit_code == 0
    monkeypatch.chdir(tmp_path / "sdk" / "clara-reference-workflow")
    code, output = say("publish", "0fcdcdea89c6456fb20abc7379c54ef2", "ct-ai", "out")
    assert code == 0 and "templates/workflowtemplate.yaml" in output
    assert "name: ct-ai" in Path("out/Chart.yaml").read_text()
    assert say("publish_chart", "ct-ai", "ct-ai", "out")[0] == 0  # the same folder again


@pytest.mark.parametrize(
    "words, code",
    [(("nowhere", "x", "out"), 6), (("ct-ai", "No Chart", "out"), 64), (("ct-ai", "x", "."), 64), (("ct-ai",), 64)],
)
def test_what_cannot_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    assert say("publish", *words)[0] == code
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
