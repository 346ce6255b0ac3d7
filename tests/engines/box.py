"""A podman of the tests' own: its images, containers and settings lie in a folder and go with it.

    with box.opened(folder) as podman:      # a Box; or LookupError, which says what is missing
        podman.load(archive)

What a machine needs besides (limits that it does not let podman raise) stands in the folder's containers.conf.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster import image

from clara_argo.runners.engines.programs import OPTIONS

SHELL = "localhost/clara-test/shell:1"
APPLETS = ("sh", "cat", "cp", "echo", "env", "id", "ls", "mkdir", "sleep", "stat", "touch", "test", "tr", "wc", "head")
LIMITS = ["nofile=1024:1024", "nproc=1024:1024"]  # podman would raise them; not every machine lets it
SECONDS = 120


class Box:
    """`environment` is what a caller of podman sets to get this one."""

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


def missing() -> str:
    """What keeps this machine from running containers; "" when that has to be tried."""
    return ", ".join(name for name in ("podman", "busybox") if shutil.which(name) is None)


@contextmanager
def opened(folder: Path) -> Iterator[Box]:
    """With an image SHELL. Raises LookupError with why containers cannot run here."""
    if lacking := missing():
        raise LookupError(f"no {lacking} here")
    box = Box(folder)
    archive = folder / "shell.tar"
    busybox = str(shutil.which("busybox"))
    links = [(f"/bin/{name}", "busybox") for name in APPLETS]
    image.build(archive, SHELL, [(busybox, "/bin/busybox", "755")], dirs=[("/app", 0o755)], symlinks=links)
    try:
        try:
            box.load(archive)
            box("run", "--rm", "--network", "none", SHELL, "sh", "-c", "exit 0")
        except RuntimeError as error:
            raise LookupError(f"podman cannot run containers here: {error}") from None
        yield box
    finally:
        box("system", "reset", "--force")


def _run(command: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stderr.splitlines() or [''])[-1]}")
    return done.stdout.strip()
