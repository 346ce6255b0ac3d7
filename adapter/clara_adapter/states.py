"""The three life cycles of the adapter as tables: payload, job, delivery. The table is the documentation.

A state changes only through `Table.after`; `clara_adapter.store` writes the change and its event in one transaction.
Knows no database, no files, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeVar

from clara_argo.model.job import JobState

State = TypeVar("State", bound=StrEnum)


class PayloadState(StrEnum):
    RECEIVING = "receiving"  # instances arrive; the quiet time is running
    SEALED = "sealed"  # complete; its jobs exist
    HELD = "held"  # contradicts itself; kept, no job, a person decides


class DeliveryState(StrEnum):
    WAITING = "waiting"  # for its turn, or for the next attempt
    SENDING = "sending"
    SENT = "sent"  # every instance was answered with success or a warning
    COMMITTED = "committed"  # and the destination has confirmed that it keeps them
    HELD = "held"  # must not leave: it is not certain whose result it is
    FAILED = "failed"  # the destination said no for good, or for too long; can be retried


class ImpossibleMove(Exception):
    """A bug of ours: the table has no such move."""


@dataclass(frozen=True, slots=True)
class Table(Generic[State]):
    """Moves of one life cycle: (state, event) -> state."""

    name: str
    start: State
    ends: frozenset[State]  # nothing has to happen any more
    moves: Mapping[tuple[State, str], State]

    def after(self, state: State, event: str) -> State:
        try:
            return self.moves[state, event]
        except KeyError:
            raise ImpossibleMove(f"{self.name} in state {state} has no move {event!r}") from None

    @property
    def states(self) -> frozenset[State]:
        return frozenset(type(self.start))

    @property
    def unfinished(self) -> frozenset[State]:
        return self.states - self.ends


PAYLOAD: Table[PayloadState] = Table(
    "payload",
    PayloadState.RECEIVING,
    frozenset({PayloadState.SEALED, PayloadState.HELD}),
    MappingProxyType(
        {
            (PayloadState.RECEIVING, "settled"): PayloadState.SEALED,
            (PayloadState.RECEIVING, "conflict"): PayloadState.HELD,
        }
    ),
)

JOB: Table[JobState] = Table(
    "job",
    JobState.SUBMITTING,
    frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED}),
    MappingProxyType(
        {
            (JobState.SUBMITTING, "submitted"): JobState.PENDING,
            (JobState.SUBMITTING, "failed"): JobState.FAILED,
            (JobState.SUBMITTING, "stopped"): JobState.STOPPED,
            (JobState.PENDING, "started"): JobState.RUNNING,
            (JobState.PENDING, "succeeded"): JobState.SUCCEEDED,
            (JobState.PENDING, "failed"): JobState.FAILED,
            (JobState.PENDING, "stopped"): JobState.STOPPED,
            (JobState.RUNNING, "succeeded"): JobState.SUCCEEDED,
            (JobState.RUNNING, "failed"): JobState.FAILED,
            (JobState.RUNNING, "stopped"): JobState.STOPPED,
            (JobState.FAILED, "retry"): JobState.SUBMITTING,
            (JobState.STOPPED, "retry"): JobState.SUBMITTING,
        }
    ),
)

DELIVERY: Table[DeliveryState] = Table(
    "delivery",
    DeliveryState.WAITING,
    frozenset({DeliveryState.SENT, DeliveryState.COMMITTED, DeliveryState.HELD, DeliveryState.FAILED}),
    MappingProxyType(
        {
            (DeliveryState.WAITING, "begin"): DeliveryState.SENDING,
            (DeliveryState.WAITING, "hold"): DeliveryState.HELD,
            (DeliveryState.SENDING, "sent"): DeliveryState.SENT,
            (DeliveryState.SENDING, "again"): DeliveryState.WAITING,
            (DeliveryState.SENDING, "hold"): DeliveryState.HELD,
            (DeliveryState.SENDING, "failed"): DeliveryState.FAILED,
            (DeliveryState.SENT, "committed"): DeliveryState.COMMITTED,
            (DeliveryState.FAILED, "retry"): DeliveryState.WAITING,
        }
    ),
)
