"""The table of a dialect's keys, as it is shown."""

from __future__ import annotations

from clara_argo.formats.keys import Fate, Key, markdown

TABLE = (
    Key("operators[].container.image", Fate.MAPPED, "the image of the stage"),
    Key("operators[].variables.*", Fate.MAPPED, "`env`, one | each"),
)


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert markdown(TABLE).splitlines() == [
        "| key | fate | what it becomes |",
        "| --- | --- | --- |",
        "| `operators[].container.image` | mapped | the image of the stage |",
        "| `operators[].variables.*` | mapped | `env`, one \\| each |",
    ]
