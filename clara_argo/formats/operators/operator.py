"""One operator -> a stage definition, what it reads and writes, and what it asks of a server."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import MappingProxyType

from clara_argo.formats import stage
from clara_argo.formats.fields import Fields, short, words
from clara_argo.formats.operators import places, registers, services
from clara_argo.formats.operators.imports import Imports
from clara_argo.formats.operators.places import Input, Output
from clara_argo.formats.operators.references import Expander, Started
from clara_argo.formats.operators.registers import Register
from clara_argo.formats.operators.services import Server
from clara_argo.formats.operators.table import keys
from clara_argo.model.workflow import EMPTY, Image, Resources, StageSpec
from clara_argo.source import Findings, Map, Node, Text

PATH = "operators[]"
TIMEOUT = 600  # seconds: what a whole pipeline had; none gave a time to an operator
LABELS = "NVIDIA_SEG_LABELS"
# NVIDIA's own operators that have a counterpart here, by a bare name, or one of theirs.
KNOWN = {
    "dicom-reader": "dicom-reader",
    "dicom-writer": "dicom-writer",
    "dicom-seg-writer": "dicom-writer",
}
OF_NVIDIA = re.compile(r"(nvcr\.io/([a-z0-9_-]+/)*[a-z0-9_-]*clara[a-z0-9_-]*/|clara/)?(?P<name>[a-z0-9-]+)")
LONGEST = 255  # of the name of an image
LOGS = "/logs"  # where they wrote what they did; here every stage has a log
ORIGINALS = re.compile(r"/(dcm|dicom)(/.*)?")  # where a writer looked for the images that the study came with
PLAIN = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """`spec` is complete; `register`: it is none to run, but says where a result goes."""

    name: Text
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    spec: StageSpec
    server: Server
    needs_server: bool = False
    register: Register | None = None
    replaced: bool = False  # its program is a stage of ours


def read(node: Node, number: int, imports: Imports, expander: Expander) -> Operator:
    """What is wrong is reported and replaced by its default."""
    findings = imports.findings
    name = node.get("name") if isinstance(node, Map) else None
    what = f"operator {short(name)}" if isinstance(name, Text) and name else f"operator {number}"
    fields = Fields(node, findings, what)
    extra = fields.unknown(keys(PATH) - {"import"})
    named = _named(fields, number)
    container = fields.fields("container")
    container.unknown(keys(f"{PATH}.container"))
    image, command = _image(container), words(container.get("command"), findings, fields.what)
    inputs, outputs = places.inputs(fields), places.outputs(fields)
    server = services.read(fields, imports, expander.lenient)
    register = None
    if registers.is_one(image.repository, command):
        register = registers.read(fields.what, command, container.at("command"), findings)
        started = Started(command=command, variables={})
    else:
        started = expander.expanded(fields.what, command, _variables(fields, container), server)
        _check_output(fields, named, outputs)
    extra |= {"description": fields.text("description")} if "description" in fields else {}
    extra |= {"services": server.kept} if server.kept else {}
    spec = StageSpec(
        name=named,
        image=image,
        command=started.command,
        input_paths=tuple(one.path for one in inputs),
        output_paths=MappingProxyType(places.output_paths(outputs)),
        timeout=TIMEOUT,
        resources=_resources(fields),
        env=MappingProxyType(started.variables),
        models=_models(fields),
        extra=MappingProxyType(extra),
    )
    needed = (server.needed or started.server) and services.URL not in started.variables
    one = Operator(
        name=named, inputs=inputs, outputs=outputs, spec=spec, server=server, needs_server=needed, register=register
    )
    program = "" if register else _known(image)
    one = _as_ours(one, program, fields) if program else one
    if not (one.replaced or one.register):
        places.apart(inputs, outputs, fields)
    return one


def _check_output(fields: Fields, name: Text, outputs: tuple[Output, ...]) -> None:
    if not outputs:
        message = f"{fields.what} has no output, and a stage that writes nothing has failed"
        fields.findings.warning("no-output", message, name, "add output: [{path: /output}]")


def _known(image: Image) -> str:
    found = OF_NVIDIA.fullmatch(image.repository[: LONGEST + 1])
    return KNOWN.get(found["name"], "") if found else ""


def _as_ours(one: Operator, program: str, fields: Fields) -> Operator:
    """Its program is the stage of that name here: its command, paths and one output are that stage's own."""
    outputs = tuple(output for output in one.outputs if output.path != LOGS)
    if len(outputs) > 1:
        message = f"{fields.what} writes {len(outputs)} folders: {program!r} here writes one, and is not taken for it"
        hint = f"push {one.spec.image} to a registry of your own and name that, or leave one output"
        fields.findings.notice("known-operator", message, outputs[1].path, hint)
        return one
    message = f"{fields.what}: {one.spec.image} is not to be had any more; the stage {program!r} is taken in its place"
    hint = "for another program, push its image to a registry of your own and name that"
    fields.findings.notice("known-operator", message, one.name, hint)
    if one.spec.env:
        names = ", ".join(sorted(one.spec.env))
        hint = f"see what {program!r} does: clara stages show {program}"
        fields.findings.notice("known-operator", f"{fields.what}: {program!r} does not follow {names}", one.name, hint)
    for output in one.outputs:
        if output not in outputs:
            message = f"{fields.what}: {program!r} writes nothing into {LOGS}"
            fields.findings.notice("known-operator", message, output.path, "see 'clara logs'")
    inputs = one.inputs
    if program == "dicom-writer":  # it gets the study anyway
        inputs = tuple(i for i in inputs if i.of or not ORIGINALS.fullmatch(i.path)) or inputs
    spec = replace(one.spec, image=Image(repository=program), command=(), input_paths=(), output_paths=EMPTY)
    return replace(one, spec=spec, inputs=inputs, outputs=outputs, replaced=True)


def _named(fields: Fields, number: int) -> Text:
    fields.need("name", "name: my-ai")
    node = fields.at("name")
    return Text(fields.text("name") or f"operator-{number}", node.source, node.line, node.column)


def _image(container: Fields) -> Image:
    container.need("image", "image: REGISTRY/NAME, and tag: …")
    image, tag = stage.reference(container.text("image")), container.text("tag")
    if tag and (image.tag or image.digest):
        container.wrong("tag", "stands beside an image that has a tag or a digest itself", "keep one of the two")
    elif tag:
        image = replace(image, tag=tag)
    elif image.repository and not (image.tag or image.digest):
        message = f"{container.what} has no tag; 'latest' is taken"
        container.findings.warning("image-tag", message, container.at("image"), "add the tag that was tested")
        image = replace(image, tag="latest")
    return image


def _resources(fields: Fields) -> Resources:
    """Of memory, a plain number is MiB here and bytes with us."""
    asked = fields.fields("requests")
    memory = asked.get("memory")
    if isinstance(memory, Text) and PLAIN.fullmatch(memory):
        in_mib = Text(f"{memory}Mi", memory.source, memory.line, memory.column)
        pairs = [(key, in_mib if key == "memory" else asked.node[key]) for key in asked.node]
        asked = Fields(Map(pairs, asked.node.source, asked.node.line, asked.node.column), asked.findings, asked.what)
    return stage.resources(asked)


def _models(fields: Fields) -> tuple[str, ...]:
    found = []
    for node in fields.nodes("models"):
        model = Fields(node, fields.findings, f"a model of {fields.what}")
        model.unknown(keys(f"{PATH}.models[]"))
        found.append(model.required("name"))
    return tuple(name for name in found if name)


def _variables(fields: Fields, container: Fields) -> dict[str, str]:
    """R4: some wrote them into the container. R5: some wrote the backslashes that a shell would take away."""
    inner = container.fields("variables")
    if inner.node:
        message = f"the 'variables' of {container.what} were taken as those of the operator"
        fields.findings.warning("R4", message, container.node.key("variables"), "indent them below the operator")
    outer = fields.fields("variables")
    for name in outer.node:
        if name in inner.node:
            message = f"the variable {short(name)} of {fields.what} is set twice"
            fields.findings.error("duplicate-key", message, name, "keep one of the two")
    found = stage.environment(inner) | stage.environment(outer)
    labels = found.get(LABELS, "")
    if '\\"' in labels:
        at = (outer if LABELS in outer else inner).at(LABELS)
        message = f"the backslashes in {LABELS} of {fields.what} were removed"
        fields.findings.warning("R5", message, at, "write '[\"Lung\"]'")
        found[LABELS] = labels.replace('\\"', '"')
    return found


def nothing(findings: Findings, at: Node) -> None:
    """The finding for a pipeline without operators."""
    findings.error("no-operators", "the pipeline has no operators", at, "add one: name, container, input, output")
