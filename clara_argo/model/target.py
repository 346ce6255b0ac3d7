"""Where jobs can run besides this machine: a cluster, a namespace, and the store its stages share."""

from __future__ import annotations

from dataclasses import dataclass, field

LOCAL = "local"  # this machine; no target may have its name
PROCESS = "process"  # the engine of this machine that needs no container, and the one that runs unless said
ARGO = "argo"  # the target that needs no settings: the current context of the kubeconfig


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreAccess:
    """An S3-compatible store as seen from here. What is empty is read from the cluster's own objects."""

    endpoint: str = ""  # host:port
    bucket: str = ""
    secure: bool | None = None  # TLS
    region: str = ""
    credentials: str = ""  # a file with access-key and secret-key
    authority: str = ""  # a file with certificates to trust, PEM


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """Of a store. The secret is in no text that anything prints."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Times in seconds."""

    name: str = ARGO
    kubeconfig: str = ""  # $KUBECONFIG, ~/.kube/config, or the pod's own account
    context: str = ""  # of the kubeconfig; its current one
    namespace: str = "clara"
    registry: str = ""  # put before images that name no registry of their own
    pull_secrets: tuple[str, ...] = ()
    fused: bool = False  # all stages of a workflow in one pod
    pending: int = 900  # that a stage may wait for a place on a node, then the job fails with Kubernetes' reason
    store: StoreAccess = field(default_factory=StoreAccess)
