"""What a workflow asks of whoever runs it: input, memory, GPUs, models, images. Pure: Graph in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from clara_argo.graph import PAYLOAD, Graph

STUDY = "dicom"  # what a stage with `study: true` takes beside its input
_SUFFIXES: dict[str, int] = {"": 1, "k": 10**3} | {
    f"{letter}{binary}": (1 << 10 if binary else 10**3) ** power
    for power, letter in enumerate("KMGTPE", 1)
    for binary in ("", "i")
}  # of Kubernetes quantities


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """`takes` and `gives` are words of the stages, () where a stage says nothing. Memory is a Kubernetes quantity."""

    takes: tuple[str, ...]
    gives: tuple[str, ...]
    memory: str  # of the stage that asks for most; "" = nobody asks
    gpu: int  # of the stage that asks for most
    models: tuple[str, ...]
    images: tuple[str, ...]

    @property
    def machine(self) -> str:
        """In a few words, for a table."""
        gpus = f"{self.gpu} GPU{'s' if self.gpu > 1 else ''}" if self.gpu else ""
        return ", ".join(filter(None, (self.memory, gpus, *(f"model {name}" for name in self.models))))


def of(graph: Graph) -> Needs:
    specs = [node.spec for node in graph.nodes]
    first = [node.spec for node in graph.nodes if PAYLOAD in node.inputs]
    study = [(STUDY,)] if any(spec.study for spec in specs) else []
    return Needs(
        takes=_each([*study, *(spec.takes for spec in first)]),
        gives=_each(graph.node(read.stage).spec.gives for read in graph.result_folders()),
        memory=max((spec.resources.memory for spec in specs), key=size, default=""),
        gpu=max((spec.resources.gpu for spec in specs), default=0),
        models=_each(spec.models for spec in specs),
        images=_each((str(spec.image),) for spec in specs if spec.image.repository),
    )


def _each(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(word) for words in lists for word in words))


def size(quantity: str) -> Decimal:
    """A Kubernetes quantity of memory in bytes, as stage.yaml may have it; 0 for the empty one."""
    number = quantity.rstrip("kKMGTPEi") or "0"
    return Decimal(number) * _SUFFIXES[quantity[len(number) :] if quantity else ""]
