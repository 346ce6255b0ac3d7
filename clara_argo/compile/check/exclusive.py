"""Fields that exclude each other: the rules that Argo's CRD states as expressions, where no other rule has them.

Here: one location in an artifact; withItems, withParam, withSequence; count and end; manifest and manifestFrom;
a live gauge and resourcesDuration. In `templates`: one type, deadlines. In `dag`: depends, dependencies, continueOn.
"""

from __future__ import annotations

from clara_argo.compile.check.manifest import LOCATIONS, Manifest, Object
from clara_argo.compile.structure import Path

LOOPS = ("withItems", "withParam", "withSequence")
# (where: last names of the path, fields of which at most one may be there)
ONE_OF = (
    ("withSequence", ("count", "end")),
    ("resource", ("manifest", "manifestFrom")),
    ("tasks", LOOPS),
    ("steps", LOOPS),
    ("artifacts", LOCATIONS),
    ("archiveLocation", LOCATIONS),
    ("artifactPaths", LOCATIONS),
    ("artifact", LOCATIONS),
    ("artifacts", ("from", "fromExpression")),
)


def check(manifest: Manifest) -> None:
    for path, holder in manifest.walk():
        name = next(step for step in reversed(path) if isinstance(step, str))
        for where, fields in ONE_OF:
            if name == where:
                _at_most_one(manifest, path, holder, fields)
        if name == "gauge" and holder.get("realtime") and "resourcesDuration." in str(holder.get("value")):
            hint = "remove realtime, or measure the duration"
            manifest.error("gauge", "resourcesDuration is known at the end only", (*path, "value"), hint)


def _at_most_one(manifest: Manifest, path: Path, holder: Object, fields: tuple[str, ...]) -> None:
    found = [field for field in fields if field in holder]
    if len(found) > 1:
        message = f"{' and '.join(found)} exclude each other"
        manifest.error("exclusive", message, (*path, found[1]), "keep one of them")
