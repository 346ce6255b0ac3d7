"""`clara workflows`, `clara stages`: what can be run from here, the project's and what is shipped; what each needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clara_argo.cli import talk
from clara_argo.cli.common import FORMAT, SCHEMA, print_facts, print_json, print_table

if TYPE_CHECKING:
    from clara_argo.graph import Graph
    from clara_argo.model.workflow import StageSpec, Workflow
    from clara_argo.needs import Needs

SHIPPED = "shipped"
WRONG = "wrong: see clara lint"


@click.group()
def workflows() -> None:
    """List the workflows that can be run by name from here, or show one.

    \b
    Examples:
      clara workflows list
      clara workflows show liver-seg
    """


@click.group()
def stages() -> None:
    """List the stages that a workflow here may use, or show one.

    \b
    Examples:
      clara stages list
      clara stages show ct-organ-seg
    """


@workflows.command("list")
@FORMAT
def list_workflows(form: str) -> None:
    """List the workflows of the project in this folder, then the shipped ones.

    Each with its id, its stages, what goes in and what comes out, and what the stage that asks for most needs: memory,
    GPUs, models.
    """
    from clara_argo import project
    from clara_argo.terminal import printable

    root = project.find_root(Path.cwd())
    known = project.stage_specs(root)
    own_and_shipped, unread = project.listed(root)
    found = [(workflow, *_resolved(workflow, known)) for workflow in own_and_shipped]
    for path in unread:
        talk(f"{printable(path)}: its workflows cannot be read; see clara lint")
    if form == "json":
        listed = [_workflow_json(*one) for one in found]
        print_json({"schema": SCHEMA, "workflows": listed, "unreadable": list(unread)})
        return
    print_table([("NAME", "ID", "TAKES", "GIVES", "NEEDS", "FROM", "STAGES"), *(_row(*one) for one in found)])


def _resolved(workflow: Workflow, known: Any) -> tuple[Graph | None, str]:
    """The graph; or nothing, and what is wrong."""
    from clara_argo import project
    from clara_argo.errors import DefinitionError

    try:
        return project.resolved(workflow, known), ""
    except DefinitionError as error:
        return None, str(error)


def _row(workflow: Workflow, graph: Graph | None, _: str) -> tuple[str, ...]:
    from clara_argo import needs

    words: tuple[str, ...] = ("", "", WRONG)
    if graph is not None:
        asked = needs.of(graph)
        words = (", ".join(asked.takes), ", ".join(asked.gives), asked.machine)
    steps = ", ".join(step.stage for step in workflow.steps)
    return _cells(workflow.name, workflow.id, *words, _origin(workflow), steps)


def _cells(*words: str) -> tuple[str, ...]:
    """Of a table; the files are anybody's, so nothing in them may steer the terminal."""
    from clara_argo.terminal import printable

    return tuple(printable(word) or "-" for word in words)


def _origin(workflow: Workflow) -> str:
    return SHIPPED if _is_shipped(Path(workflow.source)) else workflow.source


def _is_shipped(path: Path) -> bool:
    from clara_argo import shipped

    resolved = path.resolve()
    return any(resolved.is_relative_to(shipped.folder(name).resolve()) for name in ("templates", "stages"))


def _workflow_json(workflow: Workflow, graph: Graph | None, wrong: str) -> dict[str, Any]:
    from clara_argo import needs

    value: dict[str, Any] = {
        "name": str(workflow.name),
        "id": str(workflow.id),
        "description": str(workflow.description),
        "stages": [str(step.stage) for step in workflow.steps],
        **_place(workflow),
    }
    return value | ({"wrong": wrong} if graph is None else _needs_json(needs.of(graph)))


def _place(workflow: Workflow) -> dict[str, Any]:
    return {"shipped": _is_shipped(Path(workflow.source)), "file": str(workflow.source)}


def _needs_json(asked: Needs) -> dict[str, Any]:
    return {
        "takes": list(asked.takes),
        "gives": list(asked.gives),
        "memory": asked.memory,
        "gpu": asked.gpu,
        "models": list(asked.models),
        "images": list(asked.images),
    }


@workflows.command("show")
@click.argument("name", metavar="NAME|ID")
@FORMAT
def show_workflow(name: str, form: str) -> None:
    """Show one workflow: what it is for, its stages, what it needs, and how it is run.

    \b
    Examples:
      clara workflows show liver-seg
      clara workflows show fd3ee8bf-b9f3-4808-bd60-243f870ff9bd -o json
    """
    from clara_argo import needs, picture, project
    from clara_argo.cli.workflows import print_findings
    from clara_argo.terminal import printable

    graph = project.workflow(project.find_root(Path.cwd()), name)
    print_findings(graph.findings, err=True)
    asked = needs.of(graph)
    if form == "json":
        print_json({"schema": SCHEMA, **picture.as_json(graph), **_needs_json(asked), **_place(graph.workflow)})
        return
    click.echo(picture.as_text(graph, ascii_only="utf" not in (sys.stdout.encoding or "").lower()))
    click.echo()
    facts = [("takes", ", ".join(asked.takes)), ("gives", ", ".join(asked.gives)), ("memory", asked.memory)]
    facts += [("GPUs", str(asked.gpu or "")), ("models", ", ".join(asked.models)), ("images", ", ".join(asked.images))]
    facts += [("file", graph.workflow.source), ("run it", _command(graph))]
    print_facts([(what, printable(value)) for what, value in facts])


def _command(graph: Graph) -> str:
    import shlex

    words = ["clara", "run", graph.workflow.source, "--input", "FOLDER", "--output", "RESULT"]
    return shlex.join(words + ([] if _is_shipped(Path(graph.workflow.source)) else ["--workflow", graph.workflow.name]))


@stages.command("list")
@FORMAT
def list_stages(form: str) -> None:
    """List the stages of the project in this folder, and the shipped ones that it has not replaced."""
    from clara_argo import project
    from clara_argo.errors import DefinitionError

    known = project.stage_specs(project.find_root(Path.cwd()))
    rows, values = [], []
    for name in known:
        try:
            spec = known[name]
        except DefinitionError as error:
            rows.append(_cells(name, "", "", "", WRONG, ""))
            values.append({"name": name, "wrong": str(error)})
            continue
        words = (str(spec.image), ", ".join(spec.takes), ", ".join(spec.gives), _resources(spec))
        rows.append(_cells(name, *words, _folder(spec)))
        values.append(_stage_json(spec))
    if form == "json":
        print_json({"schema": SCHEMA, "stages": values})
    else:
        print_table([("NAME", "IMAGE", "TAKES", "GIVES", "NEEDS", "FROM"), *rows])


def _resources(spec: StageSpec) -> str:
    asked = spec.resources
    cpu = f"cpu {asked.cpu}" if asked.cpu else ""
    return ", ".join(filter(None, (cpu, asked.memory, f"{asked.gpu} GPU" if asked.gpu else "")))


def _folder(spec: StageSpec) -> str:
    if spec.folder is None:
        return "-"
    return SHIPPED if _is_shipped(spec.folder) else str(spec.folder)


def _stage_json(spec: StageSpec) -> dict[str, Any]:
    asked = spec.resources
    return {
        "name": spec.name,
        "image": str(spec.image),
        "command": list(map(str, spec.command)),
        "takes": list(map(str, spec.takes)),
        "gives": list(map(str, spec.gives)),
        "study": spec.study,
        "cpu": str(asked.cpu),
        "memory": str(asked.memory),
        "gpu": asked.gpu,
        "models": list(map(str, spec.models)),
        "timeout": spec.timeout,
        "retries": spec.retries,
        "folder": str(spec.folder or ""),
    }


@stages.command("show")
@click.argument("name")
@FORMAT
def show_stage(name: str, form: str) -> None:
    """Show one stage: what it is, takes and gives, what it needs, where it is.

    \b
    Example:
      clara stages show ct-organ-seg
    """
    from clara_argo import project
    from clara_argo.errors import NotFound
    from clara_argo.picture import described
    from clara_argo.source import did_you_mean
    from clara_argo.terminal import printable

    root = project.find_root(Path.cwd())
    known = project.stage_specs(root)
    if name not in known:
        hint = did_you_mean(name, known, f"known: {', '.join(known)}")
        raise NotFound(f"no stage {name!r} in {root} nor among the shipped ones; {hint}")
    spec = known[name]
    about = _about(spec.folder)
    if form == "json":
        print_json({"schema": SCHEMA, **_stage_json(spec), "description": about})
        return
    click.echo("\n".join([spec.name, *described(about), ""]))
    facts = [
        ("takes", ", ".join(spec.takes)), ("gives", ", ".join(spec.gives)),
        ("study", "the original DICOM as well" if spec.study else ""), ("needs", _resources(spec)),
        ("models", ", ".join(spec.models)), ("image", str(spec.image)), ("command", " ".join(spec.command)),
        ("timeout", f"{spec.timeout} s"), ("retries", str(spec.retries)), ("folder", str(spec.folder or "")),
    ]  # fmt: skip
    print_facts([(what, printable(value)) for what, value in facts])


def _about(folder: Path | None) -> str:
    """The first paragraph of the stage's README, in one line; "" when there is none."""
    path = folder / "README.md" if folder else None
    if path is None or not path.is_file():
        return ""
    with open(path, encoding="utf-8", errors="replace") as file:
        paragraphs = file.read(1 << 16).split("\n\n")
    texts = (" ".join(text.split()) for text in paragraphs if not text.lstrip().startswith("#"))
    return next(filter(None, texts), "")
