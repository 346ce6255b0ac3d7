"""A podman of the tests' own: its images, containers and settings lie in a folder and go with it. And the Docker that
this machine has, where its daemon answers.

    with box.opened() as podman:      # a Box; or LookupError, which says what is missing
        podman.load(archive)

What a machine needs besides (limits that it does not let podman raise) stands in the folder's containers.conf.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster import image

from clara_argo.runners.engines.programs import LABELS, OPTIONS

SHELL = "localhost/clara-test/shell:1"
APPLETS = ("sh", "cat", "cp", "echo", "env", "id", "ls", "mkdir", "sleep", "stat", "touch", "test", "tr", "wc", "head")
LIMITS = ["nofile=1024:1024", "nproc=1024:1024"]  # podman would raise them; not every machine lets it
SECONDS = 120


class Box:
    """`environment` is what a caller of podman sets to get this one."""

    name = "podman"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = ["--root", f"{folder}/store", "--runroot", f"{folder}/run"]

    def environment(self, *volumes: str) -> dict[str, str]:
        """`volumes`: mounted into every container, as a test's own way in."""
        name = f"containers-{len(volumes)}-{abs(hash(volumes))}.conf"
        lines = ["[containers]", f"default_ulimits = {LIMITS}", f"volumes = {list(volumes)}"]
        (self.folder / name).write_text("\n".join(lines).replace("'", '"') + "\n")
        return {"CONTAINERS_CONF": str(self.folder / name), OPTIONS: shlex.join(self.options)}

    def __call__(self, *words: str) -> str:
        return _run(["podman", *self.options, *words], {**os.environ, **self.environment()})

    def load(self, archive: Path) -> None:
        self("load", "--quiet", "--input", str(archive))

    def containers(self) -> list[str]:
        return self("ps", "--all", "--quiet").split()


class Docker(Box):
    """The daemon's own store: the image goes at the end."""

    name = "docker"

    def environment(self, *volumes: str) -> dict[str, str]:
        """Docker has no settings for that: a program of its name before it on the PATH adds them to each run."""
        room = self.folder / f"docker-{abs(hash(volumes))}"
        room.mkdir(exist_ok=True)
        more = shlex.join(word for volume in volumes for word in ("--volume", volume))
        real = shlex.quote(str(shutil.which("docker")))
        script = f'#!/bin/sh\nif [ "$1" = run ]; then shift; set -- run {more} "$@"; fi\nexec {real} "$@"\n'
        (room / "docker").write_text(script)
        (room / "docker").chmod(0o755)
        return {"PATH": f"{room}:{os.environ['PATH']}"}

    def __call__(self, *words: str) -> str:
        return _run(["docker", *words], dict(os.environ))

    def containers(self) -> list[str]:
        return self("ps", "--all", "--quiet", "--filter", f"label={LABELS[1]}").split()


def missing() -> str:
    """What keeps this machine from running containers; "" when that has to be tried."""
    return ", ".join(name for name in ("podman", "busybox") if shutil.which(name) is None)


@contextmanager
def opened() -> Iterator[Box]:
    """With an image SHELL. Raises LookupError with why containers cannot run here.

    Its folder is not pytest's: podman takes no runroot of more than 50 characters.
    """
    if lacking := missing():
        raise LookupError(f"no {lacking} here")
    with tempfile.TemporaryDirectory(prefix="clara-", dir="/tmp") as room:
        box = Box(Path(room))
        try:
            _fill(box)
        except LookupError:
            with suppress(RuntimeError):  # what counts is why it could not be filled
                box("system", "reset", "--force")
            raise
        try:
            yield box
        finally:
            box("system", "reset", "--force")


@contextmanager
def docker(folder: Path) -> Iterator[Docker]:
    """The same with Docker."""
    if lacking := [name for name in ("docker", "busybox") if shutil.which(name) is None]:
        raise LookupError(f"no {', '.join(lacking)} here")
    box = Docker(folder)
    _fill(box)
    try:
        yield box
    finally:
        box("image", "rm", "--force", SHELL)


def _fill(box: Box) -> None:
    archive = box.folder / "shell.tar"
    busybox = str(shutil.which("busybox"))
    links = [(f"/bin/{name}", "busybox") for name in APPLETS]
    image.build(archive, SHELL, [(busybox, "/bin/busybox", "755")], dirs=[("/app", 0o755)], symlinks=links)
    try:
        box.load(archive)
        box("run", "--rm", "--network", "none", SHELL, "sh", "-c", "exit 0")
    except RuntimeError as error:
        raise LookupError(f"{box.name} cannot run containers here: {error}") from None


def _run(command: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stderr.splitlines() or [''])[-1]}")
    return done.stdout.strip()
