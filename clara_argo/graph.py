"""Workflow and stage definitions -> Graph. A Graph that exists is right: names resolve, data and order agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clara_argo.errors import Finding
from clara_argo.model.workflow import StageSpec, Step, Workflow

PAYLOAD = ""  # as an input: the job's payload instead of a stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A step with everything resolved."""

    step: Step
    spec: StageSpec
    inputs: tuple[str, ...]  # stages whose output it reads, or PAYLOAD
    waits_for: tuple[str, ...]  # stages, direct

    @property
    def name(self) -> str:
        return self.step.stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """`nodes` in an order in which they may run one after the other; same files, same order, same digest."""

    workflow: Workflow
    nodes: tuple[Node, ...]
    results: tuple[str, ...]  # stages whose output is the result
    digest: str  # SHA-256 of everything above that changes what runs, hex
    findings: tuple[Finding, ...] = ()  # warnings and notices

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    @classmethod
    def of(cls, workflow: Workflow, stages: Mapping[str, StageSpec], *, strict: bool = False) -> Graph:
        """Resolve and check. Raises DefinitionError with every finding, not only the first."""
        raise NotImplementedError
