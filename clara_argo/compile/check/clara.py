"""What nobody else checks: one user, retries that end, and no patient data where a cluster keeps it for ever."""

from __future__ import annotations

import re

from clara_argo.compile.check.manifest import Manifest, Object, entries
from clara_argo.compile.structure import Path

PATIENT = re.compile(
    r"patient|(^|[-_])(mrn|dob|ssn|pid)($|[-_])|birth|accession|referring|physician|medical.?record", re.IGNORECASE
)


def check(manifest: Manifest) -> None:
    _parameters(manifest, ("spec",), manifest.spec, "arguments")
    for path, template in manifest.templates():
        _parameters(manifest, path, template, "inputs")
        _retry(manifest, path, template)
    _retry(manifest, ("spec", "templateDefaults"), manifest.spec.get("templateDefaults", {}), default=True)
    if not manifest.refers:
        _user(manifest)


def _parameters(manifest: Manifest, path: Path, holder: Object, side: str) -> None:
    for place, parameter in entries(path, holder, side, "parameters"):
        if PATIENT.search(str(parameter.get("name"))):
            message = (
                f"parameter {parameter.get('name')!r} seems to hold patient data, which ends in the cluster's logs"
            )
            manifest.error("patient-data", message, (*place, "name"), "give an opaque id, and the data in the payload")


def _retry(manifest: Manifest, path: Path, template: Object, *, default: bool = False) -> None:
    if "retryStrategy" not in template:
        return
    at = (*path, "retryStrategy")
    if default or "dag" in template or "steps" in template:
        hint = "put it on the templates that run in a pod"
        manifest.error("retry-place", "a whole graph would be tried again", at, hint)
    if "pendingTimeout" in template:
        hint = "remove it; spec.activeDeadlineSeconds is the bound"
        manifest.error("retry-pending", "beside a retryStrategy it never comes", (*path, "pendingTimeout"), hint)
    if "maxDuration" in template["retryStrategy"].get("backoff", {}):
        message = "it counts from the start of the first attempt: a long stage would never be tried again"
        manifest.error("retry-duration", message, (*at, "backoff", "maxDuration"), "remove it; limit is the bound")


def _user(manifest: Manifest) -> None:
    context = manifest.spec.get("securityContext", {})
    user, at = context.get("runAsUser"), ("spec", "securityContext")
    if not context.get("runAsNonRoot") or not user:
        hint = "write runAsNonRoot: true and runAsUser: a number above 0"
        manifest.error("user", "pods may run as root", at, hint)
    for path, holder in manifest.walk():
        other = holder.get("securityContext", {}) if path != ("spec",) else {}
        if other.get("runAsUser", user) != user:
            message = f"user {other['runAsUser']} beside user {user}: init, stage and wait share their folders"
            manifest.error("one-user", message, (*path, "securityContext", "runAsUser"), "remove it")
        if other.get("runAsNonRoot") is False or other.get("privileged"):
            manifest.error("user", "this container may be root", (*path, "securityContext"), "remove it")
