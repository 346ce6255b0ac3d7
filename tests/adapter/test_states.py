"""The state tables: all can be reached, only ends are dead ends, nothing leaves an end unasked."""

from __future__ import annotations

from typing import Any

import pytest

from clara_adapter.states import DELIVERY, JOB, PAYLOAD, DeliveryState, ImpossibleMove, PayloadState, Table
from clara_argo.model.job import JobState

TABLES = [PAYLOAD, JOB, DELIVERY]
# Ends that a person, or the destination, may still move.
REOPENED = {
    (DELIVERY.name, DeliveryState.FAILED),
    (DELIVERY.name, DeliveryState.SENT),
    (JOB.name, JobState.FAILED),
    (JOB.name, JobState.STOPPED),
}


def reachable(table: Table[Any], start: Any) -> set[Any]:
    found = {start}
    while True:
        more = {after for (before, _), after in table.moves.items() if before in found} - found
        if not more:
            return found
        found |= more


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.name))
def test_every_state_is_reached_from_the_start(table: Table[Any]) -> None:
    assert reachable(table, table.start) == table.states


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.name))
def test_from_every_state_an_end_is_reached(table: Table[Any]) -> None:
    for state in table.states:
        assert reachable(table, state) & table.ends, state


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.name))
def test_ends_are_final_but_for_the_named_ones(table: Table[Any]) -> None:
    left = {(table.name, before) for before, _ in table.moves if before in table.ends}
    assert left <= REOPENED
    assert table.start not in table.ends


def test_a_held_thing_never_leaves() -> None:
    assert reachable(PAYLOAD, PayloadState.HELD) == {PayloadState.HELD}
    assert reachable(DELIVERY, DeliveryState.HELD) == {DeliveryState.HELD}


def test_a_move_that_is_not_in_the_table_is_an_error_of_ours() -> None:
    with pytest.raises(ImpossibleMove, match="payload in state sealed has no move 'settled'"):
        PAYLOAD.after(PayloadState.SEALED, "settled")
