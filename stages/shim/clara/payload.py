"""What `execute(driver, payload)` is given: the names and paths of what it reads and where it writes."""

import os
from typing import Any, Iterable, List, Mapping, NamedTuple, Tuple

from clara_driver import Stage

INPUTS, OUTPUTS = "NVIDIA_CLARA_INPUTPATHS", "NVIDIA_CLARA_OUTPUTPATHS"
MAIN_INPUT, MAIN_OUTPUT = "input", "output"  # names of the folders where no variable says others


class Error(Exception):
    """Something of the driver library that cannot be."""


class PayloadEntry(NamedTuple):
    """One folder: its name in the workflow and where it is. The path is a text, as operators expect."""

    name: str
    path: str


class PayloadCollection(Tuple[PayloadEntry, ...]):
    """Entries in the order of the workflow file."""


class Payload:
    """The folders of one run."""

    def __init__(self, inputs: Iterable[PayloadEntry], outputs: Iterable[PayloadEntry]) -> None:
        self.input_entries = PayloadCollection(inputs)
        self.output_entries = PayloadCollection(outputs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("fastio"):
            raise Error("payload.{}: FastIO memory is not offered; read and write the folders instead".format(name))
        raise AttributeError(name)


def of(stage: Stage) -> Payload:
    """The payload of a stage. Clara's own variables say more than the contract's, where they are set."""
    inputs = [PayloadEntry(name or MAIN_INPUT, str(path)) for name, path in stage.inputs.items()]
    outputs = [PayloadEntry(MAIN_OUTPUT, str(stage.output))]
    return Payload(_entries(os.environ, INPUTS, inputs) or inputs, _entries(os.environ, OUTPUTS, outputs) or outputs)


def _entries(environ: Mapping[str, str], variable: str, known: List[PayloadEntry]) -> List[PayloadEntry]:
    """`name:path` entries, `;` between them. A path that is `known` to be the only one may hold a `;` itself."""
    whole = environ.get(variable, "")
    name, _, path = whole.partition(":")
    if [path] == [entry.path for entry in known]:
        return [PayloadEntry(name, path)]
    found = []
    for text in whole.split(";"):
        name, colon, path = text.partition(":")
        if colon and path:
            found.append(PayloadEntry(name, path))
    return found
