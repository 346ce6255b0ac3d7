"""One attempt at one stage: lay out its folders, have it run, take over what it wrote. Does not know retries."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from clara_argo.artifacts import tree
from clara_argo.graph import Node
from clara_argo.model.target import PROCESS
from clara_argo.model.workflow import StageSpec
from clara_argo.runners import foreign, hints, points, process
from clara_argo.runners.engines import Engine
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
    engine: Engine
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

    def run(self, stop: Callable[[], bool], on_progress: Callable[[str], None]) -> process.Ending:
        """Raises NotInstalled when the engine cannot run it here, OSError when nothing starts at all."""
        self._lay()
        started = self.engine.start(self)
        points.reached("attempt-prepared")
        ending = process.run(started.command, stop=stop, tick=lambda: on_progress(read_progress(started.progress)))
        on_progress(read_progress(started.progress))
        points.reached("stage-ended")
        return self.engine.meant(ending, self)

    def _lay(self) -> None:
        """What every engine needs, empty, with `input.lock` in place. What an earlier attempt left is removed."""
        for left in (self.folder.attempt, self.folder.locks):
            tree.remove(left)
        for folder in (*self.written, self.folder.locks, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        (self.folder.locks / contract.INPUT_LOCK).touch()

    @property
    def output(self) -> Path:
        return self.folder.attempt / "output"

    @property
    def publish(self) -> Path | None:
        return self.folder.attempt / "publish" if self.spec.publish else None

    @property
    def written(self) -> tuple[Path, ...]:
        """The folders that hold what is kept of what the stage writes."""
        parts = (self.output / name for name in self.spec.output_paths if name)
        return (self.output, *parts, *([self.publish] if self.publish else []))

    def command(
        self, words: Sequence[str], variables: Mapping[str, str], folder: Path, end: Sequence[str] = ()
    ) -> process.Command:
        """As a command under a guard, with the stage's limits and logs."""
        return process.Command(
            words=words,
            environment=variables,
            folder=folder,
            stdout=self.logs / "stdout.log",
            stderr=self.logs / "stderr.log",
            timeout=self.spec.timeout,
            grace=self.grace,
            held=self.held,
            end=end,
        )

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
        written = self.output
        if written.is_symlink() or not written.is_dir():
            raise tree.Unusable("its output folder is gone; a stage writes into that folder and leaves it in its place")
        if not tree.has_files(written):
            raise tree.Unusable(
                "it ended well but wrote nothing into its output folder; a stage writes into the folder that "
                f"{contract.OUTPUT} names" + (f"; {advice}" if (advice := self._advice(silent="")) else "")
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
        """Why the attempt failed, in one line for people, and what they may do about it."""
        itself = ending.signal is None and not ending.timed_out and not ending.cannot_start
        why, advice = self._why(ending), self._advice(silent=self.said() if itself else None)
        return f"{why}; {advice}" if advice else why

    def _why(self, ending: process.Ending) -> str:
        if ending.cannot_start:
            what = one_line((*self.spec.command, str(self.spec.image))[0], 200)
            return f"cannot start {what!r}: {ending.cannot_start}; {self.engine.what_next(self)}"
        if ending.cannot_end:
            return "it does not end, not even killed: a disk or device hangs; see its processes with 'ps'"
        if ending.timed_out:
            return f"time limit of {self.spec.timeout} s reached; raise 'timeout' in its stage.yaml if it needs longer"
        said = self.said()
        if FULL.search(said) or is_full(self.folder.root):
            return disk_full(self.folder.root, said or f"exit code {ending.exit_code}")
        if ending.signal is not None:
            name = Signals(ending.signal).name if ending.signal in list(Signals) else "a signal"
            hint = "; perhaps it needs more memory than there is" if name == "SIGKILL" else ""
            return f"killed by {name}{hint}" + (f": {said}" if said else "")
        return f"exit code {ending.exit_code}" + (f": {said}" if said else f"; see its logs ({self.number})")

    def said(self) -> str:
        """What the driver left as the reason; else the last line on stderr."""
        for file in (self.logs / contract.ERROR_FILE, self.logs / "stderr.log"):
            lines = [line for line in tail(file).splitlines() if line.strip()]
            if lines:
                return one_line(lines[-1])
        return ""

    def _advice(self, *, silent: str | None) -> str:
        """From what it said: the reason comes last, in error.txt when a driver wrote it.

        `silent`: its last words when its code may say what they do not.
        """
        contained = self.engine.name != PROCESS
        logs = (self.logs / "stdout.log", self.logs / "stderr.log", self.logs / contract.ERROR_FILE)
        for said in map(tail, reversed(logs)):
            if advice := hints.advice(said, self.spec, contained=contained):
                return advice
        return "" if silent is None else hints.silent(silent, self.spec, contained=contained)


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
    return foreign.tail(path, TAIL)


def read_progress(path: Path) -> str:
    """`done/total` as last written; "" for anything else."""
    file = foreign.opened(path)
    if file is None:
        return ""
    with file:
        text = file.read(MAX_PROGRESS).decode("ascii", "replace").strip()
    return text if re.fullmatch(r"[0-9]{1,12}/[0-9]{1,12}", text) else ""
