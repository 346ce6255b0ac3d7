from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.kubernetes import certificates
from unit.kubernetes.certificates import Certificates
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


@pytest.fixture(scope="session")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def no_cluster_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
