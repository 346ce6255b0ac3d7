"""Names that Kubernetes takes: RFC 1123 labels, at most 63 characters; the same name in, the same name out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from clara_argo.errors import DefinitionError, Finding, Level
from clara_argo.graph import DNS_LABEL

# Template names beside the stages', and containers that Argo adds to a pod (workflow/common/common.go).
TAKEN = frozenset({"main", "init", "wait", "logs", "artifact-gc", "argoexec"})
LONGEST_STAGE = 63
LONGEST_WORKFLOW = 56  # "-fused" is put behind it


def label(name: str, longest: int = LONGEST_STAGE, taken: frozenset[str] = frozenset()) -> str:
    """The name itself where Kubernetes takes it, else a readable part of it and eight digits of its SHA-256."""
    if DNS_LABEL.fullmatch(name) and len(name) <= longest and name not in taken:
        return name
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    digits = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{plain[: longest - 9].rstrip('-') or 'x'}-{digits}"


def stages(names: Iterable[str], source: str = "") -> dict[str, str]:
    """Stage -> template. Raises DefinitionError when two stages would share one."""
    found: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in names:
        mapped = label(name, taken=TAKEN)
        if mapped in owners:
            message = f"stages {owners[mapped]!r} and {name!r} would both be called {mapped!r} on a cluster"
            found_twice = Finding(
                level=Level.ERROR, code="name-dns", message=message, hint="rename one of them", source=source
            )
            raise DefinitionError([found_twice])
        owners[mapped] = name
        found[name] = mapped
    return found
