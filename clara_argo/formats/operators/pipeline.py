"""The whole file: its operators in order, what each reads of the others, and which outputs are the result."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from clara_argo.formats import native
from clara_argo.formats.fields import Fields, short
from clara_argo.formats.operators import places, registers, services
from clara_argo.formats.operators.imports import Imports
from clara_argo.formats.operators.operator import Operator, nothing
from clara_argo.formats.operators.operator import read as read_operator
from clara_argo.formats.operators.references import Expander, need_server
from clara_argo.formats.operators.table import keys
from clara_argo.formats.operators.templating import Budget, Template
from clara_argo.model.workflow import StageSpec, Step, Workflow
from clara_argo.source import Findings, Map, Node, Text

VERSION = re.compile(r"0\.([2-7])(\.[0-9]{1,6})?")
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:clara:pipeline")  # of ids; such a file has a name only
ORCHESTRATORS = ("clara", "argo")


def read(
    top: Node, findings: Findings, *, folder: Path | None = None, values: Mapping[str, str] | None = None
) -> Workflow:
    """`folder`: of the file, for its imports. `values`: of parameters; None = somebody only looks at the file, so that
    a parameter without a value is a notice. What is wrong is reported; what can still be read is returned."""
    given, lenient = dict(values or {}), values is None
    fields = Fields(top, findings, "the pipeline")
    extra = fields.unknown(keys(""))
    parameters = given if services.URL in fields.fields("parameters") else _without(given, services.URL)
    budget = Budget()
    template = Template(fields, parameters, budget, lenient=lenient)
    filled = [(key, template.filled(fields.node[key])) for key in fields.node if key != "parameters"]
    fields = Fields(Map(filled, top.source, top.line, top.column), findings, "the pipeline")
    _settings(fields)
    imports = Imports(findings=findings, folder=folder, budget=budget)
    expander = Expander(findings=findings, budget=budget, address=services.address(given, findings), lenient=lenient)
    nodes = [imports.resolved(node, f"operator {n}", lenient) for n, node in enumerate(fields.nodes("operators"), 1)]
    if not nodes:
        nothing(findings, fields.at("operators"))
    read = [read_operator(node, n, imports, expander) for n, node in enumerate(nodes, 1) if node is not None]
    return _Pipeline(_unique(read, findings), findings, complete=None not in nodes).workflow(fields, extra, expander)


def _without(given: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in given.items() if key != name}


def _settings(fields: Fields) -> None:
    version, orchestrator = fields.text("api-version"), fields.text("orchestrator")
    if not VERSION.fullmatch(version):
        message = f"api-version {short(version)} is none of 0.2.0 to 0.7.0; it is read as they are"
        fields.findings.warning("api-version", message, fields.at("api-version"), "write the version that it was for")
    if orchestrator and orchestrator.lower() not in ORCHESTRATORS:
        fields.wrong("orchestrator", f"is {short(orchestrator)}, which is not known", "write Clara or Argo")
    elif orchestrator.lower() == "clara":
        message = "Clara's own orchestrator ran a pipeline in one pod; here each stage has one"
        hint = "clara compile --fused puts all of them into one"
        fields.findings.notice("orchestrator", message, fields.at("orchestrator"), hint)
    if "import" in fields:
        message = "the pipeline imports something as a whole"
        fields.findings.error("import", message, fields.at("import"), "move it into an entry of 'operators'")


def _unique(operators: list[Operator], findings: Findings) -> dict[str, Operator]:
    """By name in lower case: Clara did not tell capitals apart."""
    found: dict[str, Operator] = {}
    for one in operators:
        first = found.setdefault(one.name.lower(), one)
        if first is not one:
            message = f"two operators are called {short(one.name)}"
            findings.error("duplicate-operator", message, one.name, "rename one of them")
    return found


class _Pipeline:
    """Operators that know each other. Each is looked at once, and so is each of its inputs.

    `complete`: none is missing because it could not be imported.
    """

    def __init__(self, operators: dict[str, Operator], findings: Findings, *, complete: bool) -> None:
        self.operators, self.findings, self.complete = operators, findings, complete
        self.run = {key: one for key, one in operators.items() if one.register is None}
        self.names = {str(one.name): None for one in self.run.values()}
        self.used: set[str] = set()

    def workflow(self, fields: Fields, extra: dict[str, str], expander: Expander) -> Workflow:
        for one in self.run.values():
            if one.needs_server:
                need_server(f"operator {short(one.name)}", one.name, expander)
        name = fields.required("name", "name: my-pipeline")
        steps = tuple(map(self._step, self.run.values()))
        results = self._results()
        return Workflow(
            id=str(uuid.uuid5(NAMESPACE, str(name))),
            name=name,
            steps=steps,
            results=results,
            stages=tuple(self._spec(one, expander.address) for one in self.run.values()),
            pull_secrets=native.secrets(fields, "pull-secrets"),
            dialect="operators",
            source=self.findings.source,
            extra=MappingProxyType(extra | self._kept()),
        )

    def _spec(self, one: Operator, address: str) -> StageSpec:
        spec = one.spec
        if one.needs_server and address:
            return replace(spec, env=MappingProxyType({services.URL: address, **spec.env}))
        return spec

    def _step(self, one: Operator) -> Step:
        reads: dict[Text, None] = {}
        waits: dict[Text, None] = {}
        for wanted in one.inputs:
            if not wanted.of:
                reads[_at(f"{one.name}/input", wanted.path)] = None
                continue
            producer = self._producer(one, wanted)
            if producer is not None:
                reads[_at(self._folder(producer, wanted), wanted.of)] = None
                waits[_at(f"{producer.name}.lock", wanted.of)] = None
                self.used.add(producer.name.lower())
        return Step(stage=one.name, reads=tuple(reads) or (_at(f"{one.name}/input", one.name),), waits_for=tuple(waits))

    def _producer(self, one: Operator, wanted: places.Input) -> Operator | None:
        producer = self.run.get(wanted.of.lower())
        if producer is None and self.complete:
            what = "registers results, and writes nothing" if wanted.of.lower() in self.operators else "is unknown"
            message = f"operator {short(one.name)} reads from {short(wanted.of)}, which {what}"
            known = f"operators here: {', '.join(map(short, islice(self.names, 8)))}"
            hint = self.findings.did_you_mean(wanted.of, self.names, known)
            self.findings.error("unknown-operator", message, wanted.of, hint)
        return producer

    def _folder(self, producer: Operator, wanted: places.Input) -> str:
        """A program of ours has one output, whatever the name that it had."""
        part = places.written(wanted.part, producer.outputs, producer.name, self.findings)
        return f"{producer.name}/output" if producer.replaced or not part else f"{producer.name}/output/{part}"

    def _results(self) -> tuple[Text, ...]:
        """What is registered to be sent; where nothing is, the output of every operator that no other one reads."""
        found: dict[Text, None] = {}
        for one in self.operators.values():
            if one.register is not None:
                found |= dict.fromkeys(self._registered(one))
        if found or not self.run:
            return tuple(found)
        return tuple(_at(f"{one.name}/output", one.name) for key, one in self.run.items() if key not in self.used)

    def _registered(self, one: Operator) -> list[Text]:
        found = []
        for wanted in one.inputs:
            if not wanted.of:
                message = f"operator {short(one.name)} registers the payload, which is no result"
                self.findings.error("register-results", message, wanted.path, "add from: OPERATOR")
                continue
            producer = self._producer(one, wanted)
            if producer is None:
                continue
            found.append(_at(self._folder(producer, wanted), wanted.of))
        if not one.inputs:
            message = f"operator {short(one.name)} registers nothing"
            self.findings.error("register-results", message, one.name, "add input: [{from: OPERATOR, path: /input}]")
        sent = one.register is not None and one.register.agent != registers.RENDER
        return found if sent else []

    def _kept(self) -> dict[str, str]:
        """Who was to get the result, for people; here the adapter's route says so."""
        made = [
            {
                "agent": registers.NAMES.get(one.register.agent, ""),
                "data": list(one.register.data),
                "from": [str(wanted.of) for wanted in one.inputs],
            }
            for one in self.operators.values()
            if one.register is not None
        ]
        return {"register-results": json.dumps(made)} if made else {}


def _at(value: str, node: Text) -> Text:
    return Text(value, node.source, node.line, node.column)
