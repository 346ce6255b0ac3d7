"""A one-layer container image (docker-archive) from files, without a builder: the same bytes for the same input.

Form: Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

SEARCH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def build(
    out: Path,
    name: str,
    files: Iterable[tuple[str, str, str]] = (),
    *,
    dirs: Iterable[tuple[str, int]] = (),
    symlinks: Iterable[tuple[str, str]] = (),
    entrypoint: Sequence[str] | None = None,
) -> None:
    """`files`: source, target, octal mode; `dirs`: path, mode; `symlinks`: link, target."""
    layer = _layer(files, dirs, symlinks)
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": [SEARCH], "Entrypoint": entrypoint},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "tests"}],
    }
    text = json.dumps(config).encode()
    config_name, layer_name = f"{hashlib.sha256(text).hexdigest()}.json", f"{digest}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]
    with tarfile.open(out, "w") as tar:
        for member, body in (
            (config_name, text),
            (layer_name, layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(member)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))


def _layer(
    files: Iterable[tuple[str, str, str]], dirs: Iterable[tuple[str, int]], symlinks: Iterable[tuple[str, str]]
) -> bytes:
    buffer, made = io.BytesIO(), set[str]()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:

        def folder(path: str, mode: int = 0o755) -> None:
            parts = path.strip("/").split("/")
            for count in range(1, len(parts) + 1):
                name = "/".join(parts[:count])
                if name and name not in made:
                    info = tarfile.TarInfo(name + "/")
                    info.type, info.mode = tarfile.DIRTYPE, mode if count == len(parts) else 0o755
                    tar.addfile(info)
                    made.add(name)

        for path, mode in dirs:
            folder(path, mode)
        for source, target, octal in files:
            folder(str(Path(target).parent))
            body = Path(source).read_bytes()
            info = tarfile.TarInfo(target.strip("/"))
            info.size, info.mode = len(body), int(octal, 8)
            tar.addfile(info, io.BytesIO(body))
        for link, target in symlinks:
            info = tarfile.TarInfo(link.strip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()
