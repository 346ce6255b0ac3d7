"""Where clara-argo keeps its state and its settings. It makes no folder until one is asked for.

State: CLARA_HOME, else `clara-argo` in the XDG state folder (~/.local/state). Settings: `clara-argo` in the XDG
configuration folder (~/.config).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import clara_driver
from clara_argo.errors import UsageError

NAME = "clara-argo"


def state(environ: Mapping[str, str] | None = None) -> Path:
    """The folder with the jobs."""
    environ = os.environ if environ is None else environ
    if environ.get("CLARA_HOME"):
        return Path(environ["CLARA_HOME"]).expanduser().absolute()
    return _xdg(environ, "XDG_STATE_HOME", ".local/state")


def config(environ: Mapping[str, str] | None = None) -> Path:
    """The folder with the user's settings."""
    return _xdg(os.environ if environ is None else environ, "XDG_CONFIG_HOME", ".config")


def _xdg(environ: Mapping[str, str], variable: str, otherwise: str) -> Path:
    """Relative values are ignored, as the XDG base directory specification demands."""
    folder = Path(environ.get(variable, ""))
    if folder.is_absolute():
        return folder / NAME
    user = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    return user / otherwise / NAME


def jobs(home: Path) -> Path:
    """Where the jobs of a home are: one folder each, named by the job's id."""
    return home / "jobs"


def driver_path(home: Path) -> Path:
    """A folder for PYTHONPATH that holds `clara_driver` and nothing else.

    A stage must not be able to import what its container will not have; in a wheel, clara_driver lies in
    site-packages among everything else. The name depends on where clara_driver is, so the link never changes.
    """
    if os.pathsep in str(home):
        raise UsageError(f"{home}: a '{os.pathsep}' separates folders in PYTHONPATH; set CLARA_HOME to one without it")
    package = Path(clara_driver.__file__).resolve().parent
    folder = home / "lib" / hashlib.sha256(os.fsencode(package)).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / package.name
    if not link.is_symlink():
        with suppress(FileExistsError):  # another process was faster; its link says the same
            link.symlink_to(package, target_is_directory=True)
    return folder
