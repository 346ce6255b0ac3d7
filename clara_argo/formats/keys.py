"""The keys of a dialect and what becomes of each: every reader exports a TABLE of them; docs/dialects.md shows it.

A path is written like `operators[].container.image`: `[]` stands for the entries of a list, `*` for a name that the
user chooses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What a reader does with a key."""

    MAPPED = "mapped"  # onto a value of ours
    REPAIRED = "repaired"  # mapped, after a named repair (R1 to R7), a warning each time
    KEPT = "kept"  # not understood, or nothing of ours; it stays in the file that is written, as a comment
    REFUSED = "refused"  # an error: ignoring it would change results
    UNUSED = "unused"  # understood and not followed, said by a notice or warning


@dataclass(frozen=True, slots=True)
class Key:
    """One key: where it stands, its fate, and in a few words what it becomes, or why not."""

    path: str
    fate: Fate
    becomes: str


def markdown(table: Iterable[Key]) -> str:
    """As a table of Markdown, in the order given."""
    rows = [("key", "fate", "what it becomes"), ("---", "---", "---")]
    rows += [(f"`{key.path}`", key.fate.value, key.becomes) for key in table]
    return "\n".join("| " + " | ".join(word.replace("|", "\\|") for word in row) + " |" for row in rows) + "\n"
