"""The words of podman and docker for the few things that we ask of them: run, end, find images, clear away.

Nothing here passes a shell, and nothing is ever fetched: an image is here, or the answer says how to get it. Options
for each call (`--root DIR`) are the user's: CLARA_ENGINE_OPTIONS.
https://docs.podman.io/en/v4.3/markdown/podman-run.1.html · https://docs.docker.com/reference/cli/docker/container/run/
"""

from __future__ import annotations

import csv
import io
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clara_argo.errors import NotInstalled, UsageError

OPTIONS = "CLARA_ENGINE_OPTIONS"
ANSWER = 60.0  # seconds, for a question
LABELS = ("org.clara-argo.home", "org.clara-argo.job")
PROXIES = {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"}  # both hand them on
ALGORITHM = "sha256:"  # stands before the ids of docker, not before those of podman
SELINUX = Path("/sys/fs/selinux/enforce")
PROCESSES = 2048  # podman has this limit of its own, docker none
SHM = "64m"  # what Kubernetes gives


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A folder or file of this machine at a place in the container."""

    source: Path
    target: PurePosixPath
    read_only: bool = False

    @property
    def words(self) -> str:
        """As one line of CSV, which both programs read: a path may hold any character but a line's end."""
        fields = ["type=bind", f"source={self.source}", f"destination={self.target}"]
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([*fields, *(["readonly=true"] if self.read_only else [])])
        return line.getvalue()


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """What runs: as on a cluster, with a read-only root, no rights, and a network only when it was asked for."""

    name: str
    labels: Mapping[str, str]
    image: str
    words: Sequence[str]  # empty = what the image starts by itself
    arguments: Sequence[str]
    environment: Mapping[str, str]
    mounts: Sequence[Mount]
    folder: str  # working directory
    user: tuple[int, int]  # of this machine: owns what the container writes
    network: bool
    memory: int  # bytes; 0 = no limit
    gpus: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """podman or docker. `alone`: its containers are processes of the caller, not of a daemon."""

    name: str
    package: str
    alone: bool

    def call(self, *words: str) -> list[str]:
        """Raises UsageError when the user's options cannot be read."""
        try:
            return [self.name, *shlex.split(os.environ.get(OPTIONS, "")), *words]
        except ValueError as error:
            raise UsageError(f"{OPTIONS} cannot be split into words: {error}; quote it as in a shell") from None

    def run(self, container: Container) -> list[str]:
        program = ["--entrypoint", container.words[0]] if container.words else []
        rest = [*container.words[1:], *container.arguments]
        return self.call("run", *self._options(container), *program, container.image, *rest)

    def _options(self, container: Container) -> Iterator[str]:
        uid, gid = container.user
        yield from ("--name", container.name, "--rm", "--pull", "never", "--log-driver", "none")
        for label, value in container.labels.items():
            yield from ("--label", f"{label}={value}")
        yield from ("--user", f"{uid}:{gid}", "--workdir", container.folder)
        yield from ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
        if self.alone:
            yield from ("--read-only-tmpfs=false", "--tmpfs", f"/dev/shm:rw,nosuid,nodev,size={SHM},mode=1777")
            yield from ("--userns", "keep-id") if os.geteuid() else ()
        yield from ("--security-opt", "label=disable") if SELINUX.exists() else ()
        yield from () if container.network else ("--network", "none")
        if container.memory:
            yield from ("--memory", f"{container.memory}b", "--memory-swap", f"{container.memory}b")
        yield from () if self.alone else ("--pids-limit", str(PROCESSES))
        yield from self._gpus(container.gpus)
        for name in () if self.alone else sorted(_either(PROXIES) - container.environment.keys()):
            yield from ("--env", name)  # of the client's settings; without a value it is taken out
        for name, value in container.environment.items():
            yield from ("--env", f"{name}={value}")
        for mount in container.mounts:
            yield from ("--mount", mount.words)

    def _gpus(self, count: int) -> Iterator[str]:
        if not self.alone:
            yield from ("--gpus", str(count)) if count else ()
            return
        for number in range(count):
            yield from ("--device", f"nvidia.com/gpu={number}")

    def end(self, name: str) -> list[str]:
        """The command that ends a container at once and removes it."""
        return self.call("rm", "--force", *(["--time", "0"] if self.alone else []), name)

    def sweep(self, job: str, home: str) -> None:
        """Remove the containers of a job that nobody looks after any more. Raises NotInstalled."""
        filters = [word for label, value in zip(LABELS, (home, job), strict=True) for word in _filter(label, value)]
        for name in self._answer("ps", "--all", "--quiet", *filters).split():
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    self.end(name), env=surroundings(), stdin=subprocess.DEVNULL, capture_output=True,
                    timeout=ANSWER, check=False,
                )  # fmt: skip

    def images(self, names: Sequence[str]) -> dict[str, str]:
        """Id of each of these images that is here. Raises NotInstalled when the program does not work."""
        unique = list(dict.fromkeys(names))
        with suppress(_Failed):
            return dict(zip(unique, self._ids(unique), strict=True))
        self._answer("images", "--quiet")
        found = {}
        for name in unique:
            with suppress(_Failed):
                found[name] = self._ids([name])[0]
        return found

    def _ids(self, names: Sequence[str]) -> list[str]:
        said = self._ask("image", "inspect", "--format", "{{.Id}}", *names)
        return [line.removeprefix(ALGORITHM) for line in said.split()]

    def _answer(self, *words: str) -> str:
        """Raises NotInstalled, with what it said, when it cannot even do this."""
        try:
            return self._ask(*words)
        except _Failed as error:
            raise NotInstalled(f"{self.name} is here, but does not work: {error}; start or repair it") from None

    def _ask(self, *words: str) -> str:
        """Raises _Failed, and NotInstalled when there is no such program, or one that hangs."""
        if shutil.which(self.name) is None:
            raise NotInstalled(
                f"{self.name} is not on the PATH; install it ({self.package}), or choose another engine with --engine"
            )
        try:
            done = subprocess.run(
                self.call(*words), env=surroundings(), stdin=subprocess.DEVNULL, capture_output=True,
                encoding="utf-8", errors="replace", timeout=ANSWER, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            asked = f"'{self.name} {words[0]}' gave no answer within {ANSWER:.0f} s"
            raise NotInstalled(f"{self.name} is here, but does not work: {asked}; start or repair it") from None
        except OSError as error:
            raise _Failed(str(error)) from None
        if done.returncode:
            raise _Failed((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
        return done.stdout


class _Failed(Exception):
    """A call ended with an error; the last line that it said."""


def _either(names: set[str]) -> set[str]:
    return names | {name.upper() for name in names}


def _filter(label: str, value: str) -> tuple[str, str]:
    return "--filter", f"label={label}={value}"


def surroundings() -> dict[str, str]:
    """The environment of the program itself: where its store and its daemon are. Containers see nothing of it."""
    return {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}


PODMAN = Program(name="podman", package="Debian, Ubuntu, Fedora: the package podman", alone=True)
DOCKER = Program(name="docker", package="https://docs.docker.com/engine/install/", alone=False)
PROGRAMS: Mapping[str, Program] = {program.name: program for program in (PODMAN, DOCKER)}
