"""One attempt at one stage: lay out its folders, run its process, take over what it wrote. Does not know retries."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from clara_argo import environment
from clara_argo.artifacts import tree
from clara_argo.graph import Node
from clara_argo.model.workflow import StageSpec
from clara_argo.runners import command, points, process
from clara_argo.runners.jobfolder import StageFolder
from clara_driver import contract
from clara_driver.driver import one_line

FULL = re.compile(r"No space left on device|Disk quota exceeded|\bENOSPC\b|\bEDQUOT\b")
NO_ROOM = 65536  # bytes: a disk with less is full
TAIL = 8192  # bytes of stderr that are looked at for a reason
MAX_PROGRESS = 64  # bytes

Inputs = Mapping[str, tuple[int, int]]  # file -> size, time of the last change in nanoseconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """`sources`: the folders that the node reads, by name; `facts`: the contract's variables that are no folders."""

    node: Node
    folder: StageFolder
    number: int
    sources: Mapping[str, Path]
    payload: Path
    library: Path
    facts: Mapping[str, str]
    grace: float
    held: int | None

    @property
    def spec(self) -> StageSpec:
        return self.node.spec

    @property
    def logs(self) -> Path:
        return self.folder.logs(self.number)

    def prepare(self) -> environment.Folders[Path]:
        """Empty folders, `input.lock` in place. What an earlier attempt left is removed."""
        for left in (self.folder.attempt, self.folder.locks):
            tree.remove(left)
        work = self.folder.attempt
        joined = self._joined(work / "input")
        several = next(iter(joined.values()), work) if self.spec.input_paths else work / "input"
        folders = environment.Folders(
            input=several if joined else next(iter(self.sources.values())),
            inputs=joined,
            output=work / "output",
            locks=self.folder.locks,
            logs=self.logs,
            work=work / "work",
            temporary=work / "tmp",
            progress=work / "progress",
            study=self.payload if self.spec.study else None,
            publish=work / "publish" if self.spec.publish else None,
            models=models(self.spec),
            application=self.spec.folder,
            outputs={name: work / "output" / name for name in self.spec.output_paths if name},
        )
        made = [folders.output, *folders.outputs.values(), folders.locks, folders.logs, folders.work, folders.temporary]
        for folder in [*made, *([folders.publish] if folders.publish else [])]:
            folder.mkdir(parents=True, exist_ok=True)
        (folders.locks / contract.INPUT_LOCK).touch()
        return folders

    def _joined(self, folder: Path) -> dict[str, Path]:
        """Several inputs: a sub-folder each, with its name; hard links, so it looks like a mount."""
        if len(self.sources) < 2:
            return {}
        folder.mkdir(parents=True)
        for name, source in self.sources.items():
            (folder / name).mkdir()
            tree.copy(source, folder / name, link=True, follow=source == self.payload)
        return {name: folder / name for name in self.sources}

    def run(self, stop: Callable[[], bool], on_progress: Callable[[str], None]) -> process.Ending:
        """Raises NotInstalled when the command cannot be one of this machine, OSError when nothing starts at all."""
        folders = self.prepare()
        points.reached("attempt-prepared")
        words = command.words(self.spec, self.node.step.args)
        facts = {**self.facts, contract.ATTEMPT: str(self.number)}
        base = environment.of_a_process(folders, self.library)
        variables = environment.variables(self.spec, folders, facts, base)
        if command.uses_module(self.spec):
            variables["PYTHONPATH"] += f":{self.spec.folder}"
        ending = process.run(
            process.Command(
                words=words,
                environment=variables,
                folder=folders.work,
                stdout=self.logs / "stdout.log",
                stderr=self.logs / "stderr.log",
                timeout=self.spec.timeout,
                grace=self.grace,
                held=self.held,
            ),
            stop=stop,
            tick=lambda: on_progress(read_progress(folders.progress)),
        )
        on_progress(read_progress(folders.progress))
        points.reached("stage-ended")
        return ending

    def inputs(self) -> Mapping[Path, Inputs]:
        """What lies in the folders that the stage reads, so that `unchanged` can tell. Raises OSError, Unusable."""
        wanted = [*([self.payload] if self.spec.study else []), *self.sources.values()]
        return {folder: _look(folder, follow=folder == self.payload) for folder in wanted}

    def unchanged(self, before: Mapping[Path, Inputs]) -> None:
        """Raises Unusable when an input is not what it was: other stages, a later run and its owner need it so.

        In the payload a new file is nobody's fault: a desktop or a file server may put one there.
        """
        for folder, now in self.inputs().items():
            changed = {name for name, what in before[folder].items() if now.get(name) != what}
            if folder != self.payload:
                changed |= now.keys() - before[folder].keys()
            if changed:
                more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
                raise tree.Unusable(
                    f"its input {folder} changed while it ran ({tree.printable(min(changed))}{more}); a stage writes "
                    f"only into the folder that {contract.OUTPUT} names: restore the input, correct the stage"
                )

    def seal(self) -> str:
        """Give the output its final name when it is one; returns its digest. Raises Unusable or OSError."""
        written = self.folder.attempt / "output"
        if written.is_symlink() or not written.is_dir():
            raise tree.Unusable("its output folder is gone; a stage writes into that folder and leaves it in its place")
        if not tree.has_files(written):
            raise tree.Unusable(
                "it ended well but wrote nothing into its output folder; a stage writes into the folder that "
                f"{contract.OUTPUT} names"
            )
        digest = tree.digest(written)
        tree.sync(written)
        points.reached("output-synced")
        tree.move(written, self.folder.output)
        points.reached("output-named")
        published = self.folder.attempt / "publish"
        if published.is_dir() and not published.is_symlink() and tree.has_files(published):
            tree.sync(published)
            tree.move(published, self.folder.publish)
        points.reached("publish-named")
        return digest

    def clean(self) -> None:
        """Remove what no later stage reads."""
        tree.remove(self.folder.attempt)

    def reason(self, ending: process.Ending) -> str:
        """Why the attempt failed, in one line for people."""
        if ending.cannot_start:
            return f"cannot start {one_line(self.spec.command[0], 200)!r}: {ending.cannot_start}; {self._what_next()}"
        if ending.cannot_end:
            return "it does not end, not even killed: a disk or device hangs; see its processes with 'ps'"
        if ending.timed_out:
            return f"time limit of {self.spec.timeout} s reached; raise 'timeout' in its stage.yaml if it needs longer"
        said = self._said()
        if FULL.search(said) or is_full(self.folder.root):
            return disk_full(self.folder.root, said or f"exit code {ending.exit_code}")
        if ending.signal is not None:
            name = Signals(ending.signal).name if ending.signal in list(Signals) else "a signal"
            hint = "; perhaps it needs more memory than there is" if name == "SIGKILL" else ""
            return f"killed by {name}{hint}" + (f": {said}" if said else "")
        return f"exit code {ending.exit_code}" + (f": {said}" if said else f"; see its logs ({self.number})")

    def _what_next(self) -> str:
        head = self.spec.command[0]
        if self.spec.folder is not None and (self.spec.folder / head).is_file():
            return "make the file executable (chmod +x) and check its first line"
        return "install it, or correct 'command' in the stage's stage.yaml"

    def _said(self) -> str:
        """What the driver left as the reason; else the last line on stderr."""
        for file in (self.logs / contract.ERROR_FILE, self.logs / "stderr.log"):
            if file.is_file():
                lines = [line for line in tail(file).splitlines() if line.strip()]
                if lines:
                    return one_line(lines[-1])
        return ""


def _look(folder: Path, *, follow: bool) -> Inputs:
    found = {}
    for name, is_folder in tree.entries(folder, follow=follow):
        if not is_folder:
            status = (folder / name).stat()
            found[name] = (status.st_size, status.st_mtime_ns)
    return found


def is_full(folder: Path) -> bool:
    """A stage that fills the disk may have no room left to say so."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < NO_ROOM or (disk.f_files > 0 and disk.f_favail == 0)


def disk_full(folder: Path, said: str) -> str:
    free = shutil.disk_usage(folder).free >> 20
    return f"disk full ({free} MiB free where the job is): {said}; make room, then resume the job"


def explain(error: OSError, folder: Path) -> str:
    """An error of this machine in the runner itself: reading an input, writing a job."""
    text = one_line(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))
    if error.errno in tree.FULL:
        return disk_full(folder, text)
    if error.errno in (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EIO):
        return f"cannot be read or written: {text}"
    return text


def tail(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL))
        return file.read().decode("utf-8", "replace")


def read_progress(path: Path) -> str:
    """`done/total` as last written; "" for anything else."""
    if not path.is_file():
        return ""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_PROGRESS).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return text if re.fullmatch(r"[0-9]{1,12}/[0-9]{1,12}", text) else ""


def models(spec: StageSpec) -> Path | None:
    """The stage's own `models` folder, else the one beside the project's `stages`."""
    if spec.folder is None:
        return None
    for folder in (spec.folder / "models", spec.folder.parent.parent / "models"):
        if folder.is_dir():
            return folder.absolute()
    return None
