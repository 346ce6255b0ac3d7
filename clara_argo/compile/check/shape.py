"""Types, unknown fields, and the words and quantities that a field takes."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from clara_argo.compile.check.manifest import Manifest, walk
from clara_argo.compile.structure import Path, troubles

VERSION = "argoproj.io/v1alpha1"
QUANTITY = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?")
RETRY = ("Always", "OnFailure", "OnError", "OnTransientError")
PODS = ("OnPodCompletion", "OnPodSuccess", "OnWorkflowCompletion", "OnWorkflowSuccess")
OBJECTS = ("OnWorkflowCompletion", "OnWorkflowDeletion", "Never")
PULL = ("Always", "IfNotPresent", "Never")
# (holder, field; holder "" is any) -> what it may be
WORDS = {
    ("retryStrategy", "retryPolicy"): RETRY,
    ("podGC", "strategy"): PODS,
    ("artifactGC", "strategy"): OBJECTS,
    ("", "imagePullPolicy"): PULL,
}
QUANTITIES = ("limits", "requests")


def check(manifest: Manifest) -> bool:
    """Whether lists are lists and texts are texts, so that other rules can look into the object."""
    version = manifest.made.get("apiVersion")
    if version != VERSION:
        manifest.error("api-version", f"{version!r} is not Argo's", ("apiVersion",), f"write {VERSION}")
        return False
    found = troubles(_as_argo_reads(manifest.made))
    for trouble in found:
        code, hint = ("type", "see Argo's field reference") if trouble.shape else ("field", "correct or remove it")
        manifest.error(code, trouble.message, trouble.path, hint)
    if any(trouble.shape for trouble in found):
        return False
    _words(manifest)
    _quantities(manifest)
    return True


def _as_argo_reads(made: dict[str, Any]) -> dict[str, Any]:
    """With texts where Argo takes a number for one: values of parameters, quantities."""
    made = copy.deepcopy(made)
    for path, holder in walk(made, ()):
        keys = ["value", "default"] if path[-2:-1] == ("parameters",) else []
        keys += list(holder) if path and path[-1] in QUANTITIES else ["sizeLimit"]
        for key in keys:
            if isinstance(holder.get(key), (int, float)):
                holder[key] = json.dumps(holder[key])
    return made


def _words(manifest: Manifest) -> None:
    for path, holder in manifest.walk():
        for (parent, field), known in WORDS.items():
            value = holder.get(field)
            if value is not None and (not parent or path[-1] == parent) and value not in known:
                hint = manifest.findings.did_you_mean(str(value), known, f"one of {', '.join(known)}")
                manifest.error("word", f"{value!r} is none of its values", (*path, field), hint)


def _quantities(manifest: Manifest) -> None:
    for path, holder in manifest.walk():
        fields: list[str] = list(holder) if path[-1] in QUANTITIES else ["sizeLimit"] if "sizeLimit" in holder else []
        for field in fields:
            _quantity(manifest, (*path, field), holder[field])


def _quantity(manifest: Manifest, path: Path, value: object) -> None:
    if not QUANTITY.fullmatch(str(value)):
        manifest.error("quantity", f"{value!r} is no quantity", path, "write a number and a unit: 500m, 2, 4Gi")
