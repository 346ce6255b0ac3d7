"""AE titles, sources and destinations that stood outside of the adapter's file -> that file with them in it.

What kubectl prints of a cluster of Clara 0.6 and 0.7 (`get claraaetitles,sources,destinations -o yaml`), and what the
adapter of 0.8 answers on `/api/config/…` (a list, or one of its entries).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clara_argo.formats import adapter_json, peers
from clara_argo.formats.fields import Fields
from clara_argo.formats.keys import Fate, Key
from clara_argo.source import Findings, List, Map, Node, Text

GROUP = "dicom.clara.nvidia.com"
# Kind of object -> where its `spec` belongs in the file.
KINDS = {
    "claraaetitle": ("dicom", "scp", "aeTitles"),
    "source": ("dicom", "scp", "sources"),
    "destination": ("dicom", "scu", "destinations"),
}
_OBJECT = ("apiVersion", "kind", "metadata", "spec", "status")
TABLE = (
    Key("items[]", Fate.MAPPED, "one object each; others than of this group are an error"),
    Key("items[].apiVersion", Fate.MAPPED, "`dicom.clara.nvidia.com/…` says what it is"),
    Key("items[].kind", Fate.MAPPED, "ClaraAeTitle: a route; Source: `sources[]`; Destination: `destinations[]`"),
    Key("items[].metadata.name", Fate.MAPPED, "its `name` when `spec` has none"),
    Key("items[].metadata", Fate.UNUSED, "of the cluster"),
    Key("items[].spec", Fate.MAPPED, "as the entries of `aeTitles`, `sources`, `destinations` of the JSON file"),
    Key("items[].status.enabled", Fate.MAPPED, "left out when false, with a warning"),
    Key("items[].status", Fate.UNUSED, "of the cluster"),
)

Found = tuple[str, Node]  # kind, and the entry


def looks_like(nodes: Sequence[Node]) -> bool:
    """Whether documents hold objects of the adapter's kinds, or answers of its interface; one may hold none."""
    return any(_is_object(one) or _answer(one) for node in nodes for one in _members(node)) or _is_empty(nodes)


def _is_empty(nodes: Sequence[Node]) -> bool:
    """What kubectl and the interface say when there are none: a List without items, `[]`."""
    node = nodes[0] if len(nodes) == 1 else None
    if isinstance(node, Map) and node.get("kind") == "List":
        node = node.get("items")
    return isinstance(node, List) and not node


def _members(node: Node) -> Iterable[Node]:
    """A list of objects as kubectl prints it, a plain list, or one object."""
    if isinstance(node, List):
        return node
    items = node.get("items") if isinstance(node, Map) else None
    return items if isinstance(items, List) and "spec" not in (node if isinstance(node, Map) else ()) else (node,)


def _is_object(node: Node) -> bool:
    version = node.get("apiVersion") if isinstance(node, Map) else None
    return isinstance(version, Text) and version.partition("/")[0] == GROUP


def _answer(node: Node) -> str:
    """Which kind an answer of the interface is of, by its keys; else empty."""
    keys = set(map(peers.plain, node)) if isinstance(node, Map) else set()
    if "aetitle" not in keys:
        return ""
    if "processorsettings" in keys or "processor" in keys or "overwritesameinstance" in keys:
        return "claraaetitle"
    if "hostip" in keys:
        return "destination" if "port" in keys else "source"
    return ""


def entries(nodes: Sequence[Node], findings: Findings) -> list[Found]:
    """Every entry of the documents. What is none is reported."""
    found: list[Found] = []
    if _is_empty(nodes):
        findings.warning("no-entries", "there is no AE title, source or destination in it", nodes[0], "leave it out")
    for node in nodes:
        for one in _members(node):
            kind = _answer(one)
            entry = (kind, one) if kind else _object(one, findings)
            if entry is not None:
                found.append(entry)
    return found


def _object(node: Node, findings: Findings) -> Found | None:
    fields = Fields(node, findings, "the object")
    kind = fields.text("kind")
    if not _is_object(node) or kind.lower() not in KINDS:
        message = f"this is no ClaraAeTitle, Source or Destination of {GROUP}"
        findings.error("object", message, node, "kubectl get claraaetitles,sources,destinations -o yaml")
        return None
    fields.unknown(_OBJECT)
    if not fields.fields("status").flag("enabled", True):
        name = fields.fields("metadata").text("name")
        message = f"{kind} {name!r} is not enabled; it is left out"
        findings.warning("disabled", message, fields.at("status"), "enable it, or delete it here")
        return None
    spec = Fields(_without_nulls(fields.fields("spec").node), findings, "'spec' of the object")
    name_node = fields.fields("metadata").node.get("name")
    if isinstance(name_node, Text) and name_node and "name" not in spec and kind.lower() != "source":
        key = Text("name", name_node.source, name_node.line, name_node.column)
        pairs = [(key, name_node), *((spec.node.key(key), spec.node[key]) for key in spec.node)]
        return kind.lower(), Map(pairs, spec.node.source, spec.node.line, spec.node.column)
    return kind.lower(), spec.node


def _without_nulls(node: Node) -> Node:
    """What kubectl printed for nothing, as nothing. Depth is bounded by the reader."""
    if isinstance(node, Map):
        return Map(((key, _without_nulls(value)) for key, value in node.items()), node.source, node.line, node.column)
    if isinstance(node, List):
        return List(map(_without_nulls, node), node.source, node.line, node.column)
    return Text("", node.source, node.line, node.column) if node in ("null", "~") else node


def merged(root: Node | None, found: Sequence[Found]) -> Node:
    """The adapter's file, or one without anything else, with these entries after its own."""
    first = found[0][1]
    node = root if root is not None else Map((), first.source, first.line, first.column)
    for kind, place in KINDS.items():
        if more := [entry for name, entry in found if name == kind]:
            node = _added(node, (adapter_json.ROOT, *place), more)
    return node


def _added(node: Node, path: tuple[str, ...], more: list[Node]) -> Node:
    """A copy in which the list at this path is longer."""
    place = more[0]
    if not path:
        own = tuple(node) if isinstance(node, List) else ()
        return List((*own, *more), place.source, place.line, place.column)
    pairs = [(key, node[key]) for key in node] if isinstance(node, Map) else []
    index = next((n for n, (key, _) in enumerate(pairs) if peers.plain(key) == peers.plain(path[0])), len(pairs))
    if index == len(pairs):
        pairs.append((Text(path[0], place.source, place.line, place.column), Text()))
    pairs[index] = (pairs[index][0], _added(pairs[index][1], path[1:], more))
    at = node if node.line else place
    return Map(pairs, at.source, at.line, at.column)
