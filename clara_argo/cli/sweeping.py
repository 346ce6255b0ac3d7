"""`clara cluster sweep`: remove from the store what belongs to no job any more."""

from __future__ import annotations

from datetime import timedelta

import click

from clara_argo.cli import talk
from clara_argo.cli.common import FORMAT, SCHEMA, print_json, print_table


@click.command()
@click.option("--on", "on", metavar="TARGET", default="argo", show_default=True, help="Which cluster.")
@click.option("--older-than", "days", metavar="DAYS", type=click.FloatRange(min=1), default=7, show_default=True,
              help="Only what nobody has written to for so long; at least 1.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Remove it; without this it is only listed.")
@FORMAT
def sweep(on: str, days: float, yes: bool, form: str) -> None:
    """List studies, results and logs in the store that no job of the namespace refers to any more; --yes removes them.

    They stay when Argo removes an old Workflow by its time to live, or somebody deletes one by hand. What a Workflow
    refers to is kept, whatever its age. Not for a bucket that other namespaces or clusters use, too: their jobs are
    not seen.

    \b
    Examples:
      clara cluster sweep
      clara cluster sweep --older-than 30 --yes
      clara cluster sweep --on hospital -o json
    """
    from clara_argo.platform import orphans
    from clara_argo.runners import targets
    from clara_argo.runners.clusterstore import ClusterStore

    target, api = targets.cluster(on)
    with api:
        store = ClusterStore(api, target, targets.credentials)
        found = orphans.find(api, store, timedelta(days=days))
        gone = tuple(orphans.remove(store, found)) if yes else ()
    if form == "json":
        items = [{"prefix": one.prefix, "bytes": one.size, "modified": one.modified.isoformat()} for one in found]
        print_json({"schema": SCHEMA, "target": on, "where": store.where, "removed": yes, "orphans": items})
        return
    if found:
        rows = [(one.prefix, f"{one.size / 1e6:.1f}", f"{one.modified:%Y-%m-%d %H:%M}Z") for one in found]
        print_table([("PREFIX", "MB", "WRITTEN"), *rows])
    size = sum(one.size for one in found) / 1e6
    talk(f"{store.where}: {len(found)} of no job for {days:g} days, {size:.1f} MB; {_done(len(found), len(gone))}")


def _done(found: int, gone: int) -> str:
    if gone:
        return "removed"
    return "nothing was removed: say --yes" if found else "nothing to remove"
