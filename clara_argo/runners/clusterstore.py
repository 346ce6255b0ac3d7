"""The store of a target, opened when it is first needed: looking at jobs must not ask for rights on Secrets.

What the target leaves open is read from the cluster's own objects: the ConfigMap that Argo uses, and the Secrets that
it names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clara_argo import home, source
from clara_argo.artifacts import Stored, tree
from clara_argo.compile import Cluster
from clara_argo.errors import Away, DefinitionError, NotFound, Refused, UsageError
from clara_argo.formats.fields import Fields
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.kinds import CONFIG_MAPS, SECRETS
from clara_argo.model.target import Credentials, StoreAccess, Target
from clara_argo.source import Findings

if TYPE_CHECKING:
    from clara_argo.artifacts.s3 import S3Store

REACH = 5.0  # seconds
HERE = ("127.0.0.1", "localhost", "[::1]")
Find = Callable[[StoreAccess], Credentials | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Where a store is and who we are there. `inside`: the address is the cluster's, nobody said that we reach it."""

    access: StoreAccess
    credentials: Credentials
    inside: bool = False


def find(api: Api, target: Target, credentials: Find) -> Found:
    """Raises Refused, NotFound, Away; each message says how the store can be named instead."""
    own, ours = target.store, credentials(target.store)
    if own.endpoint and own.bucket and ours is not None:
        secure = own.secure if own.secure is not None else _host(own.endpoint) not in HERE
        return Found(access=replace(own, secure=secure), credentials=ours)
    try:
        theirs = _Repository(api, target)
        access = replace(
            own,
            endpoint=own.endpoint or theirs.endpoint,
            bucket=own.bucket or theirs.bucket,
            secure=theirs.secure if own.secure is None else own.secure,
            region=own.region or theirs.region,
            authority=own.authority or theirs.authority(),
        )
        return Found(access=access, credentials=ours or theirs.credentials(), inside=not own.endpoint)
    except Refused as error:
        raise Refused(f"{error}\n  {_otherwise(target)}") from None
    except NotFound as error:
        raise NotFound(f"{error}\n  {_otherwise(target)}") from None


def _otherwise(target: Target) -> str:
    return (
        f"the store of target '{target.name}' is read from the cluster unless it is named: let this account read the "
        f"ConfigMap and its Secrets in namespace '{target.namespace}', or set endpoint, bucket and credentials under "
        f"'store' of '{target.name}' in targets.yaml (or CLARA_S3_ENDPOINT, _BUCKET, _ACCESS_KEY, _SECRET_KEY)"
    )


class _Repository:
    """The `s3` part of the artifact repository that the compiled workflows name."""

    def __init__(self, api: Api, target: Target) -> None:
        names = Cluster()
        self._api = api
        self.where = f"ConfigMap {target.namespace}/{names.repository_map}, key {names.repository_key}"
        text = api.get(CONFIG_MAPS, names.repository_map).get("data", {}).get(names.repository_key)
        if not text:
            raise NotFound(f"{self.where}: there is no such key; 'clara cluster doctor' says more")
        findings = Findings(self.where)
        try:
            self._s3 = Fields(source.parse(text, self.where), findings, "the repository").fields("s3")
        except DefinitionError as error:
            raise Refused(f"{error}") from None
        self.endpoint, self.bucket = self._text("endpoint"), self._text("bucket")
        self.secure, self.region = self._text("insecure").lower() != "true", self._text("region")
        if not self.endpoint or not self.bucket:
            raise Refused(f"{self.where}: it names no S3 endpoint and bucket")

    def _text(self, key: str) -> str:
        return str(self._s3.text(key))

    def credentials(self) -> Credentials:
        access, secret = self._secret("accessKeySecret"), self._secret("secretKeySecret")
        if not access or not secret:
            raise Refused(f"{self.where}: it names no Secrets with an access key and a secret key")
        return Credentials(access_key=access, secret_key=secret)

    def authority(self) -> str:
        """A file with the certificates to trust; the same certificates, the same file."""
        text = self._secret("caSecret")
        if not text:
            return ""
        path = home.state() / "authorities" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pem"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            tree.write_text(path, text)
        return str(path)

    def _secret(self, key: str) -> str:
        chosen = self._s3.fields(key)
        name, entry = chosen.text("name"), chosen.text("key")
        if not name or not entry:
            return ""
        value = self._api.get(SECRETS, str(name)).get("data", {}).get(str(entry))
        if value is None:
            raise NotFound(f"Secret {name!r} has no key {entry!r}, which {self.where} names")
        try:
            return base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Refused(f"Secret {name!r}, key {entry!r}: it is not a text in base64") from None


def _host(endpoint: str) -> str:
    host, _, port = endpoint.rpartition(":")
    return host if port.isdigit() else endpoint


def reach(found: Found, target: Target) -> None:
    """An address of the cluster's own network is told at once, by name. Raises Refused or Away."""
    endpoint = found.access.endpoint
    host = _host(endpoint)
    port = int(endpoint[len(host) + 1 :] or (443 if found.access.secure else 80))
    hint = (
        f"from outside the cluster: 'kubectl -n {target.namespace} port-forward service/{_service(host)} 8333:{port}' "
        f"and CLARA_S3_ENDPOINT=127.0.0.1:8333, or the address that is seen from here as store.endpoint of "
        f"'{target.name}' in targets.yaml"
    )
    try:
        socket.create_connection((host.strip("[]"), port), timeout=REACH).close()
    except socket.gaierror:
        raise Refused(f"{endpoint}: the cluster's store has a name that is not known here; {hint}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise Away(f"{endpoint}: the cluster's store is not reached from here ({reason}); {hint}") from None


def _service(host: str) -> str:
    """The Service behind a name of the cluster's own: `clara-s3`, `clara-s3.clara.svc`, `…svc.cluster.local`."""
    name, _, rest = host.partition(".")
    return name if not rest or "svc" in rest.split(".") else "NAME"


class ClusterStore:
    """An S3Store that asks where it is at the first call."""

    def __init__(self, api: Api, target: Target, credentials: Find) -> None:
        self._api, self._target, self._find = api, target, credentials
        self._opened: S3Store | None = None

    @property
    def store(self) -> S3Store:
        if self._opened is None:
            try:
                found = find(self._api, self._target, self._find)
                if found.inside:
                    reach(found, self._target)
                self._opened = _open(found)
            except (NotFound, UsageError, DefinitionError) as error:  # of settings: of no job that is asked about
                raise Refused(f"{error}") from None
        return self._opened

    @property
    def where(self) -> str:
        """Address and bucket, for people. Opens it."""
        return self.store.where

    def put_folder(self, key: str, folder: Path, *, follow: bool = False) -> str:
        return self.store.put_folder(key, folder, follow=follow)

    def get_folder(self, key: str, into: Path) -> Path:
        return self.store.get_folder(key, into)

    def exists(self, key: str) -> bool:
        return self.store.exists(key)

    def digest(self, key: str) -> str:
        return self.store.digest(key)

    def list(self, prefix: str = "") -> tuple[str, ...]:
        return self.store.list(prefix)

    def delete(self, key: str) -> None:
        self.store.delete(key)

    def delete_below(self, prefix: str) -> None:
        self.store.delete_below(prefix)

    def read(self, key: str, limit: int = 1 << 20) -> bytes:
        return self.store.read(key, limit)

    def stored(self, prefix: str = "") -> tuple[Stored, ...]:
        return self.store.stored(prefix)

    def check(self) -> None:
        self.store.check()


def _open(found: Found) -> S3Store:
    from clara_argo.artifacts.s3 import S3Store

    access = found.access
    return S3Store(
        access.endpoint,
        access.bucket,
        found.credentials.access_key,
        found.credentials.secret_key,
        secure=bool(access.secure),
        region=access.region,
        authority=access.authority,
    )
