"""Containers beside each other in a pod: names that Argo keeps to itself, and the order in a container set."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from clara_argo.compile.check.manifest import Manifest, Object, entries
from clara_argo.compile.structure import Path

RESERVED = ("init", "wait")  # workflow/common/common.go; `main` is the name of the one that does the work


def check(manifest: Manifest) -> None:
    for path, template in manifest.templates():
        _reserved(manifest, path, template)
        if "containerSet" in template:
            _set(manifest, path, template)


def _reserved(manifest: Manifest, path: Path, template: Object) -> None:
    working = [(place, one, RESERVED) for place, one in entries(path, template, "containerSet", "containers")]
    helpers = [
        (place, one, (*RESERVED, "main"))
        for kind in ("sidecars", "initContainers")
        for place, one in entries(path, template, kind)
    ]
    for place, container, taken in [*working, *helpers]:
        if (name := container.get("name")) in taken:
            manifest.error("reserved", f"Argo has a container {name!r} of its own", (*place, "name"), "rename it")


def _set(manifest: Manifest, path: Path, template: Object) -> None:
    found = {str(one.get("name")): one for _, one in entries((), template, "containerSet", "containers")}
    moves = any(template.get(side, {}).get("artifacts") for side in ("inputs", "outputs"))
    if moves and "main" not in found:
        hint = "call the last container main"
        manifest.error(
            "no-main", "no container is called main, whose artifacts are taken", (*path, "containerSet"), hint
        )
    for place, container in entries(path, template, "containerSet", "containers"):
        for number, name in enumerate(container.get("dependencies", [])):
            if name not in found:
                hint = manifest.findings.did_you_mean(str(name), found, "name a container of this set")
                at = (*place, "dependencies", number)
                manifest.error("depends", f"no container is called {name!r}", at, hint)
    _acyclic(manifest, path, found)
    _main_is_last(manifest, path, found, bool(template.get("outputs", {}).get("artifacts")))


def _acyclic(manifest: Manifest, path: Path, found: dict[str, Object]) -> None:
    try:
        TopologicalSorter({name: one.get("dependencies", []) for name, one in found.items()}).prepare()
    except CycleError as error:
        message = f"containers wait for each other: {' -> '.join(error.args[1])}"
        manifest.error("cycle", message, (*path, "containerSet"), "remove one of the dependencies")


def _main_is_last(manifest: Manifest, path: Path, found: dict[str, Object], outputs: bool) -> None:
    """Outputs are collected when main ends: what still runs then loses its own."""
    waited = {str(name) for one in found.values() for name in one.get("dependencies", [])} | {"main"}
    if outputs and "main" in found and (ends := [name for name in found if name not in waited]):
        hint = "add it to the dependencies of main"
        message = f"main does not wait for {ends[0]!r}, and outputs are taken when main ends"
        manifest.error("main-last", message, (*path, "containerSet"), hint)
