"""What stands in a chart beside the workflow and is made from the manifests: accounts with their rights, a policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clara_argo import shipped, source
from clara_argo.charts.holes import Holes
from clara_argo.compile import Cluster
from clara_argo.compile.check.reading import objects
from clara_argo.platform.manifests import OUTSIDE

Object = dict[str, Any]

LABELLED = '  labels:\n    {{- include "clara.labels" . | nindent 4 }}\n'
# What pods of a job may talk to, by the names of the manifests' policies.
POLICIES = ("clara-names", "clara-api", "clara-store", OUTSIDE, "clara-inference")


def manifest(*names: str) -> Iterator[Object]:
    """The objects of files of the manifests."""
    for name in names:
        path = shipped.folder("manifests") / name
        yield from (made for made, _ in objects(source.read(path), str(path)))


def accounts() -> str:
    """templates/accounts.yaml."""
    names = Cluster()
    holes = Holes.of("accounts")
    known = {
        names.stage_account: holes.value("toJson $.Values.accounts.stage"),
        names.collector_account: holes.value("toJson $.Values.accounts.collector"),
    }
    space = holes.value("toJson $.Release.Namespace")
    made = []
    for one in manifest("stages/stage.yaml", "stages/collector.yaml"):
        one["metadata"] = {"name": known[one["metadata"]["name"]], "namespace": space}
        if "roleRef" in one:
            one["roleRef"]["name"] = known[one["roleRef"]["name"]]
        for subject in one.get("subjects", ()):
            subject |= {"name": known[subject["name"]], "namespace": space}
        made.append(labelled(holes.yaml(one), space, holes))
    return _when("accounts.create", "---\n".join(made))


def policy() -> str:
    """templates/networkpolicy.yaml: the rules of the manifests' policies, for the pods of this workflow alone."""
    found = {
        one["metadata"]["name"]: one["spec"]["egress"]
        for one in manifest("stages/policies.yaml", "overlays/cluster/namespace/policies.yaml")
        if one["metadata"]["name"] in POLICIES
    }
    holes = Holes.of(found)
    name = holes.value('index $.Chart.Annotations "clara.dev/template" | toJson')
    label = holes.value('index $.Chart.Annotations "clara.dev/label" | toJson')
    space = holes.value("toJson $.Release.Namespace")
    made: Object = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": space},
        "spec": {
            "podSelector": {"matchLabels": {"clara.dev/workflow": label}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [rule for name in POLICIES for rule in found[name]],
        },
    }
    text = labelled(holes.yaml(made), space, holes)
    more = "    {{- range .Values.networkPolicy.egress }}\n    - {{ toJson . }}\n    {{- end }}\n"
    return _when("networkPolicy.create", text + more)


def labelled(text: str, space: str, holes: Holes) -> str:
    """An object's text with the chart's labels behind its namespace."""
    line = f"  namespace: {holes.fill(space)}\n"
    assert line in text
    return text.replace(line, line + LABELLED, 1)


def _when(value: str, text: str) -> str:
    return f"{{{{- if .Values.{value} }}}}\n{text}{{{{- end }}}}\n"
