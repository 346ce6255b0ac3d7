"""Offline rules on Argo objects, compiled or edited by hand: what Argo's linter says, and what it does not.

Pure but for `check`, which reads its file. A rule is a function that takes a Manifest and reports to it; each reports
every place, with the path in the object and the line in the file. What is not looked at is listed in docs/argo.md.
"""

from __future__ import annotations

from pathlib import Path

from clara_argo import source
from clara_argo.compile.check import (
    arguments,
    clara,
    containers,
    dag,
    exclusive,
    leaf,
    names,
    shape,
    storage,
    tags,
    templates,
)
from clara_argo.compile.check.manifest import Manifest
from clara_argo.compile.check.reading import KINDS, objects
from clara_argo.errors import DefinitionError, Finding
from clara_argo.source import Findings

RULES = (names, templates, exclusive, dag, arguments, tags, leaf, containers, storage, clara)


def check(path: Path, *, strict: bool = False) -> tuple[Finding, ...]:
    """Everything that can be said about a file. Never raises DefinitionError; raises NotFound."""
    findings = Findings(str(path), strict=strict)
    try:
        check_text(source.read(path), findings)
    except DefinitionError as error:
        findings.extend(error.findings)
    return findings.all


def check_text(text: str, findings: Findings) -> None:
    """Report on every Workflow and WorkflowTemplate of a text. Raises DefinitionError when it is no YAML."""
    found = 0
    for made, node in objects(text, findings.source):
        kind = made.get("kind")
        if kind not in KINDS:
            findings.notice("kind", f"{source.short(str(kind))} is not checked", node, f"checked: {', '.join(KINDS)}")
            continue
        found += 1
        manifest = Manifest(made, node, findings)
        if shape.check(manifest):
            for rule in RULES:
                rule.check(manifest)
    if not found:
        findings.error(
            "no-object", "there is no Argo object in the file", None, f"it should hold a {' or a '.join(KINDS)}"
        )
