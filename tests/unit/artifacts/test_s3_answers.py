"""Each answer of a store becomes the error that says what to do; what may pass is tried again, for a while."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_stub import Stub
from unit.artifacts.contract import folder

from clara_argo.artifacts import errors, pack, tree, wire
from clara_argo.artifacts.errors import CODES, STATUSES
from clara_argo.artifacts.s3 import DIGEST, S3Store
from clara_argo.errors import ClaraError, NotFound, Refused, TryAgain, UsageError


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PATIENCE", 0.1)
    monkeypatch.setattr(wire, "FIRST", 0.01)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as stub:
        yield stub


@pytest.fixture
def store(stub: Stub) -> S3Store:
    return store_of(stub)


def store_of(stub: Stub, **more: object) -> S3Store:
    return S3Store(stub.endpoint, "clara", "clara", "clara-secret", **more)  # type: ignore[arg-type]


BEGUN = b"""<?xml version='1.0'?>
<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"""


SEEN = [
    (403, "InvalidAccessKeyId", errors.WrongKey),
    (403, "SignatureDoesNotMatch", errors.WrongSecret),
    (404, "NoSuchBucket", errors.NoBucket),
    (403, "AccessDenied", errors.NoRight),
    (403, "RequestTimeTooSkewed", errors.WrongClock),
    (400, "AuthorizationHeaderMalformed", errors.WrongRegion),
    (301, "PermanentRedirect", errors.WrongRegion),
    (507, "XMinioStorageFull", errors.StoreFull),
    (507, "InsufficientStorage", errors.StoreFull),
    (403, "QuotaExceeded", errors.StoreFull),
    (400, "XMinioAdminBucketQuotaExceeded", errors.StoreFull),
    (503, "SlowDown", errors.StoreAway),
    (503, "ServiceUnavailable", errors.StoreAway),
    (500, "InternalError", errors.StoreFails),
    (400, "RequestTimeout", errors.StoreAway),
    (507, "SomethingNew", errors.StoreFull),
    (418, "SomethingNew", errors.NotUnderstood),
]


@pytest.mark.parametrize(("status", "code", "error"), SEEN)
def test_each_code_is_an_error_of_its_own(
    stub: Stub, store: S3Store, tmp_path: Path, status: int, code: str, error: type[ClaraError]
) -> None:
    source = folder(tmp_path / "a", x="1")
    stub.say(404, code="NoSuchKey", times=2)  # it is not there yet
    stub.say_always(status, code=code)
    for ask in (
        lambda: store.put_folder("k", source),
        store.check,
        lambda: store.list(),
        lambda: store.get_folder("k", tmp_path / "into"),
    ):
        with pytest.raises(error) as told:
            ask()
        assert type(told.value) is error
        assert stub.endpoint in str(told.value) and "'clara'" in str(told.value) and code in str(told.value)
        assert error.hint in str(told.value)  # type: ignore[attr-defined]
        stub.say_always(status, code=code)


def test_the_tables_hold_what_waits_and_what_does_not() -> None:
    for kind in {*CODES.values(), *STATUSES.values()}:
        assert issubclass(kind, (Refused, TryAgain)) and kind.hint  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_store_that_is_busy_for_a_moment(
    stub: Stub, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(wire, "PATIENCE", 20)
    stub.say(status, body=b"<html>not now</html>", headers={"Retry-After": "3600"})
    store.check()
    stub.say(404, code="NoSuchKey", times=2)
    stub.say(status, code="SlowDown")
    store.put_folder("k", folder(tmp_path / "a", x="1"))
    assert [line.split("?")[0] for line in stub.asked] == [
        "GET /clara", "GET /clara", "HEAD /clara/k.tgz", "GET /clara/k.tgz", "PUT /clara/k.tgz", "PUT /clara/k.tgz",
    ]  # fmt: skip


def test_what_is_refused_is_not_asked_again(stub: Stub, store: S3Store) -> None:
    stub.say_always(403, code="SignatureDoesNotMatch")
    with pytest.raises(errors.WrongSecret):
        store.check()
    assert len(stub.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b"<html>nginx</html>", errors.WrongAddress),
        (200, b"<html>nginx</html>", errors.WrongAddress),
        (400, b"Client sent an HTTP request to an HTTPS server.\n", errors.WrongAddress),
        (401, b"who?", errors.NoRight),
        (507, b"", errors.StoreFull),
        (502, b"<html>bad gateway</html>", errors.StoreAway),
        (403, b"<Error><Code>InvalidAccessKeyId</Code></Error>", errors.WrongKey),  # with another content type
        (500, b"<?xml but no more", errors.WrongAddress),
        (200, b"", errors.WrongAddress),
        (200, b"\xff\xfe", errors.WrongAddress),
        (404, b"\xff\xfe", errors.WrongAddress),
    ],
)
def test_answers_that_are_none(stub: Stub, store: S3Store, status: int, body: bytes, error: type[ClaraError]) -> None:
    stub.say_always(status, body=body)
    with pytest.raises(error) as told:
        store.list()
    assert type(told.value) is error and len(str(told.value)) < 600


def test_another_region_says_which(stub: Stub, store: S3Store) -> None:
    body = b"""<?xml version='1.0'?>
        <Error><Code>AuthorizationHeaderMalformed</Code><Message>expecting 'garage'</Message></Error>"""
    stub.say_always(400, body=body)
    with pytest.raises(errors.WrongRegion, match="set the region.*expecting 'garage'"):
        store.check()
    with pytest.raises(errors.WrongRegion):
        store_of(stub, region="other").check()


def test_a_redirect_is_not_followed(stub: Stub, store: S3Store) -> None:
    with Stub() as other:
        stub.say_always(307, code="TemporaryRedirect", Location=f"http://{other.endpoint}/clara")
        with pytest.raises(errors.WrongRegion):
            store.check()
        assert other.asked == []


def packed(tmp_path: Path) -> tuple[bytes, str]:
    source = folder(tmp_path / "source", x="1" * 300_000, y="2")
    return b"".join(pack.pack(source)), tree.digest(source)


def test_a_download_that_breaks_begins_again(stub: Stub, store: S3Store, tmp_path: Path) -> None:
    data, digest = packed(tmp_path)
    stub.say(200, body=data[:200_000], length=len(data))
    stub.say(200, body=b"", length=len(data))
    stub.say(200, body=data, headers={f"x-amz-meta-{DIGEST}": digest})
    assert tree.digest(store.get_folder("k", tmp_path / "into")) == digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["into", "source"]
    stub.say(200, body=data[:5], length=10)
    stub.say(200, body=b"whole")
    assert store.read("main.log") == b"whole"


def test_a_download_that_always_breaks(stub: Stub, store: S3Store, tmp_path: Path) -> None:
    data, _ = packed(tmp_path)
    stub.say(200, body=data[:200_000], length=len(data), times=100)
    with pytest.raises(errors.Broken, match="the connection broke"):
        store.get_folder("k", tmp_path / "into")
    assert len(stub.asked) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_is_stored_as_gzip_encoding_is_not_unpacked_twice(stub: Stub, store: S3Store, tmp_path: Path) -> None:
    data, digest = packed(tmp_path)
    stub.say(200, body=data, headers={"Content-Encoding": "gzip"})
    assert tree.digest(store.get_folder("k", tmp_path / "into")) == digest


def test_silence_ends(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SILENCE", 0.1)
    over = threading.Event()
    stub.say(200, body=b"late", times=100, wait=over.wait)
    try:
        with pytest.raises(errors.StoreAway, match="timed out"):
            store_of(stub).read("k")
    finally:
        over.set()


def test_nobody_listens(tmp_path: Path) -> None:
    with Stub() as stub:
        store = store_of(stub)
    for ask in (store.check, lambda: store.put_folder("k", folder(tmp_path / "a", x="1"))):
        with pytest.raises(errors.StoreAway, match="refused"):
            ask()


def test_an_upload_whose_end_was_not_heard(stub: Stub, store: S3Store, tmp_path: Path) -> None:
    """The object was put together, the answer lost, and the second try finds no upload."""
    source = folder(tmp_path / "a", x="1" * (9 << 20))
    for kept, fails in ((tree.digest(source), False), ("0" * 64, True)):
        stub.say(404, code="NoSuchKey", times=2)
        stub.say(200, body=BEGUN)
        stub.say(200, headers={"ETag": '"1"'}, times=2)
        stub.say(404, code="NoSuchUpload")
        stub.say(204)  # given up
        stub.say(200, headers={f"x-amz-meta-{DIGEST}": kept})
        if fails:
            with pytest.raises(errors.LostReply, match="try again"):
                store.put_folder("k", source)
        else:
            assert store.put_folder("k", source) == kept
    assert stub.asked[-1] == "HEAD /clara/k.tgz"


def test_an_upload_that_is_not_put_together_with_success(stub: Stub, store: S3Store, tmp_path: Path) -> None:
    """S3 answers 200 at once and says in the body that it failed."""
    stub.say(404, code="NoSuchKey", times=2)
    stub.say(200, body=BEGUN)
    stub.say(200, headers={"ETag": '"1"'}, times=2)
    stub.say(200, code="InternalError")
    with pytest.raises(errors.StoreAway, match="not put together"):
        store.put_folder("k", folder(tmp_path / "a", x="1" * (9 << 20)))


def test_what_the_store_does_not_delete(stub: Stub, store: S3Store) -> None:
    listed = b"""<?xml version='1.0'?><ListBucketResult><Name>clara</Name><IsTruncated>false</IsTruncated>
        <Contents><Key>jobs/1/x</Key></Contents></ListBucketResult>"""
    refused = b"""<?xml version='1.0'?><DeleteResult>
        <Error><Key>jobs/1/x</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"""
    stub.say(200, body=listed)
    stub.say(200, body=refused)
    with pytest.raises(errors.NoRight, match="jobs/1/x"):
        store.delete_below("jobs/1")
    stub.say(404, code="NoSuchKey")
    store.delete("k")
    stub.say(404, code="NoSuchBucket")
    with pytest.raises(errors.NoBucket):
        store.delete("k")


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, Path]:
    """A server's context for the host, and the PEM file that makes it trusted."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, secret = folder / f"{host}.pem", folder / f"{host}.key"
    trusted.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, secret)
    return context, trusted


def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    context, authority = certificate(tmp_path, "127.0.0.1")
    with Stub(context) as stub:
        store_of(stub, secure=True, authority=str(authority)).check()
        with pytest.raises(errors.NotTrusted, match="name the authority"):
            store_of(stub, secure=True).check()
        with pytest.raises(errors.StoreAway):  # it hangs up on what is no TLS
            store_of(stub).check()
    assert len(stub.asked) == 1


def test_tls_for_another_host(tmp_path: Path) -> None:
    context, authority = certificate(tmp_path, "127.0.0.9")
    with Stub(context) as stub, pytest.raises(errors.NotTrusted):
        store_of(stub, secure=True, authority=str(authority)).check()


def test_an_authority_that_is_none(tmp_path: Path, stub: Stub) -> None:
    with pytest.raises(UsageError, match="no such file"):
        store_of(stub, secure=True, authority=str(tmp_path / "none"))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UsageError, match="no certificates in PEM form"):
        store_of(stub, secure=True, authority=str(tmp_path / "text"))


def test_missing_is_missing(stub: Stub, store: S3Store) -> None:
    assert not store.exists("k")
    with pytest.raises(NotFound):
        store.digest("k")
