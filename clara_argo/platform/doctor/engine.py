"""Argo Workflows: are its definitions there, which release is it, is it alive and strict, does it wait needlessly."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from clara_argo.errors import Refused
from clara_argo.kubernetes.errors import Invalid, NoSuchKind, NotHere
from clara_argo.kubernetes.kinds import WORKFLOWS
from clara_argo.kubernetes.watch import DELETED
from clara_argo.platform.doctor import controller
from clara_argo.platform.doctor.controller import Version
from clara_argo.platform.doctor.findings import Check, fail, ok, unknown, warn
from clara_argo.platform.doctor.site import Site

NEEDED = ("workflows", "workflowtemplates", "workflowtaskresults", "workflowartifactgctasks")
# A submitter could bring images, accounts and host access past Strict (CVE-2026-31892, GHSA-3775-99mw-8rp4,
# CVE-2026-54526), and crash the controller by an annotation (CVE-2026-40886): mended in these.
SAFE: Version = (4, 0, 6)
INSTALL = "clara cluster install"
REQUEUE, REQUEUE_DEFAULT = "DEFAULT_REQUEUE_TIME", "10s"
QUICK = ("1s", "2s", "500ms", "1000ms")
ANSWER = 20.0  # seconds for the controller to look at a new Workflow; it takes one
TICK = 1.0
BY_REFERENCE = "workflowTemplateRef"  # what the controller says when it is strict


def definitions(site: Site) -> Iterator[Check]:
    try:
        found = {entry["name"] for entry in site.api.ask("GET", "/apis/argoproj.io/v1alpha1").get("resources", ())}
    except NoSuchKind:
        found = set()
    if missing := [name for name in NEEDED if name not in found]:
        yield fail("definitions", f"the cluster does not know Argo's {', '.join(missing)}", INSTALL)
        return
    yield _whole(site)


def _whole(site: Site) -> Check:
    """A field that there is not, in a Workflow that the server only judges: full definitions refuse it."""
    wrong = {"metadata": {"generateName": "clara-doctor-"}, "spec": {**_waiting(), "clara": "no such field"}}
    try:
        site.api.create(WORKFLOWS, wrong, dry_run=True)
    except Invalid:
        return ok("definitions", f"{', '.join(NEEDED)}: full, a wrong field is refused")
    except NotHere:
        return unknown("definitions", "there; whether in full is not known without the namespace")
    except Refused:
        return unknown("definitions", "there; whether in full this account may not try")
    hint = f"{INSTALL}, or apply Argo's full definitions: kubectl apply --server-side"
    return warn("definitions", "minimal: the cluster takes misspelt fields without a word", hint)


def release(site: Site) -> Iterator[Check]:
    """Also keeps what was found for those who look at its settings."""
    try:
        site.controller = found = controller.find(site.api)
    except Refused:
        yield unknown("controller", "this account may not look at Deployments; below it is asked to do something")
        return
    if found is None:
        said = (
            f"no Deployment of Argo's controller for {site.api.namespace} was found; below it is asked to do something"
        )
        yield unknown("controller", said)
        return
    where = f"{found.namespace}/{found.name}, {found.image}"
    if not found.ready:
        hint = f"kubectl -n {found.namespace} describe deployment {found.name}"
        yield fail("controller", f"{where}: none of {found.wanted} is ready", hint)
    else:
        yield ok("controller", f"{where}: {found.ready} ready")
    yield _safe(found.version, found.image)
    yield _quick(found.variables.get(REQUEUE, ""))


def _safe(version: Version | None, image: str) -> Check:
    if version is None:
        return unknown("release", f"the tag of {image} names no release; it must be {_text(SAFE)} or later")
    if version < SAFE:
        said = (
            f"Argo {_text(version)}: a job's submitter can break out of its template (CVE-2026-31892, CVE-2026-54526)"
        )
        return fail("release", said, f"upgrade to {_text(SAFE)} or later; {INSTALL} brings 4.1")
    return ok("release", f"Argo {_text(version)}")


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def _quick(requeue: str) -> Check:
    if requeue in QUICK:
        return ok("requeue time", f"{REQUEUE}={requeue}")
    said = f"{REQUEUE} is {requeue or REQUEUE_DEFAULT}: each stage waits as long after it has ended"
    return warn("requeue time", said, f"{INSTALL}, or set {REQUEUE}=1s in the controller's Deployment")


def alive(site: Site) -> Iterator[Check]:
    """A Workflow without a pod, which a strict controller refuses and any other suspends; it is removed at once."""
    name = f"clara-doctor-{secrets.token_hex(4)}"
    spec = {**_waiting(), "activeDeadlineSeconds": 60, "ttlStrategy": {"secondsAfterCompletion": 60}}
    begun = time.monotonic()
    try:
        site.api.create(WORKFLOWS, {"metadata": {"name": name}, "spec": spec})
    except (Refused, NotHere) as error:
        yield unknown("alive", f"not tried: {error}")
        return
    try:
        phase, message = _seen(site, name, begun + ANSWER)
    finally:
        site.api.delete(WORKFLOWS, name)
    if not phase:
        said = f"nobody looked at a new Workflow within {ANSWER:.0f} s"
        hint = f"is a controller running, and does it serve {site.api.namespace}? its log says what it watches"
        yield fail("alive", said, hint)
        return
    yield ok("alive", f"a new Workflow was seen after {time.monotonic() - begun:.1f} s")
    if BY_REFERENCE in message:
        yield ok("strict", "a Workflow must name a template, and cannot bring images or accounts of its own")
    else:
        said = "a Workflow may bring images, accounts and volumes of its own"
        yield warn("strict", said, f"{INSTALL}, or set workflowRestrictions.templateReferencing: Strict")


def _seen(site: Site, name: str, until: float) -> tuple[str, str]:
    """Phase and message, as soon as there is a phase."""
    with site.api.watch(WORKFLOWS, fields=f"metadata.name={name}", tick=TICK) as events:
        for event in events:
            status = event.object.get("status") or {}
            if status.get("phase"):
                return str(status["phase"]), str(status.get("message", ""))
            if event.type == DELETED or time.monotonic() > until:
                break
    return "", ""


def _waiting() -> dict[str, object]:
    return {"entrypoint": "main", "templates": [{"name": "main", "suspend": {}}]}
