"""Templates: where the workflow begins, what each one is, and that what is called is there."""

from __future__ import annotations

from clara_argo.compile.check.manifest import TYPES, Manifest, Object
from clara_argo.compile.structure import Path


def check(manifest: Manifest) -> None:
    _begin(manifest)
    for path, template in manifest.templates():
        _type(manifest, path, template)
    for path, call in manifest.calls():
        _call(manifest, path, call)


def _begin(manifest: Manifest) -> None:
    spec = manifest.spec
    if manifest.refers:
        if "templates" in spec:
            manifest.error(
                "template-ref", "a Workflow that names a WorkflowTemplate has no templates of its own",
                ("spec", "templates"), "remove them, or workflowTemplateRef",
            )  # fmt: skip
        return
    if not spec.get("entrypoint") and manifest.made["kind"] == "Workflow":
        manifest.error("entrypoint", "it is not said where to begin", ("spec",), "write entrypoint: NAME")
    for field in ("entrypoint", "onExit"):
        _defined(manifest, spec, ("spec",), field)


def _defined(manifest: Manifest, holder: Object, path: Path, field: str) -> None:
    name = holder.get(field)
    if name and manifest.template(name) is None:
        known = [str(one.get("name")) for _, one in manifest.templates()]
        hint = manifest.findings.did_you_mean(name, known, "define it, or name another one")
        code = "entrypoint" if field != "template" else "template"
        manifest.error(code, f"no template is called {name!r}", (*path, field), hint)


def _type(manifest: Manifest, path: Path, template: Object) -> None:
    found = [kind for kind in TYPES if kind in template]
    if len(found) != 1:
        message = f"it is {' and '.join(found)} at once" if found else "it says nothing to do"
        manifest.error("template-type", message, path, f"a template has exactly one of {', '.join(TYPES)}")
    for field in ("timeout", "activeDeadlineSeconds"):
        if field in template and ("dag" in template or "steps" in template):
            hint = "put it on the templates that are called, or spec.activeDeadlineSeconds on the whole"
            manifest.error("deadline", f"{field} is for a template that runs in a pod", (*path, field), hint)
    if "parallelism" in template and "dag" not in template and "steps" not in template:
        hint = "put it on the dag, or on the spec"
        manifest.error("parallelism", "only dag and steps have a parallelism", (*path, "parallelism"), hint)


def _call(manifest: Manifest, path: Path, call: Object) -> None:
    ways = [way for way in ("template", "templateRef", "inline") if way in call]
    if len(ways) != 1:
        message = f"{' and '.join(ways)} are given together" if ways else "it is not said what to run"
        manifest.error("template", message, path, "give exactly one of template, templateRef, inline")
    _defined(manifest, call, path, "template")
