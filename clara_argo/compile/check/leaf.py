"""A template that runs in a pod: image, command, deadline, and where its artifacts lie."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clara_argo.compile.check.manifest import Manifest, Object, entries
from clara_argo.compile.structure import Path

PODS = ("container", "script", "containerSet")
NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")


def check(manifest: Manifest) -> None:
    for path, template in manifest.templates():
        for place, container in containers(path, template):
            _program(manifest, place, container)
        _deadline(manifest, path, template)
        if any(kind in template for kind in PODS):
            _inputs(manifest, path, template)
            _outputs(manifest, path, template)


def containers(path: Path, template: Object) -> Iterator[tuple[Path, Object]]:
    """Those that do the work; not the helpers beside them."""
    for kind in ("container", "script"):
        if kind in template:
            yield (*path, kind), template[kind]
    yield from entries(path, template, "containerSet", "containers")


def mounts(path: Path, template: Object) -> Iterator[tuple[Path, Object]]:
    """Of the container that artifacts are put into and taken from, and of the whole set."""
    for kind in ("container", "script", "containerSet"):
        yield from entries(path, template, kind, "volumeMounts")
    for place, container in entries(path, template, "containerSet", "containers"):
        if container.get("name") == "main":
            yield from entries(place, container, "volumeMounts")


def below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def plain(path: object) -> str:
    """A path without what means nothing: `/a//b/` is `/a/b`."""
    return "/" + "/".join(part for part in str(path).split("/") if part not in ("", "."))


def _program(manifest: Manifest, path: Path, container: Object) -> None:
    image = str(container.get("image", ""))
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not image:
        manifest.error("no-image", "the container has no image", path, "write image: NAME:TAG")
    elif "{{" not in image and not digest and tag in ("", "latest"):
        message = f"what {image!r} is may change by itself"
        manifest.warning("image-tag", message, (*path, "image"), "add a tag other than latest, or better a digest")
    if not container.get("command"):
        hint = "write command; what an image starts by itself is known to its registry only"
        manifest.error("no-command", "the container has no command", path, hint)


def _deadline(manifest: Manifest, path: Path, template: Object) -> None:
    seconds, time = str(template.get("activeDeadlineSeconds", "1")), str(template.get("timeout", ""))
    if "{{" not in seconds and not (seconds.isdecimal() and int(seconds) > 0):
        hint = "write a number of seconds"
        manifest.error("deadline", f"{seconds!r} is no time", (*path, "activeDeadlineSeconds"), hint)
    if NUMBER.fullmatch(time):
        manifest.error("deadline", f"{time!r} has no unit", (*path, "timeout"), "write 90s or 5m")


def _inputs(manifest: Manifest, path: Path, template: Object) -> None:
    mounted = {plain(mount.get("mountPath")) for _, mount in mounts(path, template)}
    taken: dict[str, str] = {}
    for place, artifact in entries(path, template, "inputs", "artifacts"):
        at = _path(manifest, place, artifact)
        if not at:
            continue
        if at in mounted:
            hint = "remove the mount; Argo mounts an input itself"
            manifest.error("input-mounted", f"a volume is already mounted at {at}", (*place, "path"), hint)
        if at in taken:
            message = f"{at} is the path of {taken[at]!r} too"
            manifest.error("input-path", message, (*place, "path"), "give each input a path of its own")
        taken[at] = str(artifact.get("name"))


def _outputs(manifest: Manifest, path: Path, template: Object) -> None:
    folders = [plain(mount.get("mountPath")) for _, mount in mounts(path, template)]
    for place, artifact in entries(path, template, "outputs", "artifacts"):
        at = _path(manifest, place, artifact)
        if at and not any(below(at, folder) for folder in folders):
            hint = "mount a volume there; the image itself is read-only, and its layers are no place for a study"
            manifest.error("output-mount", f"{at} lies on no mounted volume", (*place, "path"), hint)
    for place, parameter in entries(path, template, "outputs", "parameters"):
        if "valueFrom" not in parameter and "value" not in parameter:
            manifest.error("argument", "the output has no value", place, "write valueFrom")


def _path(manifest: Manifest, place: Path, artifact: Object) -> str:
    written = str(artifact.get("path", ""))
    if not written:
        manifest.error("no-path", f"artifact {artifact.get('name')!r} has no path", place, "write path: /…")
    elif not written.startswith(("/", "{{")):
        manifest.error("no-path", f"{written!r} is not absolute", (*place, "path"), "begin it with '/'")
    return plain(written) if written.startswith("/") else ""
