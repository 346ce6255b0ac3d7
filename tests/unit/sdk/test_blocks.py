"""Stage blocks in a text: what stands outside of them stays, character by character; broken markers are said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara_argo.errors import DefinitionError
from clara_argo.sdk import blocks

ARTICLE = Path(__file__).parents[2] / "article"
EMPTY = "# mine\nstages:\nworkflows:\n"


def test_the_block_is_the_articles() -> None:
    printed = (ARTICLE / "stage.yaml").read_text()
    assert blocks.add("stages:\n", "ai-vnet", "values.yaml") == printed


TEXTS = {
    "empty": EMPTY,
    "no final newline": "stages:",
    "CRLF": EMPTY.replace("\n", "\r\n"),
    "CR": EMPTY.replace("\n", "\r"),
    "byte order mark": "\ufeff" + EMPTY,
    "byte order mark, one line": "\ufeffstages:",
    "a comment like a marker": "stages:\n# END_OF_STAGES\nworkflows:\n# ##END_x##\n",
    "comment behind": "stages:   # all of them\n\n\n# end",
    "a stage is there": blocks.add(EMPTY, "other", "x"),
    "a stage is there, last, no final newline": blocks.add("workflows:\nstages:", "other", "x"),
    "other indent": blocks.add(EMPTY, "other", "x").replace("\n    ", "\n  "),
    "plain stages": "stages:\n  other:\n    image: x\n# ##BEGIN\nworkflows:\n",
    "lines of other kinds": "# a\x85b\u2028c\nstages:\n# \u00e4\U0001f600\n",
    "a workflow's list": "7b413e24-d018-4689-8c41-73272f6649d4:\nname: x\nstages:\n- a\nstages: # here\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_created_and_deleted_is_as_before(text: str) -> None:
    made = blocks.add(text, "user-ai", "values.yaml")
    assert set(blocks.find(made, "values.yaml")) - set(blocks.find(text, "values.yaml")) == {"user-ai"}
    assert made.endswith(("\n", "\r")) == text.endswith(("\n", "\r"))
    assert blocks.remove(made, "user-ai", "values.yaml") == text


COMMENTS = st.text(st.sampled_from("ab: \t#'\"äß\u2028-{}[]"), max_size=12).map(lambda text: f"# {text}")
LINES = st.lists(st.one_of(COMMENTS, st.just(""), st.just("workflows:")), max_size=5)


@given(
    LINES, LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans(), st.sets(st.sampled_from("abc"))
)
@settings(max_examples=60, deadline=None)
def test_every_other_character_stays(
    before: list[str], after: list[str], end: str, final: bool, mark: bool, others: set[str]
) -> None:
    lines = [*before, "stages:", *after]
    text = ("\ufeff" if mark else "") + end.join(lines) + (end if final else "")
    for name in sorted(others):
        text = blocks.add(text, name, "values.yaml")
    made = blocks.add(text, "user-ai", "values.yaml")
    assert blocks.remove(made, "user-ai", "values.yaml") == text
    changed = made.replace("timeout", "TIMEOUT")  # what is in a block is the user's
    for name in sorted(others):
        changed = blocks.remove(changed, name, "values.yaml")
    assert blocks.remove(changed, "user-ai", "values.yaml").split(end) == text_without(text, others).split(end)


def text_without(text: str, names: set[str]) -> str:
    for name in sorted(names):
        text = blocks.remove(text, name, "values.yaml")
    return text


BROKEN = {
    "no end": ("stages:\n ##BEGIN_a##\n  a:\n", 2, "has no ##END_a##"),
    "no begin": ("stages:\n ##END_a##\n", 2, "has no ##BEGIN_a##"),
    "nested": ("stages:\n##BEGIN_a##\na:\n##BEGIN_b##\nb:\n##END_b##\n##END_a##\n", 2, "##BEGIN_a## has no ##END_a##"),
    "crossed": ("stages:\n##BEGIN_a##\n##END_b##\n", 3, "ends with ##END_b##"),
    "twice": ("##BEGIN_a##\na:\n##END_a##\n##BEGIN_a##\na:\n##END_a##\nstages:\n", 4, "stands here again; .* line 1"),
    "a marker without its end": ("stages:\n## BEGIN_a\n", 2, "not a whole marker"),
    "half a marker": ("stages:\n#BEGIN_a##\n", 2, "not a whole marker"),
}


@pytest.mark.parametrize(("text", "line", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_markers_are_said_with_their_line(text: str, line: int, message: str) -> None:
    for change in (blocks.add, blocks.remove):
        with pytest.raises(DefinitionError, match=message) as caught:
            change(text, "x", "values.yaml")
        assert caught.value.findings[0].where.startswith(f"values.yaml:{line}:")


PLACELESS = {
    "nothing": ("", "no line 'stages:'"),
    "a workflow's own": ("stages: [a]\n", "no line 'stages:'"),
    "a workflow's own, as a list": ("stages:\n\n# first\n  - a\n", "no line 'stages:'"),
    "a value": ("stages: {}\n", "1:1.*holds a value"),
}


@pytest.mark.parametrize(("text", "message"), PLACELESS.values(), ids=PLACELESS)
def test_a_text_without_a_place_for_stages(text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        blocks.add(text, "x", "values.yaml")


def test_what_is_not_there_is_not_deleted() -> None:
    with pytest.raises(DefinitionError, match="did you mean 'user-ai'"):
        blocks.remove(blocks.add(EMPTY, "user-ai", "x"), "user-a1", "x")
