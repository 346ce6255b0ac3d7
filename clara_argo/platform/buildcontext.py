"""The folders that images are built from: what a Dockerfile may copy.

A stage's has `clara_driver` beside its files, and `clara` where its code imports that; the adapter's has the packages
of clara-argo. The same from a checkout and from an installed wheel. Files are linked where that is possible; everyone
may read them, as in the image.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

import clara_driver
from clara_argo import shim, shipped

LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".venv", ".*_cache")
ADAPTER_FILES = ("Dockerfile", "requirements.txt", "constraints.txt")
PACKAGES = ("clara_argo", "clara_adapter", "clara_driver")
SHIPPED = ("stages", "templates")
LAUNCHER = """#!/usr/bin/env python3
import sys

from clara_argo.cli import main

sys.exit(main())
"""


def stage(source: Path, target: Path) -> None:
    """Make `target`, which must not be there, from a stage's folder. A `clara_driver` or `clara` of its own stays."""
    _tree(source, target)
    driver = target / clara_driver.__name__
    if not driver.exists():
        _tree(Path(clara_driver.__file__).parent, driver)
    if shim.wanted(source):
        _tree(shim.package(), target / shim.PACKAGE)
    _let_all_read(target)


def adapter(source: Path, target: Path) -> None:
    """Make `target` from the adapter's folder; stages and templates lie where an installed package has them."""
    target.mkdir(parents=True)
    for name in ADAPTER_FILES:
        _file(source / name, target / name)
    launcher = target / "clara"
    launcher.write_text(LAUNCHER, encoding="utf-8")
    launcher.chmod(0o755)
    for package in PACKAGES:
        _tree(_package(package), target / "packages" / package)
    for name in SHIPPED:
        inside = target / "packages" / "clara_argo" / "_shipped" / name
        if not inside.exists():
            for folder in _folders(name):
                _tree(folder, inside / folder.name)
    _let_all_read(target)


def _folders(name: str) -> Iterable[Path]:
    """Those of the shipped folder; in a checkout the driver, a package, lies among the stages."""
    return (path for path in shipped.folder(name).iterdir() if path.is_dir() and path.name not in PACKAGES)


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)  # by name: the adapter is above this module
    assert found is not None and found.origin is not None  # the packages of one distribution
    return Path(found.origin).parent


def _tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, ignore=LEFT_OUT, copy_function=_file)


def _file(source: str | Path, target: str | Path) -> None:
    """A second name costs nothing; a copy where that cannot be, or where others could not read it in the image."""
    source, target = Path(source), Path(target)
    mode = stat.S_IMODE(source.stat().st_mode)
    readable = mode | 0o444 | (0o111 if mode & 0o100 else 0)
    if mode == readable:
        try:
            os.link(source, target)
        except OSError:  # another file system, one without links, or a file of somebody else
            pass
        else:
            return
    shutil.copy2(source, target)
    target.chmod(readable)


def _let_all_read(target: Path) -> None:
    """An image keeps the modes of its folders, and its user is not the one who builds it."""
    for folder in (target, *target.rglob("*")):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o555)
