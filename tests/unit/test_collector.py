"""The collector of cycles rests while files are read and libraries imported, and never longer."""

from __future__ import annotations

import gc

import pytest

from clara_argo.collector import at_rest, passing_over


def test_it_rests_and_works_again_also_after_an_error() -> None:
    assert gc.isenabled()
    with at_rest():
        with at_rest():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), at_rest():
        raise ValueError("x")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with at_rest():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_was_made_while_passing_over_is_not_looked_at_again() -> None:
    before = gc.get_freeze_count()
    try:
        with passing_over():
            made = [[number] for number in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()


def test_an_import_that_fails_freezes_nothing() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(ImportError), passing_over():
        raise ImportError
    assert gc.get_freeze_count() == before and gc.isenabled()
