"""What tests of the stages share."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

STAGES = Path(__file__).resolve().parents[2] / "stages"


@pytest.fixture(scope="module")
def insides() -> Iterator[types.SimpleNamespace]:
    """The reader's own modules, for what would need a thousand processes."""
    with modules("dicom-reader") as found:
        yield found


@pytest.fixture(scope="module")
def recon() -> Iterator[types.SimpleNamespace]:
    """Those of ct-recon."""
    pytest.importorskip("skimage")
    with modules("ct-recon") as found:
        yield found


@contextmanager
def modules(stage: str) -> Iterator[types.SimpleNamespace]:
    """A stage's modules; taken out of sys.modules again."""
    folder = STAGES / stage
    names = {path.stem for path in folder.glob("*.py")}
    kept = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield types.SimpleNamespace(**{name: importlib.import_module(name) for name in names - {"main"}})
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(kept)
