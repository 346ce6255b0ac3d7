"""The real images of the stages and the adapter as archives, for a cluster that has no registry.

Built once with buildah on a Debian of its own (debootstrap) and kept in the cache, by what they are built from:

    python tests/cluster/images.py          # prints the archives

    for archive in images.archives(*images.STAGES).values():
        node.load(archive)

Their names are those that `clara compile --registry localhost` writes. CLARA_TEST_DEBIAN_MIRROR: an address of Debian
other than deb.debian.org.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clara_argo import data, project
from clara_argo.platform import images
from clara_argo.platform.builders import Builder

STAGES = ("dicom-reader", "ct-organ-seg", "dicom-writer")  # of the reference workflow
SHIPPED = (*STAGES, "ct-recon")
REGISTRY = "localhost"
ROOT = Path(__file__).resolve().parent.parent.parent
BASE = "localhost/clara-argo/debian-python:bookworm-1"  # its number goes up when what is below changes
PACKAGES = "python3,python3-pip,ca-certificates"
NOT_NEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "debootstrap")
SEARCH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST_FILES = ("/etc/ssl/certs", "/etc/pip.conf")  # where pip finds its index, and whom it trusts
SECONDS = 1800


def missing() -> str:
    """What keeps this machine from building images; "" when nothing does."""
    if os.geteuid() != 0:
        return "images are built as root"
    return ", ".join(name for name in ("buildah", "debootstrap", "tar") if shutil.which(name) is None)


def archives(*names: str) -> dict[str, Path]:
    """Image -> archive (`docker load`, `ctr images import`) of these stages, or of all and the adapter.

    The adapter's changes with every line of clara-argo: who needs stages only does not ask for it. The first
    time takes some minutes and a network. Raises LookupError when one is lacking and cannot be built here.
    """
    folder = data.cache() / "cluster" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = images.choose(project.stage_specs(ROOT), names, REGISTRY)
    with _alone(folder):
        found = {one: folder / f"{one.name}-{_digest(one)[:16]}.tar" for one in wanted}
        lacking = {one: path for one, path in found.items() if not path.exists()}
        if lacking:
            if reason := missing():
                raise LookupError(f"images of {', '.join(one.name for one in lacking)} are not there: {reason}")
            _build(folder, lacking)
    return {one.image: path for one, path in found.items()}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Several test processes may ask at once; one builds."""
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(one: images.Wanted) -> str:
    """Of everything that goes into an image: its Dockerfile and what that copies."""
    found = hashlib.sha256(f"{BASE}\n{one.image}\n".encode())
    with images.context(one) as folder:
        for path in sorted({folder / images.DOCKERFILE, *_copied(folder)}):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found.update(f"{path.relative_to(folder)} {content}\n".encode())
    return found.hexdigest()


def _copied(folder: Path) -> Iterator[Path]:
    """The files that a Dockerfile takes from its folder."""
    lines = map(str.split, (folder / images.DOCKERFILE).read_text().splitlines())
    words = [word for line in lines if line[:1] == ["COPY"] and "--from" not in line[1] for word in line[1:-1]]
    for path in (path for word in words for path in folder.glob(word)):
        yield from (below for below in path.rglob("*") if below.is_file()) if path.is_dir() else [path]


def _build(folder: Path, lacking: dict[images.Wanted, Path]) -> None:
    """Images that are not up to date go first, and what a build left that was killed: hundreds of megabytes each."""
    mounts = Path("/proc/mounts").read_text()
    for left in folder.glob(".build-*"):
        if str(left) not in mounts:
            shutil.rmtree(left, ignore_errors=True)
    for one in lacking:
        for old in folder.glob(f"{one.name}-*.tar"):
            old.unlink()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as room:
        options = ("--storage-driver", "vfs", "--root", f"{room}/store", "--runroot", f"{room}/run")
        builder = Builder(name="buildah", options=options)
        _base(builder, folder / f"{BASE.rpartition(':')[2]}.tar", Path(room))
        extra = ["--isolation", "chroot", "--network", "host"]
        for shared in filter(os.path.exists, HOST_FILES):
            extra += ["--volume", f"{shared}:{shared}:ro"]
        plan = images.Plan(builder=builder, base=BASE, archives=Path(room) / "made", extra=tuple(extra))
        for one, path in lacking.items():
            images.build(one, plan)
            made = plan.archive(one)
            assert made is not None
            made.rename(path)


def _base(builder: Builder, archive: Path, room: Path) -> None:
    """A Debian with Python and pip, in the builder's store."""
    if not archive.exists():
        _debian(builder, archive, room)
    else:
        _run("buildah", *builder.options, "pull", f"docker-archive:{archive}")


def _debian(builder: Builder, archive: Path, room: Path) -> None:
    root = room / "debian"
    mirror = os.environ.get("CLARA_TEST_DEBIAN_MIRROR", "http://deb.debian.org/debian")
    _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root), mirror)
    for name in NOT_NEEDED:
        shutil.rmtree(root / name, ignore_errors=True)
    _run("tar", "-C", str(root), "-cf", f"{room}/debian.tar", ".")
    shutil.rmtree(root)
    buildah = ("buildah", *builder.options)
    container = _run(*buildah, "from", "scratch")
    _run(*buildah, "add", container, f"{room}/debian.tar", "/")
    _run(*buildah, "config", "--env", SEARCH, "--env", "LANG=C.UTF-8", container)
    _run(*buildah, "commit", "--rm", container, BASE)
    part = archive.with_suffix(".part")
    part.unlink(missing_ok=True)
    _run(*builder.save(BASE, part))
    part.rename(archive)


def _run(*command: str) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{last}")
    return done.stdout.strip()


def main() -> int:
    for image, archive in archives().items():
        print(f"{archive.stat().st_size >> 20:6} MiB  {image}  {archive}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
