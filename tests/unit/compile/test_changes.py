"""What differs between two templates, in the words of a workflow's or stage's file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from clara_argo.compile import Compiled, changes, compile_graph
from clara_argo.graph import Graph
from clara_argo.model.workflow import Image, StageSpec, Step, Workflow

Edit = Callable[[dict[str, Any]], object]


def compiled(*, fused: bool = False, timeout: int = 300) -> Compiled:
    stages = {
        name: StageSpec(
            name=name,
            image=Image(repository="r/" + name.lower(), tag="1"),
            command=("run",),
            env={"A": "1"},
            timeout=timeout,
        )
        for name in ("Reader", "ai")
    }
    steps = (
        Step(stage="Reader", reads=("Reader/input",)),
        Step(stage="ai", reads=("Reader/output",), waits_for=("Reader.lock",)),
    )
    workflow = Workflow(id="7b413e24-d018-4689-8c41-73272f6649d4", name="w", steps=steps, results=("ai/output",))
    return compile_graph(Graph.of(workflow, stages), fused=fused)


def edited(edit: Edit, *, fused: bool = False) -> list[str]:
    before = compiled(fused=fused).template
    after = copy.deepcopy(before)
    edit(after["spec"])
    return [str(change) for change in changes.between(before, after)]


def leaf(spec: dict[str, Any], number: int = 2) -> dict[str, Any]:
    found = spec["templates"][number]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda spec: None, []),
        (lambda spec: leaf(spec)["container"].update(image="r/ai:2"), ["stage 'ai', image: r/ai:1 -> r/ai:2"]),
        (lambda spec: leaf(spec, 1)["container"].update(image="x"), ["stage 'Reader', image: r/reader:1 -> x"]),
        (lambda spec: leaf(spec).update(activeDeadlineSeconds=7), ["stage 'ai', timeout: 300 -> 7"]),
        (lambda spec: leaf(spec)["retryStrategy"].update(limit="5"), ["stage 'ai', retries: 2 -> 5"]),
        (lambda spec: leaf(spec)["container"].update(args=["a b"]), ["stage 'ai', arguments: new"]),
        (
            lambda spec: leaf(spec)["container"]["env"].append({"name": "B", "value": "2"}),
            ["stage 'ai', env B: new"],
        ),
        (lambda spec: spec["templates"].pop(), ["stage 'ai': removed"]),
        (lambda spec: spec.update(activeDeadlineSeconds=1), ["time limit of a job, seconds: 5460 -> 1"]),
    ],
)  # fmt: skip
def test_words(edit: Edit, said: list[str]) -> None:
    assert edited(edit) == said


def test_order_counts() -> None:
    """A variable may use one before it."""
    found = edited(lambda spec: leaf(spec)["container"]["env"].reverse())
    assert len(found) == 1 and found[0].startswith("stage 'ai', env (order): ")


def test_what_only_follows_is_not_told() -> None:
    found = changes.between(compiled().template, compiled(timeout=60).template)
    assert [str(change) for change in found] == [
        "time limit of a job, seconds: 5460 -> 4020", "stage 'Reader', timeout: 300 -> 60",
        "stage 'ai', timeout: 300 -> 60",
    ]  # fmt: skip


def test_words_of_one_pod() -> None:
    def edit(spec: dict[str, Any]) -> None:
        first, last = spec["templates"][0]["containerSet"]["containers"]
        first["image"] = last["image"] = "x"

    assert edited(edit, fused=True) == ["stage 'Reader', image: r/reader:1 -> x", "stage 'ai', image: r/ai:1 -> x"]


def test_a_value_that_steers_a_terminal_is_quoted_and_cut() -> None:
    found = edited(lambda spec: leaf(spec)["container"].update(image="\x1b[31m" + "x" * 500))
    assert "\x1b" not in found[0] and len(found[0]) < 200


def test_a_digest_alone_is_told_too() -> None:
    before = compiled().template
    after = copy.deepcopy(before)
    after["metadata"]["annotations"]["clara.dev/workflow-digest"] = "0" * 64
    assert [change.path for change in changes.between(before, after)] == ["annotations.clara.dev/workflow-digest"]


def test_what_the_cluster_adds_is_not_looked_at() -> None:
    before = compiled().template
    there = copy.deepcopy(before)
    there["metadata"] |= {"resourceVersion": "7", "managedFields": [], "annotations": {
        **there["metadata"]["annotations"], "kubectl.kubernetes.io/x": "y"}}  # fmt: skip
    assert changes.between(there, before) == ()
