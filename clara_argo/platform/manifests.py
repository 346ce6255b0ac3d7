"""The shipped manifests as one user wants them: a copy with credentials, a store's address and an adapter's file.

The copy is a kustomization like any other; `kubectl apply -k` takes it.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clara_argo import shipped, source
from clara_argo.compile import Cluster
from clara_argo.errors import NotFound, UsageError
from clara_argo.formats import adapter as adapter_file
from clara_argo.model.target import Credentials, StoreAccess

KIND, SINGLE_NODE, CLUSTER = OVERLAYS = ("kind", "single-node", "cluster")
OWN_STORE = (KIND, SINGLE_NODE)  # those that bring one
TOP = "wanted"
SECRET = "clara-s3"
ADAPTER, ADAPTER_IMAGE = "clara-adapter", "clara-argo/adapter"
SPOOL = Path("/var/lib/clara")  # the adapter's volume
PORT = 11112
EVERY_ADDRESS = "0.0.0.0"
STRATEGY = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"

_KEY = re.compile(r"[!-~]+")
Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """`store` matters to an overlay that brings none. Paths are files of the user's."""

    overlay: str
    namespace: str = "clara"
    argo: bool = True  # False: it is there already
    release: Path | None = None  # Argo's manifest; None = the one that is named, from the network
    adapter: Path | None = None  # the configuration of an adapter; None = no adapter
    registry: str = ""  # of the adapter's image
    store: StoreAccess = field(default_factory=StoreAccess)


def check(wish: Wish) -> None:
    """Raises NotFound, DefinitionError for the adapter's file, UsageError for what cannot be."""
    if wish.release and not wish.release.is_file():
        raise NotFound(f"{wish.release}: no such file; download namespace-install.yaml of Argo's release")
    if wish.adapter:
        _check_adapter(wish.adapter)
    if wish.overlay in OWN_STORE:
        return
    if not (wish.store.endpoint and wish.store.bucket):
        message = f"the overlay {wish.overlay!r} brings no store: name yours under 'store' of a target in targets.yaml"
        raise UsageError(f"{message} (endpoint, bucket, credentials), or in CLARA_S3_ENDPOINT and CLARA_S3_BUCKET")
    if wish.store.authority:
        raise UsageError(f"store.authority {wish.store.authority}: put it in by hand (caSecret, see the guide)")


def _check_adapter(path: Path) -> None:
    configuration, _ = adapter_file.read(source.read(path), str(path))
    if configuration.host != EVERY_ADDRESS:
        raise UsageError(f"{path}: host {configuration.host} is heard by nobody outside a pod; write {EVERY_ADDRESS}")
    if configuration.port != PORT:
        raise UsageError(f"{path}: port {configuration.port}; in a pod it is {PORT}, the Service may give another")
    if not Path(configuration.spool).is_relative_to(SPOOL):
        message = f"{path}: spool {configuration.spool} is not on the volume, what it holds would go with the pod"
        raise UsageError(f"{message}; write {SPOOL}/spool")


def lay(folder: Path, wish: Wish, credentials: Credentials) -> Path:
    """Make `folder`, which must not be there, a copy as wished; returns the kustomization to apply. Holds a secret."""
    shutil.copytree(shipped.folder("manifests"), folder, ignore=shutil.ignore_patterns("s3.env"))
    _write_credentials(folder / "credentials" / "s3.env", credentials)
    if wish.release:
        upstream = folder / "argo" / "upstream"
        shutil.copy(wish.release, upstream / "release.yaml")
        (upstream / "kustomization.yaml").write_text(STRATEGY + "resources: [release.yaml]\n")
    if wish.adapter:
        shutil.copy(wish.adapter, folder / "adapter" / "adapter.yaml")
    top = folder / TOP
    top.mkdir()
    (top / "kustomization.yaml").write_text(json.dumps(_kustomization(wish), indent=1))
    return top


def _write_credentials(path: Path, credentials: Credentials) -> None:
    for what, word in (("access key", credentials.access_key), ("secret key", credentials.secret_key)):
        if not _KEY.fullmatch(word):
            raise UsageError(f"the store's {what} is empty or holds spaces or other letters than ASCII; use another")
    path.touch(mode=0o600)
    path.write_text(f"accesskey={credentials.access_key}\nsecretkey={credentials.secret_key}\n")


def _kustomization(wish: Wish) -> Object:
    """JSON is YAML."""
    overlay = f"../overlays/{wish.overlay}"
    made: Object = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": wish.namespace,
        "resources": [overlay if wish.argo else f"{overlay}/namespace"],
        "patches": [],
    }
    if wish.adapter:
        made["resources"].append("../adapter")
        if wish.overlay == KIND:
            made["components"] = ["../adapter/node-port"]
        if wish.registry:
            made["images"] = [{"name": ADAPTER_IMAGE, "newName": f"{wish.registry.rstrip('/')}/{ADAPTER_IMAGE}"}]
    if wish.overlay not in OWN_STORE:
        made["patches"] += [{"patch": json.dumps(patch)} for patch in _store_patches(wish)]
    return made


def _store_patches(wish: Wish) -> list[Object]:
    names, store = Cluster(), wish.store
    s3 = {
        "endpoint": store.endpoint,
        "bucket": store.bucket,
        "insecure": store.secure is False,
        "keyFormat": "jobs/{{workflow.parameters.job}}/logs/{{pod.name}}",
        "accessKeySecret": {"name": SECRET, "key": "accesskey"},
        "secretKeySecret": {"name": SECRET, "key": "secretkey"},
    } | ({"region": store.region} if store.region else {})
    repository = json.dumps({"archiveLogs": True, "s3": s3}, indent=1)
    patches: list[Object] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": names.repository_map},
            "data": {names.repository_key: repository},
        }
    ]
    if wish.adapter:
        secure = "false" if store.secure is False else "true"
        told = {"CLARA_S3_ENDPOINT": store.endpoint, "CLARA_S3_BUCKET": store.bucket, "CLARA_S3_SECURE": secure}
        container = {"name": "adapter", "env": [{"name": name, "value": value} for name, value in told.items()]}
        patches.append(
            {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "metadata": {"name": ADAPTER},
                "spec": {"template": {"spec": {"containers": [container]}}},
            }
        )
    return patches
