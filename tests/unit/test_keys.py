"""The table of a dialect's keys: its words, and how it is shown."""

from __future__ import annotations

from clara_argo.formats.keys import Fate, Key, markdown, names

TABLE = (
    Key("operators[].container.image", Fate.MAPPED, "the image of the stage"),
    Key("operators[].variables.*", Fate.MAPPED, "`env`, one | each"),
)


def test_names_are_the_words_of_the_paths() -> None:
    assert names(TABLE) == {"operators", "container", "image", "variables"}
    assert [key.name for key in TABLE] == ["image", "*"]
    assert Key("pull-secrets[]", Fate.MAPPED, "").name == "pull-secrets"


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert markdown(TABLE).splitlines() == [
        "| key | fate | what it becomes |",
        "| --- | --- | --- |",
        "| `operators[].container.image` | mapped | the image of the stage |",
        "| `operators[].variables.*` | mapped | `env`, one \\| each |",
    ]
