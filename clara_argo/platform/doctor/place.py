"""The API server and the namespace."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clara_argo.errors import Refused
from clara_argo.kubernetes.errors import NotHere
from clara_argo.kubernetes.kinds import NAMESPACES
from clara_argo.platform.doctor.findings import Check, fail, ok, unknown, warn
from clara_argo.platform.doctor.site import Site

OLDEST = (1, 34)  # of Kubernetes, that Argo 4.1 is tried with: argo-workflows/docs/tested-kubernetes-versions.md
ENFORCE = "pod-security.kubernetes.io/enforce"
RESTRICTED = "restricted"
INSTALL = "clara cluster install, or: kubectl create namespace"


def server(site: Site) -> Iterator[Check]:
    version = str(site.api.ask("GET", "/version").get("gitVersion", "?"))
    said = f"{site.api.access.server}: Kubernetes {version}"
    number = re.match(r"v?(\d+)\.(\d+)", version)
    if number and (int(number[1]), int(number[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        yield warn("api", said, f"Argo 4.1 is tried with Kubernetes {oldest} and later; upgrade when you can")
    else:
        yield ok("api", said)


def namespace(site: Site) -> Iterator[Check]:
    name = site.api.namespace
    try:
        labels = site.api.get(NAMESPACES, name).get("metadata", {}).get("labels") or {}
    except NotHere:
        yield fail("namespace", f"there is no namespace {name!r}", f"{INSTALL} {name}")
        return
    except Refused:
        yield unknown("namespace", f"{name}: this account may not look at namespaces")
        return
    level = labels.get(ENFORCE, "")
    site.restricted = level == RESTRICTED
    if level in ("", "privileged"):
        said = f"{name}: pods in it may ask for any right on their node"
        yield warn("namespace", said, f"kubectl label namespace {name} {ENFORCE}={RESTRICTED}")
    else:
        yield ok("namespace", f"{name}, pods are {level}")
