"""The objects of the pretended API server."""

from __future__ import annotations

import threading
from typing import Any

from unit.kubernetes.state import State

from clara_argo.kubernetes.kinds import CONFIG_MAPS

KEY = (CONFIG_MAPS, "clara", "one")


def test_who_is_told_may_wait_for_another_thread_that_asks() -> None:
    """Else the two wait for each other: seen as a test that hung, once in many runs."""
    state, answered = State(), []

    def told(*_: Any) -> None:
        other = threading.Thread(target=state.all, args=(CONFIG_MAPS, "clara", "", ""), daemon=True)
        other.start()
        other.join(5)
        answered.append(not other.is_alive())

    state.callbacks.append(told)
    for data in ({"a": "1"}, {"a": "2"}):
        state.apply(KEY, {"metadata": {"name": "one", "finalizers": ["x"]}, "data": data})
    state.delete(KEY)  # only marked
    state.patch(KEY, {"metadata": {"finalizers": []}})
    assert answered == [True] * 4
