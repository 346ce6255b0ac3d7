"""kubectl, for what it does better than we: kustomize, and server-side apply of definitions of three megabytes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clara_argo.errors import NotInstalled, Refused, TryAgain

PROGRAM = "kubectl"
LONGEST = 600.0  # seconds, for one call; a release of Argo is 12 MB from the network
LAST_LINES = 12
FORCE = "--force-conflicts"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kubectl:
    """One cluster. Empty: kubectl's own choice, which is also that of `clara`."""

    kubeconfig: str = ""
    context: str = ""

    def check(self) -> None:
        """Raises NotInstalled."""
        if shutil.which(PROGRAM) is None:
            message = f"{PROGRAM} is not on the PATH; install it (https://kubernetes.io/docs/tasks/tools/)"
            raise NotInstalled(f"{message} and try again")

    def build(self, folder: Path, into: Path) -> None:
        """Write all objects of a kustomization into one file. Raises Refused with what kubectl says."""
        into.write_bytes(_run([PROGRAM, "kustomize", str(folder)]))

    def names(self, file: Path) -> tuple[str, ...]:
        """The objects of a file as kind/name; the cluster is asked for kinds only."""
        done = _run(self._command("create", "--dry-run=client", "--validate=false", "-o", "name", "-f", str(file)))
        return tuple(done.decode("utf-8", "replace").split())

    def apply(self, file: Path, *, dry_run: bool, force: bool, say: Say) -> tuple[str, ...]:
        """What became of each object, a line each. `force`: take over fields that somebody else set.

        Warnings are handed to `say`.
        """
        options = [*(["--dry-run=server"] if dry_run else []), *([FORCE] if force else [])]
        try:
            done = _run(self._command("apply", "--server-side", *options, "-f", str(file)), say)
        except Refused as error:
            hint = "\n  'clara cluster install --force' takes it over" if FORCE in str(error) and not force else ""
            raise Refused(f"{error}{hint}") from None
        return tuple(done.decode("utf-8", "replace").splitlines())

    def _command(self, *words: str) -> list[str]:
        chosen = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        return [PROGRAM, *chosen, *([f"--context={self.context}"] if self.context else []), *words]


def _run(command: list[str], say: Say = lambda line: None) -> bytes:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        raise TryAgain(f"{shlex.join(command)}: did not end within {LONGEST:.0f} s; try again") from None
    except OSError as error:
        raise NotInstalled(f"{command[0]} cannot be started: {error.strerror}; is it still on the PATH?") from None
    lines = [line[:500] for line in done.stderr.decode("utf-8", "replace").splitlines()]
    if done.returncode:
        said = "\n".join(f"  {line}" for line in lines[-LAST_LINES:]) or "  (it said nothing)"
        raise Refused(f"{shlex.join(command)} ended with {done.returncode}:\n{said}")
    for line in lines:
        say(line)
    return done.stdout
