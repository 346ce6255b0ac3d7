"""What nobody cleans up: deleted Workflows that hang in Argo's clean-up, objects that belong to no job any more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from clara_argo.errors import Refused, TryAgain
from clara_argo.platform import orphans
from clara_argo.platform.doctor.findings import Check, ok, unknown, warn
from clara_argo.platform.doctor.site import Site
from clara_argo.runners.argo import sweep as sweeping

AGE = timedelta(days=7)


def leftovers(site: Site) -> Iterator[Check]:
    yield from _deletions(site)
    yield _stored(site)


def _deletions(site: Site) -> Iterator[Check]:
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


def _stored(site: Site) -> Check:
    try:
        found = orphans.find(site.api, site.store, AGE)
    except (Refused, TryAgain):
        return unknown("leftovers", "the store or the Workflows could not be looked at")
    if not found:
        return ok("leftovers", f"the store holds nothing that has belonged to no job for {AGE.days} days")
    said = f"{len(found)} studies or results in the store, {sum(one.size for one in found) / 1e6:.0f} MB, are of no job"
    return warn("leftovers", said, "clara cluster sweep lists them, and with --yes removes them")
