"""Workflows that were deleted and do not go, because Argo's clean-up of their objects hangs."""

from __future__ import annotations

from collections.abc import Iterator

from clara_argo.errors import Refused
from clara_argo.platform.doctor.findings import Check, ok, unknown, warn
from clara_argo.platform.doctor.site import Site
from clara_argo.runners.argo import sweep as sweeping


def leftovers(site: Site) -> Iterator[Check]:
    try:
        names = sweeping.stuck(site.api)
        freed = sweeping.sweep(site.api, site.store) if site.sweep and names else ()
    except Refused:
        yield unknown("deletions", "this account may not look at Workflows, or not free them")
        return
    if freed:
        yield ok("deletions", f"freed {', '.join(freed)}, with what was stored for them")
    left = [name for name in names if name not in freed]
    if left:
        said = f"{len(left)} deleted Workflows do not go: {', '.join(left[:5])}"
        yield warn("deletions", said, "clara cluster doctor --sweep removes them and their objects")
    elif not freed:
        yield ok("deletions", "none hangs")
