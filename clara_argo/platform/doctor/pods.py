"""What the manifests start besides Argo, where it is there: a store of our own, an adapter."""

from __future__ import annotations

from collections.abc import Iterator

from clara_argo.errors import Refused
from clara_argo.kubernetes.errors import NotHere
from clara_argo.kubernetes.kinds import STATEFUL_SETS
from clara_argo.platform.doctor.findings import Check, fail, ok, unknown
from clara_argo.platform.doctor.site import Site
from clara_argo.platform.parts import Part

NAMES = ("clara-s3", "clara-adapter")


def pods(site: Site) -> Iterator[Check]:
    for name in NAMES:
        part = Part(kind=STATEFUL_SETS, name=name, selector=f"app.kubernetes.io/name={name}")
        try:
            if part.ready(site.api):
                yield ok(name, "its pod is ready")
            else:
                hint = f"kubectl -n {site.api.namespace} logs statefulset/{name}, or describe it"
                yield fail(name, part.why(site.api), hint)
        except NotHere:
            continue
        except Refused:
            yield unknown(name, "this account may not look at StatefulSets")
