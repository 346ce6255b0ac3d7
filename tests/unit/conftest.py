"""A Kubernetes API server in the test's own process, for whoever asks for `stub` or `api`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from unit.kubernetes.stub import Stub

from clara_argo.kubernetes.client import Api


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as stub:
        yield stub


@pytest.fixture
def api(stub: Stub) -> Iterator[Api]:
    with stub.api() as api:
        yield api
