"""`clara images`: build the container images of stages and of the adapter, and say which a workflow needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clara_argo.cli import talk

if TYPE_CHECKING:
    from clara_argo.platform.images import Plan, Wanted
    from clara_argo.project import Stages

FORMAT = click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", help="What to print.")
BUILDER = click.option(
    "--builder",
    "program",
    type=click.Choice(["docker", "podman", "buildah"]),
    default=None,
    help="Else the first here.",
)
REGISTRY = click.option("--registry", metavar="PREFIX", default="", help="Goes before images that name no registry.")
REST = "clara-images-rest"


class PassesOn(click.Command):
    """A command whose words after `--` are another program's options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[REST] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- BUILDER-OPTIONS...]"]


@click.group()
def images() -> None:
    """Container images of the stages and of the adapter, for a cluster.

    A stage's image is built from its folder, by the Dockerfile in it, and called what its stage.yaml says. Builders are
    docker, podman and buildah; CLARA_BUILDER_OPTIONS holds options that yours needs in each call.

    \b
    Examples:
      clara images build --registry registry.example:5000/team --push
      clara images list workflow.yaml --registry registry.example:5000/team
    """


@images.command(cls=PassesOn)
@click.argument("names", metavar="[STAGE|adapter]...", nargs=-1)
@BUILDER
@REGISTRY
@click.option("--base", metavar="IMAGE", default="", help="Begin with this image, not with the one in the Dockerfile.")
@click.option("--push", is_flag=True, help="Send each to its registry.")
@click.option(
    "--save", metavar="DIR", type=click.Path(path_type=Path), help="Write each to DIR/NAME.tar (docker load)."
)
@click.option("--dry-run", is_flag=True, help="Print what would be called.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the builder says.")
@FORMAT
@click.pass_context
def build(
    ctx: click.Context,
    names: tuple[str, ...],
    program: str | None,
    registry: str,
    base: str,
    push: bool,
    save: Path | None,
    dry_run: bool,
    verbose: bool,
    form: str,
) -> None:
    """Build the images of these stages; of all stages of the project, those that are shipped, and the adapter, if none
    is named.

    Words after `--` go to the builder as options for building. Exit code 4 when it fails; its last lines are shown.

    \b
    Examples:
      clara images build --registry registry.example:5000/team --push
      clara images build my-stage --builder podman --save images
      clara images build dicom-reader adapter --base registry.example:5000/python:3.11-slim -- --network host
    """
    from clara_argo.platform import builders
    from clara_argo.platform import images as platform

    stages = _stages()
    wanted = platform.choose(stages, names, registry)
    builder = builders.find(program or "", installed=not dry_run)
    plan = platform.Plan(builder=builder, base=base, push=push, archives=save, extra=ctx.meta[REST])
    if not names:
        for name in platform.without_dockerfile(stages):
            talk(f"{name}: left out, its folder has no Dockerfile")
    if dry_run:
        _print_commands(wanted, plan, form)
        return
    for one in wanted:
        talk(f"{one.name}: {builder.name} builds {one.image}")
        if advice := platform.advice(one):
            talk(f"{one.name}: {advice}")
        platform.build(one, plan, talk if verbose else (lambda line: None))
        if form == "text":
            click.echo(" ".join(filter(None, [one.image, str(plan.archive(one) or "")])))
    if form == "json":
        _print_json([_as_json(one, plan) for one in wanted])


def _stages() -> Stages:
    from clara_argo import project

    return project.stage_specs(project.find_root(Path.cwd()))


def _print_commands(wanted: tuple[Wanted, ...], plan: Plan, form: str) -> None:
    import shlex

    commands = {one.name: list(plan.commands(one, f"CONTEXT/{one.name}", plan.archive(one))) for one in wanted}
    if form == "json":
        _print_json([{**_as_json(one, plan), "commands": commands[one.name]} for one in wanted])
        return
    for some in commands.values():
        for command in some:
            click.echo(shlex.join(command))


def _as_json(one: Wanted, plan: Plan) -> dict[str, object]:
    archive = plan.archive(one)
    return {
        "name": one.name,
        "image": one.image,
        "builder": plan.builder.name,
        "archive": str(archive) if archive else None,
        "pushed": plan.push,
    }


def _print_json(found: list[dict[str, object]]) -> None:
    from clara_argo.cli.workflows import SCHEMA, print_json

    print_json({"schema": SCHEMA, "images": found})


@images.command("list")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--workflow", "name", metavar="NAME", help="Name or id, when FILE holds several workflows.")
@BUILDER
@REGISTRY
@FORMAT
def list_(file: Path | None, name: str | None, program: str | None, registry: str, form: str) -> None:
    """Show the images that the workflow in FILE needs, or all that can be built, and which of them the builder has.

    \b
    Examples:
      clara images list
      clara images list workflow.yaml --registry registry.example:5000/team
    """
    from clara_argo import project
    from clara_argo.platform import builders
    from clara_argo.platform import images as platform

    if file is None:
        needed: dict[str, tuple[str, ...]] = {
            one.image: (one.name,) for one in platform.choose(_stages(), registry=registry)
        }
    else:
        needed = platform.of_workflow(project.graph(file, name=name), registry)
    builder = builders.find(program or "")
    found = [(image, users, builder.has(image)) for image, users in needed.items()]
    if form == "json":
        _print_json([{"image": image, "stages": list(users), "built": built} for image, users, built in found])
        return
    width = max(len(image) for image, _, _ in found)
    for image, users, built in found:
        click.echo(f"{image:<{width}}  {'built' if built else 'not built':<9}  {', '.join(users)}")


@images.command()
@click.argument("name", metavar="STAGE|adapter")
@click.argument("folder", type=click.Path(path_type=Path))
def context(name: str, folder: Path) -> None:
    """Make FOLDER, which must not be there, the build context of one image: for a builder that runs elsewhere.

    \b
    Examples:
      clara images context ct-organ-seg context && tar -C context -cz . | ssh builder docker build -t NAME -
    """
    from clara_argo.errors import UsageError
    from clara_argo.platform import images as platform

    (one,) = platform.choose(_stages(), [name])
    try:
        platform.lay(one, folder)
    except FileExistsError:
        raise UsageError(f"{folder} is there already; name a new folder") from None
    click.echo(str(folder))
