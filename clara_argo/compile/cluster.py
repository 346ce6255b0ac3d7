"""What a compiled workflow has to know of the cluster that it will run on: names, limits, rights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Defaults fit our own manifests. Sizes are Kubernetes quantities, times seconds."""

    namespace: str = "clara"
    registry: str = ""  # put before images that name no registry of their own
    pull_secrets: tuple[str, ...] = ()
    stage_account: str = "clara-stage"
    collector_account: str = "clara-artifact-gc"  # removes a deleted job's objects from the store
    repository_map: str = "artifact-repositories"  # ConfigMap: endpoint, bucket and secrets of the store
    repository_key: str = "clara-v1"
    user: int = 1000  # of init, main and wait alike: they share the folders
    volume_size: str = "20Gi"  # outputs, locks, logs and /tmp of one pod
    waiting: int = 3600  # that a whole job may spend waiting for a place, above the time its stages may take
    parallelism: int = 8  # pods of one job at once
    keep_succeeded: int = 86_400
    keep_failed: int = 604_800
    keep_pod: int = 60  # after success
    gpu: str = "nvidia.com/gpu"
