"""A graph as people see it: a tree on a terminal, Mermaid, DOT, JSON. Pure: Graph in, text out.

Names of a Graph are letters, digits, `-` and `_`, so they need no escapes; arguments may hold anything.
"""

from __future__ import annotations

import shlex
import textwrap

from clara_argo.graph import PAYLOAD, Graph, Node
from clara_argo.terminal import printable

WIDTH = 100  # columns of a description
MAX_DEPTH = 30  # a tree deeper than this does not fit a terminal


def as_text(graph: Graph, *, ascii_only: bool = False) -> str:
    """A tree from the payload down; a long or deep graph as a list."""
    title = f"{graph.workflow.name}  {graph.workflow.id}"
    lines = _list(graph) if _depth(graph) > MAX_DEPTH else _tree(graph)
    text = "\n".join([title, *described(graph.workflow.description), *lines])
    if ascii_only:
        for mark, plain in (("├─", "|-"), ("└─", "`-"), ("│", "|"), ("→", "->"), ("↓", "v")):
            text = text.replace(mark, plain)
        text = text.encode("ascii", "backslashreplace").decode()
    return text


def described(text: str) -> list[str]:
    """The lines of a description, wrapped and indented; what could steer a terminal is shown as an escape."""
    return [
        line
        for paragraph in text.splitlines()
        for line in textwrap.wrap(printable(paragraph), WIDTH, initial_indent="  ", subsequent_indent="  ") or [""]
    ]


def _depth(graph: Graph) -> int:
    depth: dict[str, int] = {PAYLOAD: 0}
    for node in graph.nodes:
        depth[node.name] = 1 + max(depth[name] for name in node.inputs)
    return max(depth.values())


def _list(graph: Graph) -> list[str]:
    return [f"{node.name}  reads {', '.join(map(_called, node.inputs))}{_notes(graph, node)}" for node in graph.nodes]


def _called(name: str) -> str:
    return name or "the payload"


def _notes(graph: Graph, node: Node) -> str:
    """What the lines of the tree do not show: other waits, arguments, being the result."""
    waits = [name for name in node.waits_for if name not in node.inputs]
    notes = f"  after {', '.join(waits)}" if waits else ""
    notes += f"  [{' '.join(map(_word, node.step.args))}]" if node.step.args else ""
    parts = [read.folder for read in graph.result_folders() if read.stage == node.name]
    only = f" (only {', '.join(parts)})" if all(parts) else ""
    return notes + (f"  → result{only}" if parts else "")


def _word(text: str) -> str:
    """An argument as people would type it; what could steer a terminal is shown as an escape."""
    return shlex.quote(printable(text))


def _tree(graph: Graph) -> list[str]:
    """Every stage stands below the last of what it reads; below the others only its name is mentioned."""
    order = {node.name: number for number, node in enumerate(graph.nodes)}
    children: dict[str, list[str]] = {PAYLOAD: [], **{name: [] for name in order}}
    home = {node.name: max(node.inputs, key=lambda name: order.get(name, -1)) for node in graph.nodes}
    for node in graph.nodes:
        for name in node.inputs:
            children[name].append(node.name)
    lines, nodes = ["payload"], {node.name: node for node in graph.nodes}

    def below(parent: str, indent: str) -> None:
        for number, name in enumerate(children[parent], 1):
            last = number == len(children[parent])
            fork = "└─ " if last else "├─ "
            if home[name] != parent:
                lines.append(f"{indent}{fork}(↓ {name})")
                continue
            lines.append(f"{indent}{fork}{name}{_notes(graph, nodes[name])}")
            below(name, indent + ("   " if last else "│  "))

    below(PAYLOAD, "")
    return lines


def _edges(graph: Graph) -> list[tuple[str, str, bool]]:
    """From, to, and whether data passes (else the second only waits); the payload is "payload" here."""
    numbers = {node.name: f"s{number}" for number, node in enumerate(graph.nodes, 1)} | {PAYLOAD: "payload"}
    edges = [(numbers[name], numbers[node.name], True) for node in graph.nodes for name in node.inputs]
    for node in graph.nodes:
        edges += [(numbers[name], numbers[node.name], False) for name in node.waits_for if name not in node.inputs]
    return edges + [
        (numbers[name], "result", True) for name in dict.fromkeys(read.stage for read in graph.result_folders())
    ]


def as_mermaid(graph: Graph) -> str:
    """https://mermaid.js.org/syntax/flowchart.html"""
    lines = ["flowchart LR", "  payload([payload])"]
    lines += [f'  s{number}["{node.name}"]' for number, node in enumerate(graph.nodes, 1)]
    lines += ["  result([result])"]
    lines += [f"  {first} {'-->' if data else '-.->'} {second}" for first, second, data in _edges(graph)]
    return "\n".join(lines)


def as_dot(graph: Graph) -> str:
    """https://graphviz.org/doc/info/lang.html"""
    lines = [f'digraph "{graph.workflow.name}" {{', "  rankdir=LR;", "  node [shape=box];"]
    lines += ["  payload [shape=oval];", "  result [shape=oval];"]
    lines += [f'  s{number} [label="{node.name}"];' for number, node in enumerate(graph.nodes, 1)]
    lines += [f"  {first} -> {second}{'' if data else ' [style=dashed]'};" for first, second, data in _edges(graph)]
    return "\n".join([*lines, "}"])


def as_json(graph: Graph) -> dict[str, object]:
    """The graph as JSON values: stages in running order, what they read and wait for."""
    return {
        "id": str(graph.workflow.id),
        "name": str(graph.workflow.name),
        "description": str(graph.workflow.description),
        "dialect": graph.workflow.dialect,
        "digest": graph.digest,
        "stages": [_stage_json(node) for node in graph.nodes],
        "results": list(map(str, graph.results)),
    }


def _stage_json(node: Node) -> dict[str, object]:
    spec = node.spec
    return {
        "name": node.name,
        "payload": PAYLOAD in node.inputs,
        "inputs": [str(name) for name in node.inputs if name],
        "waitsFor": list(map(str, node.waits_for)),
        "args": list(map(str, node.step.args)),
        "image": str(spec.image),
        "command": list(map(str, spec.command)),
        "timeout": spec.timeout,
        "retries": spec.retries,
        "study": spec.study,
        "publish": spec.publish,
    }
