"""A small image with this machine's Python and its standard library, built without a builder or a network.

Where it can be had: Debian's own python3, which is one program and a few libraries; with it busybox as the shell.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from cluster import image

PYTHON, BUSYBOX = Path("/usr/bin/python3"), Path("/usr/bin/busybox")
LEFT_OUT = {"test", "idlelib", "__pycache__", "tkinter", "ensurepip", "lib2to3", "pydoc_data", "distutils", "unittest"}
APPLETS = ("sh", "tr", "basename", "cp", "ls", "cat")


def missing() -> str:
    """What keeps this machine from making it; "" when nothing does."""
    return ", ".join(str(path) for path in (PYTHON, BUSYBOX) if not path.exists())


def build(out: Path, name: str, files: Iterable[tuple[str, str, str]]) -> None:
    """`files` as for `image.build`: source, target, mode."""
    program, library = PYTHON.resolve(), _library()
    modules = [path for path in sorted(library.rglob("*")) if _kept(path, library)]
    libraries = _libraries(program, *(path for path in modules if path.suffix == ".so"))
    image.build(
        out,
        name,
        [
            (str(program), str(PYTHON), "755"),
            (str(BUSYBOX), "/bin/busybox", "755"),
            *((str(path), str(path), "644") for path in modules),
            *((path, path, "755") for path in libraries),
            *files,
        ],
        dirs=[("/tmp", 0o1777)],
        symlinks=[(f"/bin/{name}", "busybox") for name in APPLETS],
    )


def _library() -> Path:
    code = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    done = subprocess.run([PYTHON, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return Path(done.stdout.strip())


def _kept(path: Path, library: Path) -> bool:
    parts = path.relative_to(library).parts
    return path.is_file() and not LEFT_OUT & set(parts) and not parts[0].startswith(("config-", "dist-", "site-"))


def _libraries(*programs: Path) -> list[str]:
    """The shared libraries of these, as the dynamic linker finds them."""
    words = ["ldd", *map(str, programs)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    lines = (line.split() for line in done.stdout.splitlines())
    return sorted({word for line in lines for word in line if word.startswith("/") and not word.endswith(":")})
