"""Builders of container images: the words of docker, podman and buildah for the few things that we ask of them.

A builder is a program on the PATH. Options that it needs for each call (`--root DIR`, `--storage-driver vfs`) are the
user's: `CLARA_BUILDER_OPTIONS`. It is started without a shell; nothing here knows what a stage is.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clara_argo.errors import JobFailed, NotInstalled, UsageError

OPTIONS = "CLARA_BUILDER_OPTIONS"
LONGEST = 3600.0  # seconds, for one call
ANSWER = 15.0  # seconds, for a daemon to say that it is there
GRACE = 10.0  # seconds between asking a builder to end and ending it
LAST_LINES = 20

Say = Callable[[str], None]


class BuildFailed(JobFailed):
    """A builder ended with an error; the message has its last lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Builder:
    """`options` go behind the program's name in each call."""

    name: str  # docker, podman or buildah
    options: tuple[str, ...] = ()

    def build(
        self,
        image: str,
        context: Path | str,
        *,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
        extra: Sequence[str] = (),
    ) -> list[str]:
        """The command that builds `context`, a folder with a Dockerfile. `extra`: further options of the builder's."""
        given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        given += [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
        return self._call("build", *given, *extra, "--tag", image, str(context))

    def push(self, image: str) -> list[str]:
        return self._call("push", image, *([f"docker://{image}"] if self.name == "buildah" else []))

    def save(self, image: str, archive: Path | str) -> list[str]:
        """The command that writes an archive as `docker load`, `kind load` and `ctr images import` take it."""
        if self.name == "buildah":
            return self._call("push", image, f"docker-archive:{archive}:{image}")
        form = ["--format", "docker-archive"] if self.name == "podman" else []
        return self._call("save", *form, "--output", str(archive), image)

    def inspect(self, image: str) -> list[str]:
        """The command that ends with 0 when the builder has the image."""
        if self.name == "buildah":
            return self._call("inspect", "--type", "image", image)
        return self._call("image", "inspect", image)

    def has(self, image: str) -> bool:
        """Raises BuildFailed when the builder does not work at all."""
        if _succeeds(self.inspect(image)):
            return True
        if not _succeeds(self._call("images")):
            run(self._call("images"), what=f"{self.name} images")
        return False

    def _call(self, *words: str) -> list[str]:
        return [self.name, *self.options, *words]


BUILDERS = ("docker", "podman", "buildah")


def find(name: str = "", *, installed: bool = True) -> Builder:
    """The builder of that name, else the first that works. `installed=False`: a named one need not be here.

    Raises NotInstalled, or UsageError when CLARA_BUILDER_OPTIONS cannot be read.
    """
    options = _options()
    if name:
        if installed and shutil.which(name) is None:
            raise NotInstalled(f"{name} is not on the PATH; install it, or choose another one with --builder")
        return Builder(name=name, options=options)
    here = [known for known in BUILDERS if shutil.which(known)]
    for known in here:
        if known != "docker" or _succeeds([known, *options, "version"]):
            return Builder(name=known, options=options)
    reason = "docker is here, but its daemon does not answer" if here else "none of them is on the PATH"
    raise NotInstalled(f"no builder of images: {', '.join(BUILDERS)} would do; {reason}; start or install one")


def _options() -> tuple[str, ...]:
    try:
        return tuple(shlex.split(os.environ.get(OPTIONS, "")))
    except ValueError as error:
        raise UsageError(f"{OPTIONS} cannot be split into words: {error}; quote it as in a shell") from None


def _succeeds(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER, check=False)
    except (subprocess.TimeoutExpired, OSError):
        return False
    return done.returncode == 0


def run(command: Sequence[str], *, what: str, say: Say = lambda line: None, seconds: float = LONGEST) -> None:
    """Start a builder and wait for it; each of its lines is handed to `say`.

    Raises BuildFailed with its last lines when it fails or takes longer than `seconds`, NotInstalled when it is gone.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    late = threading.Event()
    try:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise NotInstalled(f"{command[0]} cannot be started: {error.strerror}; is it still on the PATH?") from None

    def give_up() -> None:
        late.set()
        _end(process)

    clock = threading.Timer(seconds, give_up)
    clock.start()
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line.rstrip())
                say(line.rstrip())
            code = process.wait()
        except BaseException:  # Ctrl-C among them: nothing goes on without us
            _end(process)
            raise
        finally:
            clock.cancel()
    if late.is_set() or code:
        reason = f"did not end within {seconds:.0f} s" if late.is_set() else f"ended with {code}"
        text = "\n".join(f"  {line}" for line in last) or "  (it said nothing)"
        # Not the command itself: a password for an index of packages may be in it.
        raise BuildFailed(f"{what}: {command[0]} {reason}; its last lines:\n{text}\nAll of them with -v.")


def _end(process: subprocess.Popen[str]) -> None:
    """The builder and what it started, all of its session: asked first, then made to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=GRACE)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
