"""Any workflow file -> Workflows: decides the dialect by what the file holds, never by its name.

The readers of later dialects are imported when such a file is met: most never are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from clara_argo.collector import at_rest
from clara_argo.errors import Finding
from clara_argo.formats import clara_wf, native
from clara_argo.formats.fields import empty, short
from clara_argo.model.workflow import StageSpec, Workflow
from clara_argo.source import Findings, Map, Node, Text, decode, documents

DIALECT, CONFIGURATION = "dialect", "adapter-configuration"  # codes of findings: no workflow file
LATER = "files of this kind are read by a later version; write the workflow as 'clara init' shows it"
MIGRATE = "clara migrate FILE, with the configuration of its adapter if there is one"
CHECK = "clara adapter check --config FILE"
AE_TITLE_LINE = re.compile(r"^ *(- +)?clara-ae-title *:", re.MULTILINE)  # the article's form, which is no YAML
ADAPTER_JSON = re.compile('"(DicomAdapter|InformaticsGateway)"', re.IGNORECASE)  # perhaps; it may be no JSON at all
PIPELINE = frozenset({"api-version", "operators"})
STRONG = frozenset({"stages", "waitLocks", "ioFolders"})  # keys that only a workflow has


def _has(*keys: str) -> Callable[[Map], bool]:
    return lambda top: set(keys) <= set(top)


def _monai(top: Map) -> bool:
    inner = top.get("workflow", top)
    return isinstance(inner, Map) and {"informatics_gateway", "tasks"} <= set(inner)


def _of_cluster(top: Map) -> bool:
    if "items" not in top and "apiVersion" not in top:
        return False
    from clara_argo.formats import adapter_parts

    return adapter_parts.looks_like((top,))


def _is_adapter_json(text: str) -> bool:
    if not ADAPTER_JSON.search(text):
        return False
    from clara_argo.formats import adapter_json

    return adapter_json.looks_like(text)


# Files that are something else, told by their keys: what they are, and what to do with them.
OTHERS: tuple[tuple[Callable[[Map], bool], str, str], ...] = (
    (_has("routes"), "an adapter configuration", CHECK),
    (_has("dicom"), "an adapter configuration (dicom-server-config.yaml)", CHECK),
    (_has("ae-titles"), "an adapter configuration (dicom-server-config.yaml)", CHECK),
    (_has("pipeline-mappings"), "an adapter configuration (dicom-server-config.yaml)", CHECK),
    (_has("DicomAdapter"), "the JSON configuration of a Clara DICOM adapter", CHECK),
    (_of_cluster, "a list of AE titles, sources or destinations of a Clara cluster", MIGRATE),
    (_has("InformaticsGateway"), "the configuration of a MONAI gateway", LATER),
    (_monai, "a MONAI Deploy workflow", LATER),
    (_has("command", "input", "output"), "the manifest of a MAP", LATER),
    (_has("applicationRoot"), "the manifest of a MAP", LATER),
    (_has("application-root"), "the manifest of a MAP", LATER),
    (_has("rules", "targets", "modules"), "a mercure configuration", LATER),
    (_has("container"), "an operator", "name the file of the pipeline that imports it"),
    (_has("stageName"), "a stage definition", "name the file of the workflow that uses it"),
    (_has("image"), "a stage definition", "name the file of the workflow that uses it"),
)


def workflows(
    text: str | bytes, source: str = "<text>", *, strict: bool = False
) -> tuple[tuple[Workflow, ...], tuple[Finding, ...]]:
    """Every workflow of a file, and warnings. Raises DefinitionError with every finding."""
    findings = Findings(source, strict=strict)
    found = collect(text, findings)
    return found, findings.check()


@at_rest()
def collect(
    text: str | bytes,
    findings: Findings,
    *,
    folder: Path | None = None,
    values: Mapping[str, str] | None = None,
    parsed: list[Node] | None = None,
) -> tuple[Workflow, ...]:
    """Every workflow of a file, as far as it can be read: what is wrong is in `findings` afterwards.

    `folder`: of the file, where it imports others. `values`: of a pipeline's parameters; None = somebody only looks at
    the file. `parsed` takes the documents, where the file needed no repair. Raises DefinitionError only for what is
    not YAML, or not a workflow file.
    """
    text = decode(text, findings.source)
    found, stages, nodes = _read(text, findings, folder, values)
    if parsed is not None:
        parsed += nodes
    if values and not any(workflow.dialect == "operators" for workflow in found):
        message = f"the file has no parameter {short(next(iter(values)))}"
        findings.error(
            "parameter", message, _first(nodes), "leave --set out; only a pipeline of operators has parameters"
        )
    _distinct(found, findings)
    if not found and not findings.failed:
        if not stages:
            findings.error(
                "no-workflow", "the file holds no workflow", _first(nodes), "add id, name, stages, ioFolders"
            )
            findings.check()
        names = ", ".join(spec.name for spec in stages)
        findings.notice(
            "no-workflow", f"the file holds stage definitions only: {names}", stages[0].name, "add a workflow to run"
        )
    return found


def _read(
    text: str, findings: Findings, folder: Path | None, values: Mapping[str, str] | None
) -> tuple[tuple[Workflow, ...], tuple[StageSpec, ...], tuple[Node, ...]]:
    if AE_TITLE_LINE.search(text):
        _refuse("an adapter configuration (dicom-server-config.yaml)", CHECK, None, findings)
    if _is_adapter_json(text):
        _refuse("the JSON configuration of a Clara DICOM adapter", CHECK, None, findings)
    if clara_wf.looks_like(text):
        return *clara_wf.read(text, findings), ()
    nodes = documents(text, findings.source)
    top = next((node for node in nodes if isinstance(node, Map)), None)
    if top is not None and _early(top):
        return *clara_wf.read(text, findings), nodes
    if top is not None and set(top) >= PIPELINE:
        return _pipelines(nodes, findings, folder, values), (), nodes
    _refuse_others(top, nodes, findings)
    return native.read(nodes, findings), (), nodes


def _pipelines(
    nodes: Iterable[Node], findings: Findings, folder: Path | None, values: Mapping[str, str] | None
) -> tuple[Workflow, ...]:
    """One for each document; an empty one says nothing."""
    from clara_argo.formats import operators

    return tuple(operators.read(node, findings, folder=folder, values=values) for node in nodes if not empty(node))


def _early(top: Map) -> bool:
    """Its two sections, also while they are empty; of ours, `stages` is a list, and never stands beside `workflows`."""
    stages, workflows = top.get("stages"), top.get("workflows")
    return isinstance(stages, Map) or isinstance(workflows, Map) or isinstance(stages, Text) and workflows is not None


def _refuse_others(top: Map | None, nodes: tuple[Node, ...], findings: Findings) -> None:
    if top is not None and STRONG & set(top):
        return
    for is_other, name, hint in OTHERS:
        if top is not None and is_other(top):
            _refuse(name, hint, top, findings)
    if top is not None and {"id", "name", "workflows"} & set(top):
        return
    hint = "a workflow has id, name, stages, waitLocks, ioFolders, args, or ##BEGIN_x## markers, or a line with an id"
    what = "no workflow that is known here" if nodes else "empty"
    findings.error(DIALECT, f"the file is {what}", _first(nodes), hint)
    findings.check()


def _refuse(name: str, hint: str, at: Node | None, findings: Findings) -> None:
    code = CONFIGURATION if hint == CHECK else DIALECT
    findings.error(code, f"this is {name}, not a workflow", at, hint)
    findings.check()


def _first(nodes: Iterable[Node]) -> Node | None:
    return next(iter(nodes), None)


def _distinct(found: tuple[Workflow, ...], findings: Findings) -> None:
    """Two workflows of a file differ in id and in name."""
    ids: dict[str, Workflow] = {}
    names: dict[str, Workflow] = {}
    for workflow in found:
        if workflow.id and ids.setdefault(same_id(workflow.id), workflow) is not workflow:
            message = f"the id {short(workflow.id)} stands for two workflows"
            findings.error("duplicate-id", message, workflow.id, "give one another id: uuidgen makes one")
        if workflow.name and names.setdefault(workflow.name.lower(), workflow) is not workflow:
            message = f"the name {short(workflow.name)} stands for two workflows"
            findings.error("duplicate-name", message, workflow.name, "give one another name")


def same_id(identity: str) -> str:
    """Ids are compared without dashes and case: early access prints 36 characters, later versions 32."""
    return identity.replace("-", "").lower()
