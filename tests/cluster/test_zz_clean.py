"""After all the others: what the jobs of this tier left in namespace and store is nothing."""

from __future__ import annotations

import minio
import pytest
from cluster import objects
from cluster.conftest import Cluster
from cluster.world import World


def objects_below(prefix: str) -> list[str]:
    client = minio.Minio(objects.ENDPOINT, objects.ACCESS, objects.SECRET, secure=False)
    found = client.list_objects(objects.BUCKET, prefix, recursive=True)
    return [str(one.object_name) for one in found if not one.is_dir]


def test_nothing_is_left(world: World, cluster: Cluster) -> None:
    if cluster.node is None:
        pytest.skip("what is on a cluster that is not ours may be somebody's")
    job = world.start(world.shells.chain(world.shells.stage("one")))
    world.end(job)
    assert objects_below(f"jobs/{job}/")
    world.runner.delete(job)
    world.forget(job)
    assert [known.id for known in world.runner.list()] == []
    assert objects_below("") == []
    pods = cluster.node.kubectl("get", "pods", "-n", cluster.target.namespace, "-o", "name").split()
    assert [pod for pod in pods if "artgc" not in pod] == []
