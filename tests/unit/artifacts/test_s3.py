"""The store in a bucket against a real S3 server, and what Argo's executor puts beside ours."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from unit.artifacts.contract import StoreContract, folder
from weed import Weed

from clara_argo.artifacts import tree
from clara_argo.artifacts.errors import Damaged, NoBucket, WrongAddress, WrongKey, WrongSecret
from clara_argo.artifacts.s3 import DIGEST, S3Store
from clara_argo.errors import NotFound, UsageError


def store_of(weed: Weed, **other: str) -> S3Store:
    values = {"bucket": weed.bucket, "access_key": weed.access_key, "secret_key": weed.secret_key, **other}
    return S3Store(weed.endpoint, **values)


@pytest.fixture
def store(weed: Weed) -> Iterator[S3Store]:
    client = weed.client()
    for entry in client.list_objects(weed.bucket, recursive=True):
        client.remove_object(weed.bucket, str(entry.object_name))
    yield store_of(weed)


def put(weed: Weed, name: str, data: bytes, **metadata: str) -> None:
    weed.client().put_object(weed.bucket, name, io.BytesIO(data), len(data), metadata=dict(metadata))


def argo_object(*names: str) -> bytes:
    """As Argo's executor packs: gzip, PAX, dates and owners, the base name of the path as top, folders as entries."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name in names:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mtime, info.uid, info.gid, info.mode = 1234567890.5, 1000, 1000, 0o755  # type: ignore[assignment]
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(name)
                archive.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()


class TestS3Store(StoreContract):
    @pytest.fixture(autouse=True)
    def _nothing_is_left_open(self, weed: Weed) -> Iterator[None]:
        yield
        assert list(weed.client()._list_multipart_uploads(weed.bucket).uploads) == []


def test_the_same_folder_is_not_sent_again(weed: Weed, store: S3Store, tmp_path: Path) -> None:
    source = folder(tmp_path / "a", x="1")
    store.put_folder("k", source)
    marked = weed.client().stat_object(weed.bucket, "k.tgz")
    put(weed, "k.tgz", b"not even packed", **{DIGEST: tree.digest(source)})
    store.put_folder("k", source)
    assert store.read("k.tgz") == b"not even packed"
    (source / "x").write_text("2")
    store.put_folder("k", source)
    assert store.read("k.tgz")[:2] == b"\x1f\x8b" and marked.content_type == "application/gzip"


def test_what_argo_writes_is_read(weed: Weed, store: S3Store, tmp_path: Path) -> None:
    written = argo_object("output/", "output/b/", "output/b/x", "output/b.dcm", "output/none/")
    put(weed, "jobs/1/one/output.tgz", written)
    into = store.get_folder("jobs/1/one/output", tmp_path / "into")
    assert (into / "b/x").read_text() == "output/b/x" and (into / "none").is_dir()
    assert store.digest("jobs/1/one/output") == tree.digest(into)
    put(weed, "k.tgz", argo_object("output/"))
    assert list(store.get_folder("k", tmp_path / "empty").iterdir()) == []


def test_what_is_stored_has_one_top_folder(store: S3Store, tmp_path: Path) -> None:
    for name, source in (("one", folder(tmp_path / "a", x="1")), ("two", folder(tmp_path / "b", x="1", y__z="2"))):
        store.put_folder(f"payloads/{name}/input", source)
        with tarfile.open(fileobj=io.BytesIO(store.read(f"payloads/{name}/input.tgz")), mode="r:gz") as archive:
            names = archive.getnames()
        assert names[0] == "input" and {entry.split("/")[0] for entry in names} == {"input"}


def test_other_contents_than_the_digest_says(weed: Weed, store: S3Store, tmp_path: Path) -> None:
    put(weed, "k.tgz", argo_object("output/", "output/x"), **{DIGEST: "0" * 64})
    with pytest.raises(Damaged, match="its digest differs"):
        store.get_folder("k", tmp_path / "into")
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_is_no_folder(weed: Weed, store: S3Store, tmp_path: Path) -> None:
    for data in (b"", b"no gzip", argo_object("output/", "output/x")[:-9], argo_object("../x")):
        put(weed, "k.tgz", data)
        with pytest.raises(Damaged, match="^k: "):
            store.get_folder("k", tmp_path / "into")
        with pytest.raises(Damaged, match="^k: "):
            store.digest("k")
    assert list(tmp_path.iterdir()) == []


def test_raw_objects(weed: Weed, store: S3Store, tmp_path: Path) -> None:
    for name in ("jobs/1/pod/main.log", "jobs/10/pod/main.log", "jobs/1x.tgz"):
        put(weed, name, b"hello")
    store.put_folder("jobs/1/one/output", folder(tmp_path / "a", x="1"))
    assert store.read("jobs/1/pod/main.log") == b"hello"
    assert store.read("jobs/1/pod/main.log", limit=2) == b"he"
    with pytest.raises(NotFound, match=r"jobs/2/pod/main\.log"):
        store.read("jobs/2/pod/main.log")
    assert store.objects("jobs/1/") == ("jobs/1/one/output.tgz", "jobs/1/pod/main.log")
    store.delete_below("jobs/1")
    store.delete_below("jobs/1")
    assert store.objects() == ("jobs/10/pod/main.log", "jobs/1x.tgz")
    for wrong in ("", "/", "..", "jobs/../x"):
        with pytest.raises(UsageError, match="is no key"):
            store.delete_below(wrong)


@pytest.mark.long
def test_many_objects_are_listed_and_deleted(weed: Weed, store: S3Store) -> None:
    client = weed.client()
    names = tuple(f"many/{number:04}.log" for number in range(1005))
    for name in names:
        client.put_object(weed.bucket, name, io.BytesIO(b"x"), 1)
    assert store.objects("many/") == names
    store.delete_below("many")
    assert store.objects("many/") == ()


@pytest.mark.parametrize(
    ("other", "error"),
    [
        ({"access_key": "nobody"}, WrongKey),
        ({"secret_key": "not-it"}, WrongSecret),
        ({"bucket": "no-such-bucket"}, NoBucket),
    ],
)
def test_whatever_is_asked_says_what_is_wrong(
    weed: Weed, tmp_path: Path, other: dict[str, str], error: type[Exception]
) -> None:
    wrong = store_of(weed, **other)
    source = folder(tmp_path / "a", x="1")
    for ask in (
        wrong.check,
        lambda: wrong.put_folder("k", source),
        lambda: wrong.get_folder("k", tmp_path / "into"),
        lambda: wrong.exists("k"),
        lambda: wrong.digest("k"),
        lambda: wrong.list(),
        lambda: wrong.read("k"),
        lambda: wrong.delete("k"),
    ):
        with pytest.raises(error) as told:
            ask()
        assert weed.endpoint in str(told.value)
        assert weed.secret_key not in str(told.value) and "not-it" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_limit(store: S3Store, tmp_path: Path) -> None:
    store.put_folder("k", folder(tmp_path / "a", x="1" * 100))
    with pytest.raises(Damaged, match="larger than allowed"):
        store.get_folder("k", tmp_path / "into", limit=99)
    assert (store.get_folder("k", tmp_path / "into", limit=100) / "x").is_file()


def test_several_threads(store: S3Store, tmp_path: Path) -> None:
    def there_and_back(number: int) -> bool:
        source = folder(tmp_path / f"a{number}", x=str(number) * 100_000)
        digest = store.put_folder(f"k{number % 4}", source)
        return store.exists(f"k{number % 4}") and digest == tree.digest(source)

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(there_and_back, range(24)))
    assert store.list() == ("k0", "k1", "k2", "k3")


def test_without_the_client_it_says_what_to_install() -> None:
    program = """
import sys
sys.modules["minio"] = None
from clara_argo.errors import NotInstalled
try:
    import clara_argo.artifacts.s3
except NotInstalled as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "an S3 store needs minio: pip install 'clara-argo[argo]'\n"


def test_check_says_nothing_where_all_is_well(store: S3Store) -> None:
    store.check()


def test_tls_is_not_spoken_there(weed: Weed) -> None:
    with pytest.raises(WrongAddress, match="whether it speaks TLS"):
        S3Store(weed.endpoint, weed.bucket, weed.access_key, weed.secret_key, secure=True).check()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "host/path", "", "a b", "host:port"])
def test_an_endpoint_is_a_host_and_a_port(endpoint: str) -> None:
    with pytest.raises(UsageError, match="host:port"):
        S3Store(endpoint, "clara", "clara", "clara-secret")


@pytest.mark.parametrize("bucket", ["", "a", "a/b", "-x-", "a b", "x" * 64])
def test_a_bucket_has_a_name(bucket: str) -> None:
    with pytest.raises(UsageError, match="name of a bucket"):
        S3Store("127.0.0.1:1", bucket, "clara", "clara-secret")


def test_credentials_are_needed() -> None:
    with pytest.raises(UsageError, match="access key and secret key"):
        S3Store("127.0.0.1:1", "clara", "clara", "")
