"""Names that Kubernetes takes: RFC 1123 labels, at most 63 characters; the same name in, the same name out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from clara_argo.errors import DefinitionError, Finding, Level
from clara_argo.graph import DNS_LABEL

# Template names beside the stages', containers that Argo adds to a pod (workflow/common/common.go), and folders beside
# the stages' in a pod of all of them.
TAKEN = frozenset({"main", "init", "wait", "logs", "artifact-gc", "argoexec", "input", "locks"})
# Argo reads `depends` as an expression (https://expr-lang.org) in which a task is a variable; these are none.
WORDS = frozenset({"in", "or", "and", "not", "matches", "contains", "let", "if", "else", "true", "false", "nil"})
LONGEST_STAGE = 63
LONGEST_WORKFLOW = 56  # "-fused" is put behind it


def label(name: str, longest: int = LONGEST_STAGE, taken: frozenset[str] = frozenset()) -> str:
    """The name itself where Kubernetes takes it, else a readable part of it and eight digits of its SHA-256."""
    if DNS_LABEL.fullmatch(name) and len(name) <= longest and name not in taken:
        return name
    return _other(name, longest)


def _other(name: str, longest: int, before: str = "") -> str:
    plain = before + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    digits = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{plain[: longest - 9].rstrip('-') or 'x'}-{digits}"


def stage(name: str) -> str:
    """What a stage's template, task and container are called: a label that begins with a letter, as a variable does."""
    found = label(name, taken=TAKEN | WORDS)
    return found if found[0].isalpha() else _other(name, LONGEST_STAGE, "x-")


def stages(names: Iterable[str], source: str = "") -> dict[str, str]:
    """Stage -> template. Raises DefinitionError when two stages would share one."""
    found: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in names:
        mapped = stage(name)
        if mapped in owners:
            message = f"stages {owners[mapped]!r} and {name!r} would both be called {mapped!r} on a cluster"
            found_twice = Finding(
                level=Level.ERROR, code="name-dns", message=message, hint="rename one of them", source=source
            )
            raise DefinitionError([found_twice])
        owners[mapped] = name
        found[name] = mapped
    return found
