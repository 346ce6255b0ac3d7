"""What the runner asks of an engine. It does not know jobs, retries or what becomes of the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clara_argo.graph import Node
from clara_argo.runners import process

if TYPE_CHECKING:
    from clara_argo.runners.attempt import Attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What is started for an attempt. Its folders are there: output, locks with `input.lock`, logs."""

    command: process.Command
    progress: Path  # where the stage writes `done/total`


class Engine(Protocol):
    """One for each run of a job; what it needs was found when it was made."""

    @property
    def name(self) -> str: ...

    def made_of(self, node: Node) -> Mapping[str, str]:
        """What of the stage goes into its output besides inputs, arguments and definition, as digests."""

    def start(self, attempt: Attempt) -> Start:
        """Lay out the attempt's folders. Raises NotInstalled, Unusable or OSError."""

    def meant(self, ending: process.Ending, attempt: Attempt) -> process.Ending:
        """What the end of the command says of the stage."""

    def what_next(self, attempt: Attempt) -> str:
        """What to do when a stage cannot start."""
