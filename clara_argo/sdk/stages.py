"""Stages of an SDK folder: listed, created with a program that runs at once, deleted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from clara_argo import scaffold, source
from clara_argo.errors import NotFound, UsageError
from clara_argo.formats import clara_wf, stage
from clara_argo.model.workflow import StageSpec, Workflow
from clara_argo.sdk import blocks
from clara_argo.sdk.edit import edit
from clara_argo.sdk.layout import STAGE_FILE, Layout
from clara_argo.source import Findings, did_you_mean, short


@dataclass(frozen=True, kw_only=True, slots=True)
class Created:
    """What there is after `create`; `kept`: the folder was there before, and is as it was."""

    folder: Path
    kept: bool


def read(layout: Layout) -> tuple[tuple[Workflow, ...], tuple[StageSpec, ...], Findings]:
    """What the SDK's file says, as far as it can be read, and what is wrong. Raises DefinitionError, NotFound."""
    findings = Findings(layout.shown)
    workflows, specs = clara_wf.read(source.read(layout.values), findings)
    return workflows, specs, findings


def create(layout: Layout, name: str, shipped: Collection[str]) -> Created:
    """A block in the SDK's file and a folder with a program. Raises UsageError, DefinitionError, Held, TryAgain."""
    _check_name(name, shipped)
    _check_new(layout, name)
    folder = layout.stages / name
    made = False

    def change(text: str) -> str:
        """Under the file's lock, the folder, too: of two who make the same stage, one makes both."""
        nonlocal made
        after = _with(text, name, layout)
        if not (folder / STAGE_FILE).is_file():
            scaffold.make_at_once(folder, lambda new: scaffold.stage(new, name))
            made = True
        return after

    try:
        edit(layout.values, change, layout.shown)
    except BaseException:
        if made:
            scaffold.remove(folder)
        raise
    return Created(folder=folder, kept=not made)


def _check_name(name: str, shipped: Collection[str]) -> None:
    from clara_argo.graph import DNS_LABEL  # listing does without it

    if not DNS_LABEL.fullmatch(name):
        rule = "Kubernetes wants 1 to 63 lower-case letters, digits and '-', no '-' at the ends"
        better = name.lower().replace("_", "-").strip("-")
        hint = f"; for example {better}" if DNS_LABEL.fullmatch(better) else ""
        raise UsageError(f"{short(name)} cannot be the name of a stage: {rule}{hint}")
    if name in stage.KEYS:
        message = f"{name} is a key of stage definitions, and a stage of that name could not be told from it"
        raise UsageError(f"{message}; choose another name, for example my-{name}")
    if name in shipped:
        message = f"{name} comes with clara-argo, and a stage of yours would take its place in every workflow here"
        raise UsageError(f"{message}; choose another name, for example my-{name}")


def _check_new(layout: Layout, name: str) -> None:
    text = source.read(layout.values)
    where = layout.shown
    blocks.find(text, where)
    for spec in read(layout)[1]:
        if spec.name == name:
            message = f"stage {name!r} is there already"
            raise UsageError(f"{_place(layout, spec)}: {message}; edit it, or delete it first: clara-wf ds {name}")
    folder = layout.stages / name
    if folder.exists() and not (folder / STAGE_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already, and is no stage (no {STAGE_FILE}); move it away")


def _with(text: str, name: str, layout: Layout) -> str:
    """Looked at again under the lock: somebody may have been faster."""
    if name in blocks.find(text, layout.shown):
        raise UsageError(f"{layout.shown}: stage {name!r} was made by another clara-wf in this moment")
    return blocks.add(text, name, layout.shown)


def delete(layout: Layout, name: str, shipped: Collection[str], *, force: bool = False) -> Path | None:
    """Take the block out of the SDK's file; returns the stage's folder when there is one: it stays.

    Raises UsageError while a workflow of the file uses the stage (not with `force`), NotFound, DefinitionError.
    """
    edit(layout.values, lambda text: _without(text, name, layout, shipped, force), layout.shown)
    folder = layout.stages / name
    return folder if folder.exists() else None


def _without(text: str, name: str, layout: Layout, shipped: Collection[str], force: bool) -> str:
    where = layout.shown
    if name not in blocks.find(text, where):
        raise _no_block(text, name, layout, shipped)
    if not force:
        findings = Findings(where)
        workflows, _ = clara_wf.read(source.decode(text, where), findings)
        findings.check()  # who uses the stage cannot be told of a file that cannot be read
        if users := [workflow for workflow in workflows if name in (step.stage for step in workflow.steps)]:
            listed = ", ".join(
                f"{short(one.name)} (line {one.id.line})" for one in users if isinstance(one.id, source.Text)
            )
            hint = "take it out there first, or delete it anyway with --force"
            raise UsageError(f"{where}: stage {name!r} is used by {listed}; {hint}")
    return blocks.remove(text, name, where)


def _no_block(text: str, name: str, layout: Layout, shipped: Collection[str]) -> NotFound | UsageError:
    where = layout.shown
    known = clara_wf.read(source.decode(text, where), Findings(where))[1]
    for spec in known:
        if spec.name == name:
            message = f"stage {name!r} stands without ##BEGIN_{name}##"
            return UsageError(f"{_place(layout, spec)}: {message}; delete its lines by hand")
    if name in shipped:
        return NotFound(f"{name} comes with clara-argo and is no part of {where}; there is nothing to delete")
    names = [spec.name for spec in known]
    hint = did_you_mean(name, names, f"it has {', '.join(names)}" if names else "it has no stages")
    return NotFound(f"{where}: no stage {short(name)}; {hint}")


def _place(layout: Layout, spec: StageSpec) -> str:
    name = spec.name
    return f"{layout.shown}:{name.line}:{name.column}" if isinstance(name, source.Text) else layout.shown
