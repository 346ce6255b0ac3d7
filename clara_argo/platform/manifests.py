"""The shipped manifests as one user wants them: a copy with credentials, a store's address and an adapter's file.

The copy is a kustomization like any other; `kubectl apply -k` takes it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clara_argo import project, shipped
from clara_argo.compile import Cluster
from clara_argo.errors import Finding, NotFound, UsageError
from clara_argo.model.target import ARGO, Credentials, StoreAccess

if TYPE_CHECKING:
    from clara_argo.model.route import Configuration

KIND, SINGLE_NODE, CLUSTER = OVERLAYS = ("kind", "single-node", "cluster")
OWN_STORE = (KIND, SINGLE_NODE)  # those that bring one
TOP = "wanted"
SECRET = "clara-s3"
ADAPTER, ADAPTER_IMAGE = "clara-adapter", "clara-argo/adapter"
SPOOL = Path("/var/lib/clara")  # the adapter's volume
PORT = 11112
BESIDE = "clara-adapter-workflows"  # the ConfigMap with what lies beside the adapter's file
EVERY_ADDRESS = "0.0.0.0"
OUTSIDE = "clara-store-outside"  # the policy for a store that is not ours
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
    pull_secrets: tuple[str, ...] = ()  # for it
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


def warnings(wish: Wish) -> tuple[Finding, ...]:
    """What the adapter's file says that may not be meant. Raises as `check`."""
    return _loaded(wish.adapter)[1] if wish.adapter else ()


def _check_adapter(path: Path) -> None:
    configuration, _ = _loaded(path)
    if configuration.runner != ARGO:
        message = f"{path}: runner {configuration.runner}: a pod holds no stages and no targets.yaml"
        raise UsageError(f"{message}; write {ARGO}, which is the namespace that it is in")
    if configuration.host != EVERY_ADDRESS:
        raise UsageError(f"{path}: host {configuration.host} is heard by nobody outside a pod; write {EVERY_ADDRESS}")
    if included := next((route.file for route in configuration.routes if route.file), ""):
        message = f"{path}: 'include' names {included}, which does not come along into the pod"
        raise UsageError(f"{message}; write its routes into this file, or use the chart: clara cluster chart")
    if configuration.port != PORT:
        raise UsageError(f"{path}: port {configuration.port}; in a pod it is {PORT}, the Service may give another")
    if not Path(configuration.spool).is_relative_to(SPOOL):
        message = f"{path}: spool {configuration.spool} is not on the volume, what it holds would go with the pod"
        raise UsageError(f"{message}; write {SPOOL}/spool")
    _workflows(path, configuration)


def _loaded(path: Path) -> tuple[Configuration, tuple[Finding, ...]]:
    from clara_argo.formats import adapter  # charts of workflows use what is here and read no such file

    return adapter.load(path)


def _workflows(path: Path, configuration: Configuration) -> dict[str, Path]:
    """What its workflows are made of and its image does not hold. Raises NotFound, DefinitionError, UsageError."""
    names = [name for route in configuration.routes for name in route.workflows]
    return project.files_of(project.find_root(path), names)


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
    made = _kustomization(wish)
    if wish.adapter:
        _add_adapter(made, top, wish, wish.adapter)
    (top / "kustomization.yaml").write_text(json.dumps(made, indent=1))
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
    if wish.overlay not in OWN_STORE:
        made["patches"] += [{"patch": json.dumps(_repository(wish.store))}, _opened(OUTSIDE, [_port(wish.store)])]
    return made


def _repository(store: StoreAccess) -> Object:
    names = Cluster()
    s3 = {
        "endpoint": store.endpoint,
        "bucket": store.bucket,
        "insecure": store.secure is False,
        "keyFormat": "jobs/{{workflow.parameters.job}}/logs/{{pod.name}}",
        "accessKeySecret": {"name": SECRET, "key": "accesskey"},
        "secretKeySecret": {"name": SECRET, "key": "secretkey"},
    } | ({"region": store.region} if store.region else {})
    repository = json.dumps({"archiveLogs": True, "s3": s3}, indent=1)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.repository_map},
        "data": {names.repository_key: repository},
    }


def _port(store: StoreAccess) -> int:
    _, _, port = store.endpoint.rpartition(":")
    return int(port) if port.isdigit() else 80 if store.secure is False else 443


def _opened(policy: str, ports: Iterable[int]) -> Object:
    """A patch that lets a network policy lead to further ports."""
    added = [{"op": "add", "path": "/spec/egress/0/ports/-", "value": {"protocol": "TCP", "port": p}} for p in ports]
    return {"target": {"kind": "NetworkPolicy", "name": policy}, "patch": json.dumps(added)}


def _add_adapter(made: Object, top: Path, wish: Wish, file: Path) -> None:
    configuration, _ = _loaded(file)
    made["resources"].append("../adapter")
    if wish.overlay == KIND:
        made["components"] = ["../adapter/node-port"]
    if wish.registry:
        made["images"] = [{"name": ADAPTER_IMAGE, "newName": f"{wish.registry.rstrip('/')}/{ADAPTER_IMAGE}"}]
    if ports := sorted({to.port for to in configuration.destinations}):
        made["patches"].append(_opened(ADAPTER, ports))
    made["patches"].append({"patch": json.dumps(_adapters_pod(wish))})
    if beside := _workflows(file, configuration):
        _lay_beside(made, top, beside)


def _adapters_pod(wish: Wish) -> Object:
    store = wish.store
    told: dict[str, str] = {}
    if wish.overlay not in OWN_STORE:
        secure = "false" if store.secure is False else "true"
        told = {"CLARA_S3_ENDPOINT": store.endpoint, "CLARA_S3_BUCKET": store.bucket, "CLARA_S3_SECURE": secure}
        told |= {"CLARA_S3_REGION": store.region} if store.region else {}
    variables = [{"name": name, "value": value} for name, value in told.items()]
    spec: Object = {"containers": [{"name": "adapter", "env": variables}]}
    if wish.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in wish.pull_secrets]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": ADAPTER},
        "spec": {"template": {"spec": spec}},
    }


def _lay_beside(made: Object, top: Path, files: dict[str, Path]) -> None:
    """As a ConfigMap, whose keys know no folders: the volume gives each file its path."""
    names = {path: f"{number}.yaml" for number, path in enumerate(sorted(files))}
    for path, name in names.items():
        shutil.copy(files[path], top / name)
    made["configMapGenerator"] = [{"name": BESIDE, "files": list(names.values())}]
    items = [{"key": name, "path": path} for path, name in names.items()]
    sources = [{"configMap": {"name": ADAPTER}}, {"configMap": {"name": BESIDE, "items": items}}]
    volume = {"name": "configuration", "projected": {"sources": sources}}
    change = [{"op": "replace", "path": "/spec/template/spec/volumes/0", "value": volume}]
    made["patches"].append({"target": {"kind": "StatefulSet", "name": ADAPTER}, "patch": json.dumps(change)})
