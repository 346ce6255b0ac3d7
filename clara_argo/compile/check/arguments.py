"""What a called template asks for is given to it, in a form in which it can be."""

from __future__ import annotations

from clara_argo.compile.check.manifest import Manifest, Object, entries, has_location
from clara_argo.compile.structure import Path

KINDS = ("parameters", "artifacts")


def check(manifest: Manifest) -> None:
    for path, call in manifest.calls():
        template = manifest.template(str(call.get("template", "")))
        if template is not None:
            _supplied(manifest, path, call, template)
        for place, one in entries(path, call, "arguments", "parameters"):
            if "value" not in one and "valueFrom" not in one:
                manifest.error("argument", f"parameter {one.get('name')!r} has no value", place, "give it a value")
        for place, one in entries(path, call, "arguments", "artifacts"):
            if not (has_location(one) or "from" in one or "fromExpression" in one):
                hint = "write from: '{{tasks.NAME.outputs.artifacts.NAME}}'"
                manifest.error("argument", f"artifact {one.get('name')!r} comes from nowhere", place, hint)
    first = manifest.template(str(manifest.spec.get("entrypoint", "")))
    if first is not None and manifest.made["kind"] == "Workflow":  # of a template, who submits it gives the rest
        _supplied(manifest, ("spec",), manifest.spec, first, only=False)
    for path, template in manifest.templates():
        for place, artifact in entries(path, template, "inputs", "artifacts"):
            if "from" in artifact:
                hint = "say it in the arguments of the task that calls the template"
                manifest.error("argument", "an input does not say where it is from", (*place, "from"), hint)


def _supplied(manifest: Manifest, path: Path, call: Object, template: Object, *, only: bool = True) -> None:
    """`only`: what is given and not asked for is said as well."""
    name = str(template.get("name"))
    for kind in KINDS:
        given = {str(one.get("name")): place for place, one in entries(path, call, "arguments", kind)}
        asked = {str(one.get("name")): one for _, one in entries((), template, "inputs", kind)}
        for wanted, one in asked.items():
            if wanted not in given and not _has_its_own(one):
                message = f"template {name!r} asks for the {kind[:-1]} {wanted!r}, which is not given"
                manifest.error("argument", message, path, f"add it to arguments.{kind}")
        for extra in given.keys() - asked.keys() if only else ():
            message = f"template {name!r} asks for no {kind[:-1]} {extra!r}"
            hint = manifest.findings.did_you_mean(extra, asked, "remove it")
            manifest.warning("argument-unused", message, given[extra], hint)


def _has_its_own(one: Object) -> bool:
    return (
        any(key in one for key in ("value", "default", "valueFrom")) or bool(one.get("optional")) or has_location(one)
    )
