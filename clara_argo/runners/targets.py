"""The one factory of runners: a target's name in, a Runner out. Nobody else knows which classes there are.

`local` is this machine; other names are settings in `targets.yaml` of the configuration folder, and `argo` is there
without any. Environment variables (VARIABLES) go before the file, for one run. What a cluster needs is imported when
one is asked for.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clara_argo import home as homes
from clara_argo import source
from clara_argo.errors import NotFound, UsageError
from clara_argo.model.job import Job, Payload
from clara_argo.model.target import LOCAL, Credentials, StoreAccess, Target
from clara_argo.runners.protocol import Runner

if TYPE_CHECKING:
    from clara_argo.kubernetes.client import Api

FILE = "targets.yaml"
NAMESPACE = "CLARA_NAMESPACE"
ENDPOINT, BUCKET, SECURE = "CLARA_S3_ENDPOINT", "CLARA_S3_BUCKET", "CLARA_S3_SECURE"
REGION = "CLARA_S3_REGION"
ACCESS_KEY, SECRET_KEY = "CLARA_S3_ACCESS_KEY", "CLARA_S3_SECRET_KEY"
VARIABLES = (NAMESPACE, ENDPOINT, BUCKET, SECURE, REGION, ACCESS_KEY, SECRET_KEY)

log = logging.getLogger("clara_argo.targets")


class ClusterRunner(Runner, Protocol):
    """What only a cluster can do besides."""

    def submit_template(self, name: str, job: str, payload: Payload) -> Job:
        """As `submit`, of a workflow that is known by the name of its template on the cluster. Raises NotFound."""


def settings_file(environ: Mapping[str, str] | None = None) -> Path:
    return homes.config(environ) / FILE


def known(environ: Mapping[str, str] | None = None) -> dict[str, Target]:
    """Every target but `local`, as the settings say. Raises DefinitionError with all that is wrong in the file."""
    from clara_argo.formats import targets as settings

    path = settings_file(environ)
    if not path.is_file():
        return settings.default()
    return settings.default() | settings.read(source.read(path), str(path), path.parent)


def find(name: str, environ: Mapping[str, str] | None = None) -> Target:
    """One target with what the environment says. Raises NotFound, DefinitionError, UsageError."""
    environ = os.environ if environ is None else environ
    if name == LOCAL:
        raise UsageError(f"'{LOCAL}' is this machine, not a cluster; name a cluster with --on, for example --on argo")
    targets = known(environ)
    if name not in targets:
        names = [LOCAL, *targets]
        hint = source.did_you_mean(name, names, f"there are {', '.join(names)}")
        raise NotFound(f"no target {name!r}; {hint} (settings: {settings_file(environ)})")
    return _overridden(targets[name], environ)


def _overridden(target: Target, environ: Mapping[str, str]) -> Target:
    from clara_argo.formats import targets as settings
    from clara_argo.formats.fields import TRUTH

    namespace = environ.get(NAMESPACE) or target.namespace
    if not settings.is_namespace(namespace):
        raise UsageError(f"{NAMESPACE}={namespace[:80]!r} is no namespace: lower-case letters, digits and '-'")
    store = target.store
    for variable, problem in (
        (ENDPOINT, settings.wrong_endpoint(environ.get(ENDPOINT, ""))),
        (BUCKET, settings.wrong_bucket(environ.get(BUCKET, ""))),
    ):
        if problem:
            raise UsageError(f"{variable}={environ[variable][:80]!r}: {problem}")
    secure = environ.get(SECURE, "").lower()
    if secure and secure not in TRUTH:
        raise UsageError(f"{SECURE}={secure[:80]!r}: write true or false")
    store = replace(
        store,
        endpoint=environ.get(ENDPOINT) or store.endpoint,
        bucket=environ.get(BUCKET) or store.bucket,
        secure=TRUTH[secure] if secure else store.secure,
        region=environ.get(REGION) or store.region,
    )
    return replace(target, namespace=namespace, store=store)


def credentials(access: StoreAccess, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """What the environment or the named file gives; None when both are silent. Raises UsageError, NotFound,
    DefinitionError."""
    environ = os.environ if environ is None else environ
    given = environ.get(ACCESS_KEY, ""), environ.get(SECRET_KEY, "")
    if all(given):
        return Credentials(access_key=given[0], secret_key=given[1])
    if any(given):
        missing = SECRET_KEY if given[0] else ACCESS_KEY
        raise UsageError(f"{missing} is not set, but its twin is; set both or neither")
    if not access.credentials:
        return None
    from clara_argo.formats import targets as settings

    path = Path(access.credentials)
    found = settings.credentials(source.read(path), str(path))
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning("%s holds a secret and others may read it: chmod 600 %s", path, path)
    return found


@contextmanager
def open_runner(
    name: str = LOCAL,
    *,
    jobs: int | None = None,
    home: Path | None = None,
    apply: bool = False,
    engine: str | None = None,
) -> Iterator[Runner]:
    """The runner of a target. `jobs`: stages at the same time, `home` and `engine`: all of this machine only.

    `engine`: process, podman or docker; None = the one that a resumed job had, else process.

    `apply`: a job whose template is not on the cluster, or another one, may put it there. Local jobs that run at the
    end of the block are stopped; those of a cluster go on.
    """
    if name == LOCAL:
        from clara_argo.runners.local import LocalRunner

        with LocalRunner(home, jobs=jobs, engine=engine) as runner:
            yield runner
        return
    if jobs is not None:
        raise UsageError(f"--jobs is for this machine; on target {name!r} the cluster decides what runs at once")
    if engine is not None:
        raise UsageError(f"--engine is for this machine; on target {name!r} every stage is in its image; leave it out")
    with open_cluster(name, apply=apply) as remote:
        yield remote


@contextmanager
def open_cluster(name: str, *, apply: bool = False) -> Iterator[ClusterRunner]:
    """For what only a cluster can do. Nothing is asked of it before the first call."""
    target, api = cluster(name)
    from clara_argo.runners.argo import ArgoRunner
    from clara_argo.runners.clusterstore import ClusterStore

    with api:
        yield ArgoRunner(api, ClusterStore(api, target, credentials), target, apply=apply)


def cluster(name: str) -> tuple[Target, Api]:
    """A target and the API of its cluster, with the target's namespace. Nothing is asked of it yet."""
    target = find(name)
    from clara_argo.kubernetes import access
    from clara_argo.kubernetes.client import Api

    return target, Api(access.find(target.kubeconfig, target.context), target.namespace)
