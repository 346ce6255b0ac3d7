"""Objects in the store and folders in the pod: keys, clean-up, and volumes that are there."""

from __future__ import annotations

from clara_argo.compile.check.leaf import below, containers, mounts, plain
from clara_argo.compile.check.manifest import Manifest, Object, entries
from clara_argo.compile.structure import Path


def check(manifest: Manifest) -> None:
    _keys(manifest)
    _clean_up(manifest)
    for path, template in manifest.templates():
        _volumes(manifest, path, template)
        for place, container in containers(path, template):
            _mount_paths(manifest, place, container)
        if "container" in template or "script" in template:
            _mounted_twice(manifest, path, template)


def _keys(manifest: Manifest) -> None:
    written: dict[str, str] = {}
    for path, template in manifest.templates():
        for side in ("inputs", "outputs"):
            for place, artifact in entries(path, template, side, "artifacts"):
                key = str(artifact.get("s3", {}).get("key", ""))
                at = (*place, "s3", "key")
                if key.endswith("/"):
                    manifest.error("key", f"{key!r} names a folder, not an object", at, "remove the '/' at its end")
                if ".." in key.split("/"):
                    manifest.error("key", f"{key!r} goes up", at, "write the key without '..'")
                if side == "outputs" and key:
                    if key in written:
                        message = f"{written[key]} writes {key!r} too"
                        manifest.error("key-unique", message, at, "give each output a key of its own")
                    written[key] = f"{artifact.get('name')!r} of template {template.get('name')!r}"


def _clean_up(manifest: Manifest) -> None:
    rule = manifest.spec.get("artifactGC", {})
    if rule.get("strategy", "Never") == "Never":
        return
    path: Path = ("spec", "artifactGC")
    if not rule.get("forceFinalizerRemoval"):
        hint = "write forceFinalizerRemoval: true"
        manifest.error("finalizer", "a Workflow whose clean-up fails could never be deleted", path, hint)
    kept = [
        artifact.get("artifactGC", {}).get("strategy") == "Never"
        for _, template in manifest.templates()
        for _, artifact in entries((), template, "outputs", "artifacts")
    ]
    if kept and all(kept):
        message = "every output is kept: Argo then cleans up nothing, the archived logs neither"
        manifest.error("all-kept", message, path, "let at least one output, the logs say, be removed")


def _volumes(manifest: Manifest, path: Path, template: Object) -> None:
    holders = [manifest.spec, template]
    known = {str(one.get("name")) for holder in holders for _, one in entries((), holder, "volumes")}
    known |= {str(one.get("metadata", {}).get("name")) for _, one in entries((), manifest.spec, "volumeClaimTemplates")}
    everywhere = [*mounts(path, template)]
    for place, container in entries(path, template, "containerSet", "containers"):
        everywhere += entries(place, container, "volumeMounts") if container.get("name") != "main" else []
    for place, mount in everywhere:
        if (name := str(mount.get("name"))) not in known:
            hint = manifest.findings.did_you_mean(name, known, "declare it in spec.volumes")
            manifest.error("volume", f"no volume is called {name!r}", (*place, "name"), hint)


def _mount_paths(manifest: Manifest, path: Path, container: Object) -> None:
    taken: set[str] = set()
    for place, mount in entries(path, container, "volumeMounts"):
        if (at := plain(mount.get("mountPath"))) in taken:
            manifest.error("mount-path", f"two volumes are mounted at {at}", place, "remove one of them")
        taken.add(at)


def _mounted_twice(manifest: Manifest, path: Path, template: Object) -> None:
    """An input on one mount, whose folder is mounted again: kubelet makes it first, and Argo fails to rename."""
    found = list(mounts(path, template))
    for _, artifact in entries(path, template, "inputs", "artifacts"):
        at = plain(artifact.get("path"))
        for _, mount in found:
            start = plain(mount.get("mountPath"))
            if at == start or not below(at, start):
                continue
            inside = plain(f"{mount.get('subPath', '')}/{at[len(start) :]}")
            for place, other in found:
                again = other.get("name") == mount.get("name") and below(plain(other.get("subPath", "")), inside)
                if again and other is not mount:
                    message = f"the folder of input {artifact.get('name')!r} is mounted again: the pod cannot start"
                    manifest.error("mounted-twice", message, place, "mount the input's folder once")
