"""What tests of the stages share."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

STAGE = Path(__file__).resolve().parents[2] / "stages" / "dicom-reader"


@pytest.fixture(scope="module")
def insides() -> Iterator[types.SimpleNamespace]:
    """The stage's own modules, for what would need a thousand processes; taken out of sys.modules again."""
    names = {path.stem for path in STAGE.glob("*.py")}
    kept = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(STAGE))
    try:
        yield types.SimpleNamespace(**{name: importlib.import_module(name) for name in names - {"main"}})
    finally:
        sys.path.remove(str(STAGE))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(kept)
