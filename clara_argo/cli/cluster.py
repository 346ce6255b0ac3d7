"""`clara cluster`: say what a cluster lacks for our jobs, and install it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clara_argo.cli import talk
from clara_argo.cli.common import FORMAT, SCHEMA, print_facts, print_json
from clara_argo.cli.sweeping import sweep as sweep_command

if TYPE_CHECKING:
    from clara_argo.kubernetes.client import Api
    from clara_argo.model.target import Target
    from clara_argo.platform.doctor import Check
    from clara_argo.platform.kubectl import Kubectl
    from clara_argo.platform.manifests import Wish

TARGET = click.option("--on", "on", metavar="TARGET", default="argo", show_default=True, help="Which cluster.")
COLORS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "blue"}


@click.group()
def cluster() -> None:
    """A Kubernetes cluster for workflows: look at it, and put there what it lacks.

    \b
    Examples:
      clara cluster install --overlay kind --context kind-clara
      clara cluster doctor
    """


cluster.add_command(sweep_command)


@cluster.command()
@TARGET
@click.option("--context", metavar="NAME", help="Of the kubeconfig.")
@click.option("--namespace", metavar="NAME", help="Where jobs run.")
@click.option("--sweep", is_flag=True, help="Free deleted Workflows that do not go, and what is stored for them.")
@FORMAT
@click.pass_context
def doctor(ctx: click.Context, on: str, context: str | None, namespace: str | None, sweep: bool, form: str) -> None:
    """Look at everything that jobs need, and say how to mend what is wrong.

    `ok`; `warn`: jobs run, but slower or less safely; `fail`: jobs do not run; `unknown`: not looked at, because this
    account may not or because there is nothing of it. A Workflow without a pod and a folder in the store are made for a
    moment. Exit code 2 when something fails, 75 when what fails does not answer now.

    \b
    Examples:
      clara cluster doctor
      clara cluster doctor --on hospital -o json
      clara cluster doctor --sweep
    """
    from clara_argo.errors import DefinitionError, TryAgain
    from clara_argo.platform.doctor import Level

    checks = []
    for check in _examine(*_cluster(on, context, namespace), sweep):
        checks.append(check)
        if form == "text":
            _print(check)
    failed = [check for check in checks if check.level is Level.FAIL]
    if form == "json":
        print_json({"schema": SCHEMA, "target": on, "checks": [asdict(check) for check in checks]})
    else:
        counts = [f"{sum(check.level is level for check in checks)} {level}" for level in Level]
        click.echo(", ".join(counts), err=True)
    if failed:
        ctx.exit(TryAgain.exit_code if all(check.away for check in failed) else DefinitionError.exit_code)


def _examine(target: Target, api: Api, sweep: bool) -> Iterator[Check]:
    from clara_argo.platform import doctor as platform
    from clara_argo.runners import targets
    from clara_argo.runners.clusterstore import ClusterStore

    with api:
        store, theirs = ClusterStore(api, target, targets.credentials), ClusterStore(api, target, lambda _: None)
        yield from platform.examine(platform.Site(api=api, target=target, store=store, theirs=theirs, sweep=sweep))


def _print(check: Check) -> None:
    click.echo(f"{click.style(f'{check.level:<7}', fg=COLORS[check.level])}  {check.part}: {check.said}")
    if check.hint:
        click.echo(f"         -> {check.hint}")


@cluster.command()
@click.option("--overlay", type=click.Choice(["kind", "single-node", "cluster"]), help="Otherwise by what is there.")
@TARGET
@click.option("--context", metavar="NAME", help="Of the kubeconfig. Naming it says that this cluster may be changed.")
@click.option("--namespace", metavar="NAME", help="Where jobs will run.")
@click.option("--adapter", type=click.Path(path_type=Path), metavar="FILE", help="Also an adapter, with this file.")
@click.option("--no-argo", is_flag=True, help="Argo Workflows is there already.")
@click.option("--argo", "release", type=click.Path(path_type=Path), metavar="FILE", help="Its release, downloaded.")
@click.option("--yes", is_flag=True, help="Change the cluster of the current context.")
@click.option("--force", is_flag=True, help="Take over what somebody else has set.")
@click.option("--dry-run", is_flag=True, help="Let the cluster judge everything, and change nothing.")
@click.option("--timeout", metavar="SECONDS", type=click.IntRange(0), default=300, show_default=True, help="To wait.")
def install(
    overlay: str | None,
    on: str,
    context: str | None,
    namespace: str | None,
    adapter: Path | None,
    no_argo: bool,
    release: Path | None,
    yes: bool,
    force: bool,
    dry_run: bool,
    timeout: int,
) -> None:
    """Apply the manifests: Argo Workflows, the namespace with its accounts, limits and network policies, a store.

    Says first what it will do, and changes no cluster that was not named: --context, or --yes for the current one.
    `kind` and `single-node` bring a store; `cluster` uses the one of the target's settings. What is there already stays
    or becomes as it should be; credentials of the store are kept. Needs kubectl, and the rights of an administrator.
    The release of Argo comes from GitHub unless --argo names a copy of its namespace-install.yaml.

    \b
    Examples:
      clara cluster install --overlay kind --context kind-clara
      clara cluster install --overlay cluster --on hospital --context imaging --dry-run
      clara cluster install --no-argo --adapter adapter.yaml --yes
    """
    from clara_argo.errors import UsageError
    from clara_argo.platform import install as platform
    from clara_argo.platform import manifests
    from clara_argo.platform.kubectl import Kubectl

    if no_argo and release:
        raise UsageError("--argo brings Argo, --no-argo leaves it out; give one of them")
    target, api = _cluster(on, context, namespace)
    with api:
        chosen, why = (overlay, "") if overlay else platform.choose(api, target.context)
        wish = manifests.Wish(
            overlay=chosen,
            namespace=target.namespace,
            argo=not no_argo,
            release=release,
            adapter=adapter,
            registry=target.registry,
            pull_secrets=target.pull_secrets,
            store=target.store,
        )
        manifests.check(wish)
        for finding in manifests.warnings(wish):
            talk(str(finding))
        if wish.argo:
            platform.check_alone(api)
        kubectl = Kubectl(kubeconfig=target.kubeconfig, context=target.context)
        kubectl.check()
        _install(api, wish, kubectl, target, why=why, allowed=bool(target.context) or yes, force=force, dry_run=dry_run)
        if not dry_run:
            platform.wait(api, platform.parts(wish), timeout, talk)
            talk("next: clara cluster doctor, then clara apply FILE")


@cluster.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New or empty.")
def chart(output: Path) -> None:
    """Write the Helm chart clara-platform: adapter, the store's address, accounts, limits and network policies.

    It is made from the manifests that 'install --overlay cluster' applies; Argo Workflows is not in it. DIR may also be
    a chart that this command wrote, which is renewed. Needs kubectl, and no cluster.

    \b
    Examples:
      clara cluster chart --output charts/clara-platform
      helm install platform charts/clara-platform --namespace clara --set-file adapter.configuration=adapter.yaml
    """
    from clara_argo.charts import platform, writing
    from clara_argo.charts.workflow import PLATFORM_CHART

    writing.check(output, PLATFORM_CHART)
    made = platform.chart()
    writing.write(made, output)
    click.echo(f"{output}/")
    for path in sorted(made.files):
        click.echo(f"  {path}")


def _cluster(on: str, context: str | None, namespace: str | None) -> tuple[Target, Api]:
    """The target with what the command line says, and the API of its cluster."""
    from clara_argo.errors import UsageError
    from clara_argo.formats.targets import is_namespace
    from clara_argo.kubernetes import access
    from clara_argo.kubernetes.client import Api
    from clara_argo.runners import targets

    target = targets.find(on)
    if namespace and not is_namespace(namespace):
        raise UsageError(f"--namespace {namespace[:80]!r}: lower-case letters, digits and '-', at most 63")
    target = replace(target, context=context or target.context, namespace=namespace or target.namespace)
    return target, Api(access.find(target.kubeconfig, target.context), target.namespace)


def _install(
    api: Api, wish: Wish, kubectl: Kubectl, target: Target, *, why: str, allowed: bool, force: bool, dry_run: bool
) -> None:
    from clara_argo.errors import UsageError
    from clara_argo.platform import install as platform
    from clara_argo.platform import manifests
    from clara_argo.runners import targets

    credentials, origin = platform.credentials(api, wish, targets.credentials(target.store))
    _print_plan(api, wish, target, why, origin)
    if not (allowed or dry_run):
        raise UsageError("nothing was changed: say --context NAME to mean this cluster, or --yes for the current one")
    with tempfile.TemporaryDirectory(prefix="clara-install-") as room:
        top = manifests.lay(Path(room, "manifests"), wish, credentials)
        objects = Path(room, "objects.yaml")
        talk("building the manifests" + ("" if wish.release or not wish.argo else "; Argo's release is fetched"))
        _build(kubectl, top, objects, fetched=wish.argo and not wish.release)
        if dry_run and not platform.has_namespace(api):
            talk(f"the namespace {wish.namespace} is not there: what belongs into it cannot be judged, only listed")
            lines = kubectl.names(objects)
        else:
            lines = kubectl.apply(objects, dry_run=dry_run, force=force, say=talk)
    for line in lines:
        click.echo(line)


def _build(kubectl: Kubectl, top: Path, objects: Path, *, fetched: bool) -> None:
    from clara_argo.errors import Refused

    try:
        kubectl.build(top, objects)
    except Refused as error:
        hint = "\n  no way to GitHub from here? download namespace-install.yaml of Argo 4.1.2 once, and: --argo FILE"
        raise Refused(f"{error}{hint if fetched else ''}") from None


def _print_plan(api: Api, wish: Wish, target: Target, why: str, origin: str) -> None:
    from clara_argo.platform.manifests import OWN_STORE

    own = wish.overlay in OWN_STORE
    store = "SeaweedFS in the namespace, with a volume" if own else f"{wish.store.endpoint}, bucket {wish.store.bucket}"
    release = str(wish.release) if wish.release else "4.1.2 from its makers, for this namespace"
    print_facts(
        [
            ("cluster", str(api.access.server)),
            ("context", target.context or "the current one"),
            ("namespace", wish.namespace),
            ("overlay", f"{wish.overlay} ({why})" if why else wish.overlay),
            ("Argo", release if wish.argo else "left as it is"),
            ("store", store),
            ("Secret", f"clara-s3, {origin}"),
            ("adapter", str(wish.adapter or "")),
        ]
    )
