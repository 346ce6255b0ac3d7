"""Names: those that Kubernetes takes, and that nothing is called like something beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from clara_argo.compile.check.manifest import Manifest, Object, entries, tasks
from clara_argo.compile.structure import Path
from clara_argo.graph import DNS_LABEL

LABEL = "lower-case letters, digits and '-', beginning and ending with a letter or digit, at most 63"
VARIABLE = re.compile(r"[A-Za-z0-9_-]+")
FIELD = re.compile(r"[A-Za-z0-9][-A-Za-z0-9]*")
LONGEST = 63


class Kind(NamedTuple):
    """What a name may be, why, and what to write."""

    pattern: re.Pattern[str]
    why: str
    hint: str


POD = Kind(DNS_LABEL, "becomes part of a pod's name", LABEL)
TASK = Kind(FIELD, "is named in depends", "letters, digits and '-'")
TAG = Kind(VARIABLE, "is named in tags", "letters, digits, '_' and '-'")


def check(manifest: Manifest) -> None:
    _object(manifest)
    _unique(manifest, manifest.templates(), "templates", POD)
    for path, template in manifest.templates():
        _unique(manifest, tasks(path, template), "tasks", TASK)
        containers = entries(path, template, "containerSet", "containers")
        _unique(manifest, containers, "containers", POD)
        for keys in (
            ("inputs", "artifacts"),
            ("inputs", "parameters"),
            ("outputs", "artifacts"),
            ("outputs", "parameters"),
        ):
            _unique(manifest, entries(path, template, *keys), keys[1], TAG)
    for path, call in [*manifest.calls(), (("spec",), manifest.spec)]:
        for kind in ("artifacts", "parameters"):
            _unique(manifest, entries(path, call, "arguments", kind), kind, TAG)


def _object(manifest: Manifest) -> None:
    metadata = manifest.made.get("metadata", {})
    name, begin = str(metadata.get("name", "")), str(metadata.get("generateName", ""))
    if not name and not begin:
        manifest.error("name", "the object has no name", ("metadata",), "write name, or generateName for a Workflow")
    elif name and not (len(name) <= LONGEST and all(map(DNS_LABEL.fullmatch, name.split(".")))):
        manifest.error("name", f"Kubernetes takes no object called {name!r}", ("metadata", "name"), LABEL)


def _unique(manifest: Manifest, found: Iterable[tuple[Path, Object]], what: str, kind: Kind) -> None:
    names: set[str] = set()
    for path, one in found:
        name, at = str(one.get("name", "")), (*path, "name")
        if not kind.pattern.fullmatch(name) or (kind is not TAG and len(name) > LONGEST):
            manifest.error("name", f"{name!r} {kind.why} and cannot be", at, kind.hint)
        if name in names:
            manifest.error("duplicate", f"two {what} are called {name!r}", at, "rename one of them")
        names.add(name)
