"""The engine of processes: a stage is a command of this machine, its folders lie below the job.

Only the variables tell a stage where they are; a stage that needs the paths of its image is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clara_argo import environment
from clara_argo.artifacts import tree
from clara_argo.graph import Graph, Node
from clara_argo.model.target import PROCESS
from clara_argo.model.workflow import StageSpec
from clara_argo.runners import command, keys, process
from clara_argo.runners.engines.engine import Start
from clara_driver import contract

if TYPE_CHECKING:
    from clara_argo.runners.attempt import Attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    @property
    def name(self) -> str:
        return PROCESS

    def made_of(self, node: Node) -> Mapping[str, str]:
        folder = models(node.spec)
        return {"code": keys.code(node.spec.folder), "models": keys.models(node.spec.folder, folder)}

    def start(self, attempt: Attempt) -> Start:
        folders = lay(attempt)
        spec = attempt.spec
        facts = {**attempt.facts, contract.ATTEMPT: str(attempt.number)}
        base = environment.of_a_process(folders, attempt.library)
        variables = environment.variables(spec, folders, facts, base)
        if spec.env.get("PYTHONPATH"):
            variables["PYTHONPATH"] += f":{base['PYTHONPATH']}"
        if command.uses_module(spec):
            variables["PYTHONPATH"] += f":{spec.folder}"
        words = [environment.filled(word, variables) for word in command.words(spec, attempt.node.step.args)]
        return Start(command=attempt.command(words, variables, folders.work), progress=folders.progress)

    def meant(self, ending: process.Ending, attempt: Attempt) -> process.Ending:
        return ending

    def what_next(self, attempt: Attempt) -> str:
        spec = attempt.spec
        if spec.folder is not None and (spec.folder / spec.command[0]).is_file():
            return "make the file executable (chmod +x) and check its first line"
        return "install it, or correct 'command' in the stage's stage.yaml"


def processes(graph: Graph) -> Processes:
    """Raises NotInstalled when a stage cannot be a process here."""
    for node in graph.nodes:
        command.words(node.spec, node.step.args)
    return Processes()


def lay(attempt: Attempt) -> environment.Folders[Path]:
    """The folders of one attempt, where its process finds them."""
    spec, work = attempt.spec, attempt.folder.attempt
    joined = _joined(attempt, work / "input")
    several = next(iter(joined.values()), work) if spec.input_paths else work / "input"
    folders = environment.Folders(
        input=several if joined else next(iter(attempt.sources.values())),
        inputs=joined,
        output=attempt.output,
        locks=attempt.folder.locks,
        logs=attempt.logs,
        work=work / "work",
        temporary=work / "tmp",
        progress=work / "progress",
        study=attempt.payload if spec.study else None,
        publish=attempt.publish,
        models=models(spec),
        application=spec.folder,
        outputs={name: attempt.output / name for name in spec.output_paths if name},
    )
    for folder in (folders.work, folders.temporary):
        folder.mkdir()
    return folders


def _joined(attempt: Attempt, folder: Path) -> dict[str, Path]:
    """Several inputs: a sub-folder each, with its name; hard links, so it looks like a mount."""
    if len(attempt.sources) < 2:
        return {}
    folder.mkdir(parents=True)
    for name, source in attempt.sources.items():
        (folder / name).mkdir()
        tree.copy(source, folder / name, link=True, follow=source == attempt.payload)
    return {name: folder / name for name in attempt.sources}


def models(spec: StageSpec) -> Path | None:
    """The stage's own `models` folder, else the one beside the project's `stages`."""
    if spec.folder is None:
        return None
    for folder in (spec.folder / "models", spec.folder.parent.parent / "models"):
        if folder.is_dir():
            return folder.absolute()
    return None
