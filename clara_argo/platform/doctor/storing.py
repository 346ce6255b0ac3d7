"""The store: where Argo is told it is, and whether a folder goes there and comes back from here."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from clara_argo import source
from clara_argo.artifacts.errors import NoRight, WrongKey, WrongSecret
from clara_argo.errors import ClaraError, DefinitionError, NotInstalled, Refused, TryAgain
from clara_argo.kubernetes.errors import NotHere
from clara_argo.kubernetes.kinds import CONFIG_MAPS, SECRETS
from clara_argo.platform.doctor.findings import Check, fail, ok, unknown, warn
from clara_argo.platform.doctor.site import Site
from clara_argo.runners.targets import BUCKET, FILE
from clara_argo.source import Map, Text

OURS = "jobs/{{workflow.parameters.job}}/"
INSTALL = "clara cluster install"
PROBE = "doctor"  # keys below it are ours and gone at the end


def repository(site: Site) -> Iterator[Check]:
    name, key = site.names.repository_map, site.names.repository_key
    where = f"{site.api.namespace}/{name}, key {key}"
    try:
        data = site.api.get(CONFIG_MAPS, name).get("data") or {}
    except NotHere:
        yield fail("repository", f"there is no ConfigMap {name}: stages do not know the store", INSTALL)
        return
    except Refused:
        yield unknown("repository", f"this account may not read ConfigMap {where}")
        return
    try:
        value = source.parse(data.get(key, ""), where)
    except DefinitionError as error:
        yield fail("repository", str(error), f"mend the ConfigMap, or {INSTALL}")
        return
    s3 = value["s3"] if isinstance(value, Map) and isinstance(value.get("s3"), Map) else None
    if not isinstance(value, Map) or not isinstance(s3, Map):
        yield fail("repository", f"ConfigMap {where}: it names no S3 store", INSTALL)
        return
    site.endpoint, site.bucket = str(s3.get("endpoint", "")), str(s3.get("bucket", ""))
    yield ok("repository", f"{s3.get('endpoint', '?')}, bucket {s3.get('bucket', '?')}")
    yield from _manners(value, s3, where)
    yield from _keys(site, s3)


def _manners(value: Map, s3: Map, where: str) -> Iterator[Check]:
    mend = f"set it in ConfigMap {where}, or {INSTALL}"
    if value.get("archiveLogs") != "true":
        yield warn("repository", "logs of finished pods are not kept", f"archiveLogs: true; {mend}")
    if not str(s3.get("keyFormat", "")).startswith(OURS):
        said = "archived logs lie outside the folders of their jobs, and stay when a job is deleted"
        yield warn("repository", said, f"keyFormat: {OURS}logs/{{{{pod.name}}}}; {mend}")
    if s3.get("createBucketIfNotPresent") is not None:
        said = "Argo asks for the bucket again with every object"
        yield warn("repository", said, f"make the bucket once, and take createBucketIfNotPresent out; {mend}")


def _keys(site: Site, s3: Map) -> Iterator[Check]:
    for field in ("accessKeySecret", "secretKeySecret"):
        chosen = s3.get(field)
        name, key = (chosen.get("name"), chosen.get("key")) if isinstance(chosen, Map) else (None, None)
        if not isinstance(name, Text) or not isinstance(key, Text):
            yield warn("repository", f"it has no {field}", "right only where nodes have rights to the store themselves")
            continue
        try:
            there = key in (site.api.get(SECRETS, name).get("data") or {})
        except NotHere:
            there = False
        except Refused:
            yield unknown("repository", f"this account may not look whether Secret {name} is there")
            return
        if not there:
            yield fail("repository", f"there is no key {key} in a Secret {name}: no stage opens the store", INSTALL)


def store(site: Site) -> Iterator[Check]:
    """From here: what `clara run --on` and an adapter outside the cluster need."""
    yield from _same_bucket(site)
    try:
        site.store.check()
        yield ok("store", f"{site.store.where} answers")
        yield _there_and_back(site)
        yield from _with_their_keys(site)
    except TryAgain as error:
        yield fail("store", str(error), away=True)
    except NotInstalled as error:
        yield unknown("store", str(error))
    except ClaraError as error:
        yield fail("store", str(error))


def _same_bucket(site: Site) -> Iterator[Check]:
    ours = site.target.store.bucket
    if ours and site.bucket and ours != site.bucket:
        said = f"your studies go into the bucket {ours!r}, and stages look for them in {site.bucket!r}"
        yield fail("store", said, f"name the same bucket: in {FILE} or {BUCKET}, or in the ConfigMap of the repository")


def _with_their_keys(site: Site) -> Iterator[Check]:
    """Stages have no other credentials than those of the Secret; ours may be others."""
    if site.theirs is None:
        return
    try:
        site.theirs.check()
    except (WrongKey, WrongSecret, NoRight) as error:
        hint = f"write what opens it into the Secret of the repository, or {INSTALL} with credentials in {FILE}"
        yield fail("store", f"with the Secret that stages have: {error}", hint)
    except Refused:
        yield unknown("store", "whether the Secret that stages have opens it, this account may not try")
    else:
        yield ok("store", "the Secret that stages have opens it")


def _there_and_back(site: Site) -> Check:
    key = f"{PROBE}/{secrets.token_hex(8)}/input"
    with tempfile.TemporaryDirectory(prefix="clara-doctor-") as room:
        sent, back = Path(room, "sent"), Path(room, "back")
        sent.mkdir()
        sent.joinpath("probe").write_bytes(secrets.token_bytes(1 << 16))
        try:
            site.store.put_folder(key, sent)
            site.store.get_folder(key, back)
            same = sent.joinpath("probe").read_bytes() == back.joinpath("probe").read_bytes()
        finally:
            site.store.delete(key)
    if not same or site.store.exists(key):
        return fail("store", "what comes back is not what was sent, or it stays when it is deleted")
    return ok("store", "a folder was written, read and deleted")
