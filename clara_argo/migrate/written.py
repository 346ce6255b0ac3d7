"""Workflow, stage, configuration -> the keys and values of our own files. What is a default is not written.

What is written reads back to the same value: `native.read`, `stage.read`, `adapter.read` are the judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clara_argo.graph import PAYLOAD, Graph, Node
from clara_argo.model.route import Configuration, Route, Settle
from clara_argo.model.workflow import Image, StageSpec

Written = dict[str, Any]


def workflow(graph: Graph) -> Written:
    """One mapping a stage. Locks that a repair has added are written, too."""
    of = graph.workflow
    specs = {node.name: node.spec for node in graph.nodes}
    by_name = {node.name: node for node in graph.nodes}
    steps = [_step(by_name[step.stage], specs) for step in of.steps]
    made: Written = {"id": str(of.id), "name": str(of.name)}
    if of.description:
        made["description"] = str(of.description)
    if of.pull_secrets:
        made["pullSecrets"] = _texts(of.pull_secrets)
    return made | {"stages": steps, "result": one_or_list(of.results)}


def _step(node: Node, specs: Mapping[str, StageSpec]) -> Written:
    step = node.step
    made: Written = {"name": str(step.stage), "input": one_or_list(step.reads)}
    if node.waits_for:
        made["wait"] = one_or_list([specs[stage].lock for stage in node.waits_for if stage != PAYLOAD])
    if step.args:
        made["args"] = list(map(str, step.args))
    return made


def one_or_list(texts: Sequence[str]) -> str | list[str]:
    return str(texts[0]) if len(texts) == 1 else list(map(str, texts))


def stage(spec: StageSpec) -> Written:
    """The keys of `stages/<name>/stage.yaml`."""
    usual = StageSpec(name=spec.name)
    made: Written = {"stageName": str(spec.name)}
    if spec.image != usual.image:
        made["image"] = _image(spec.image)
    if spec.command:
        made["command"] = list(map(str, spec.command))
    mount = {
        side: {"name": str(name)}
        for side, name, default in (
            ("in", spec.mount_in, usual.mount_in), ("out", spec.mount_out, usual.mount_out),
        )
        if name != default
    }  # fmt: skip
    if mount:
        made["mount"] = mount
    texts = (
        ("appDir", spec.app_dir, usual.app_dir), ("inputLock", spec.input_lock, usual.input_lock),
        ("inputs", spec.inputs, usual.inputs), ("logName", spec.log_name, usual.log_name),
        ("outputs", spec.outputs, usual.outputs), ("lockDir", spec.lock_dir, usual.lock_dir),
        ("lockName", spec.lock_name, usual.lock_name),
    )  # fmt: skip
    made |= {key: str(value) for key, value, default in texts if value != default}
    return made | _numbers(spec, usual) | _lists(spec)


def _image(image: Image) -> str | Written:
    if image.tag and image.digest:
        return f"{image.repository}:{image.tag}@{image.digest}"
    parts = {"repository": image.repository, "tag": image.tag, "digest": image.digest}
    return {key: str(text) for key, text in parts.items() if text}


def _numbers(spec: StageSpec, usual: StageSpec) -> Written:
    values = (
        ("timeout", spec.timeout, usual.timeout), ("retries", spec.retries, usual.retries),
        ("study", spec.study, usual.study), ("publish", spec.publish, usual.publish),
    )  # fmt: skip
    made: Written = {key: value for key, value, default in values if value != default}
    asked = {"cpu": str(spec.resources.cpu), "memory": str(spec.resources.memory), "gpu": spec.resources.gpu}
    if resources := {key: value for key, value in asked.items() if value}:
        made["resources"] = resources
    return made


def _lists(spec: StageSpec) -> Written:
    made: Written = {}
    if spec.env:
        made["env"] = {str(name): str(value) for name, value in spec.env.items()}
    lists = (
        ("models", spec.models), ("takes", spec.takes), ("gives", spec.gives), ("inputPaths", spec.input_paths),
    )  # fmt: skip
    made |= {key: list(map(str, texts)) for key, texts in lists if texts}
    if spec.output_paths:
        made["outputPaths"] = {str(name): str(path) for name, path in spec.output_paths.items()}
    return made


def configuration(of: Configuration) -> Written:
    """The keys of `adapter.yaml`."""
    return {
        "ae-title": str(of.ae_title),
        "host": str(of.host),
        "port": of.port,
        "spool": str(of.spool),
        "runner": str(of.runner),
        "sources": [_peer(one.name, one.ae_title, one.host) for one in of.sources],
        "destinations": [_peer(one.name, one.ae_title, one.host, one.port) for one in of.destinations],
        "routes": list(map(_route, of.routes)),
    }


def _peer(name: str, title: str, host: str, port: int = 0) -> Written:
    made: Written = {"name": str(name), "ae-title": str(title)}
    if host:
        made["host"] = str(host)
    return made | ({"port": port} if port else {})


def _route(route: Route) -> Written:
    made: Written = {"name": str(route.name), "called": str(route.called), "sources": _texts(route.sources)}
    if route.settle != Settle():
        made["settle"] = {"quiet": _seconds(route.settle.quiet), "max": _seconds(route.settle.max)}
    return made | {"workflows": _texts(route.workflows), "destinations": _texts(route.destinations)}


def _texts(texts: Iterable[str]) -> list[str]:
    return list(map(str, texts))


def _seconds(value: float) -> float | int:
    return int(value) if value == int(value) else value
