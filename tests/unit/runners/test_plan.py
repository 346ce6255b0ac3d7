from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit.runners import graphs

from clara_argo.errors import NotFound
from clara_argo.graph import PAYLOAD
from clara_argo.model.job import Payload
from clara_argo.model.workflow import Image, Resources, StageSpec
from clara_argo.runners import plan
from clara_argo.runners.planfile import read_plan, write_plan


class Located(str):
    """A text that knows where it was."""

    line = 3


def test_everything_comes_back(tmp_path: Path) -> None:
    spec = StageSpec(
        name=Located("one"), image=Image(repository="r", tag="1"), command=(Located("python3"), "main.py"),
        resources=Resources(cpu="2", gpu=1), env={"A": Located("b")}, models=("m",), extra={"x": "y"},
        folder=tmp_path, study=True, input_paths=("/input",), output_paths={"": "/output"},
    )  # fmt: skip
    other = StageSpec(name="two")
    graph = graphs.graph(
        graphs.node(spec, PAYLOAD, args=("--x", "1")),
        graphs.node(other, "one", PAYLOAD, waits=("one",)),
        results=("one", "two"),
    )
    value = plan.Plan(graph=graph, payload=Payload(id="p", folder=tmp_path))
    write_plan(tmp_path / "plan.json", value)
    assert read_plan(tmp_path / "plan.json") == value


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 2}', '{"schema": 1, "workflow": 3}'])
def test_what_is_none_says_how_to_go_on(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(NotFound, match="start the job again with its workflow file"):
        read_plan(tmp_path / "plan.json")


def test_it_is_json(tmp_path: Path) -> None:
    graph = graphs.chain(StageSpec(name="one"))
    value = plan.Plan(graph=graph, payload=Payload(id="p", folder=tmp_path))
    assert plan.from_json(json.loads(json.dumps(plan.to_json(value)))) == value
