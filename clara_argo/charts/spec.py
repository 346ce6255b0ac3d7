"""Where a compiled template has holes, and which helper of the chart fills each.

Takes the object that `clara compile` made; what is not named here stays as it is.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from clara_argo.charts.holes import Holes, call
from clara_argo.compile import DIGEST
from clara_argo.compile.template import AGAIN, AGAIN_FUSED, ATTEMPT, LONGEST_PAUSE, MAIN, PAUSE, retry
from clara_argo.graph import Graph
from clara_driver import contract

Object = dict[str, Any]

# The digest that compiling with these values would give: of the spec and the namespace, with sorted keys.
DIGESTED = 'printf "[%s,%s]" (fromYaml $spec | toRawJson) (toRawJson .Release.Namespace) | sha256sum | toJson'


def containers(template: Object, stages: Mapping[str, str]) -> dict[str, Object]:
    """Stage -> its container in a compiled template. `stages`: stage -> name on the cluster."""
    found: dict[str, Object] = {}
    for one in template["spec"]["templates"]:
        if "container" in one:
            found[one["name"]] = one["container"]
        for container in one.get("containerSet", {}).get("containers", ()):
            found[container["name"]] = container
    return {stage: found[name] for stage, name in stages.items()}


def pods(graph: Graph, made: Object, keys: Mapping[str, str], fused: bool) -> Iterator[tuple[Object, list[str]]]:
    """Each template that runs a pod, with the keys in the values of the stages in it."""
    by_name = {one["name"]: one for one in made["spec"]["templates"]}
    if fused:
        yield by_name[MAIN], [keys[node.name] for node in graph.nodes]
        return
    for node in graph.nodes:
        yield by_name[keys[node.name]], [keys[node.name]]


def with_holes(graph: Graph, compiled: Object, stages: Mapping[str, str], keys: Mapping[str, str], holes: Holes,
               *, fused: bool) -> Object:  # fmt: skip
    """`stages`: stage -> container or template; `keys`: stage -> key in the values."""
    made: Object = copy.deepcopy(compiled)
    made["metadata"]["namespace"] = holes.value("toJson .Release.Namespace")
    made["metadata"]["annotations"][DIGEST] = holes.value(DIGESTED)
    for pod, inside in pods(graph, made, keys, fused):
        _pod(pod, inside, holes, fused)
    for stage, container in containers(made, stages).items():
        own = set(graph.node(stage).spec.env)
        inside = list(keys.values()) if fused else [keys[stage]]
        _container(container, keys[stage], inside, own, holes)
    _whole(made["spec"], list(keys.values()), holes, fused)
    return made


def _pod(made: Object, inside: list[str], holes: Holes, fused: bool) -> None:
    made["activeDeadlineSeconds"] = holes.value(call("timeouts", *inside))
    made["retryStrategy"] = holes.maybe(call("retryStrategy", *inside))
    made["nodeSelector"] = holes.maybe(call("nodeSelector", *inside))
    made["tolerations"] = holes.maybe(call("tolerations", *inside))


def _container(made: Object, key: str, inside: list[str], own: set[str], holes: Holes) -> None:
    """`own`: variables that the stage's definition gives; they say what it says."""
    made["image"] = holes.value(call("image", key))
    made["imagePullPolicy"] = holes.value("toJson $.Values.imagePullPolicy")
    made["resources"] = holes.maybe(call("resources", key))
    for variable in made["env"]:
        name = variable["name"]
        if name == contract.TIMEOUT or (name == "MONAI_TIMEOUT" and name not in own):
            variable["value"] = holes.value(f"{call('timeouts', key)} | toJson")
        elif name == contract.ATTEMPT:
            variable["value"] = holes.value(call("attempt", *inside))


def _whole(spec: Object, keys: list[str], holes: Holes, fused: bool) -> None:
    longest = [keys] if fused else [[key] for key in keys]
    sum_ = " ".join(f"({call('longest', *some)})" for some in longest)
    spec |= {
        "serviceAccountName": holes.value("toJson $.Values.accounts.stage"),
        "imagePullSecrets": holes.maybe('include "clara.pullSecrets" $'),
        "artifactRepositoryRef": {
            "configMap": holes.value("toJson $.Values.store.configMap"),
            "key": holes.value("toJson $.Values.store.key"),
        },
        "activeDeadlineSeconds": holes.value(f"add {sum_} (int64 $.Values.waiting)"),
        "parallelism": holes.value("int64 $.Values.parallelism"),
        "podMetadata": holes.maybe('include "clara.podMetadata" $'),
        "synchronization": holes.maybe('include "clara.synchronization" $'),
    }
    spec["podGC"]["deleteDelayDuration"] = holes.value('printf "%ds" (int64 $.Values.keep.pod) | toJson')
    spec["ttlStrategy"]["secondsAfterSuccess"] = holes.value("int64 $.Values.keep.succeeded")
    spec["ttlStrategy"]["secondsAfterFailure"] = holes.value("int64 $.Values.keep.failed")
    spec["artifactGC"]["serviceAccountName"] = holes.value("toJson $.Values.accounts.collector")
    (volume,) = spec["volumes"]
    volume["emptyDir"]["sizeLimit"] = holes.value("toJson $.Values.volumeSize")


def text_of(made: Object, holes: Holes) -> str:
    """The chart's file: the spec first, by a name, since the digest is made of it."""
    head = {name: value for name, value in made.items() if name != "spec"}
    return (
        f'{{{{- define "clara.spec" -}}}}\n{holes.yaml(made["spec"])}{{{{- end }}}}\n'
        f'{{{{- $spec := include "clara.spec" . }}}}\n{holes.yaml(head)}spec:\n{{{{ $spec | indent 2 }}}}\n'
    )


def constants(fused: bool) -> str:
    """Helpers that say what compiling says of attempts and pauses."""
    holes = Holes.of(AGAIN, AGAIN_FUSED)
    strategy = retry(1, AGAIN_FUSED if fused else AGAIN)["retryStrategy"]
    strategy["limit"] = holes.value("toJson $times")
    pauses: list[int] = []
    while not pauses or pauses[-1] < LONGEST_PAUSE:
        pauses.append(min(PAUSE << len(pauses), LONGEST_PAUSE))
    return f"""\
{{{{- define "clara.retryStrategy" -}}}}
{{{{- $times := include "clara.retries" . -}}}}
{{{{- if ne $times "0" }}}}{holes.fill(json.dumps(strategy))}{{{{ end -}}}}
{{{{- end }}}}

{{{{- define "clara.attempt" -}}}}
{{{{- if eq (include "clara.retries" .) "0" }}}}"1"{{{{ else }}}}{holes.fill(json.dumps(ATTEMPT))}{{{{ end -}}}}
{{{{- end }}}}

{{{{- /* Seconds between all attempts, when each of them is needed. */}}}}
{{{{- define "clara.pauses" -}}}}
{{{{- $table := list {" ".join(map(str, pauses))} -}}}}
{{{{- $sum := 0 -}}}}
{{{{- range $number := until (int .) }}}}
{{{{- $sum = add $sum (index $table (min $number {len(pauses) - 1})) -}}}}
{{{{- end -}}}}
{{{{- $sum -}}}}
{{{{- end }}}}
"""


def stage_values(
    graph: Graph, compiled: Object, stages: Mapping[str, str], keys: Mapping[str, str], gpu: str
) -> Object:
    """What the holes of each stage are filled with by default: what compiling had put there."""
    made: Object = {}
    for stage, container in containers(compiled, stages).items():
        spec = graph.node(stage).spec
        resources = copy.deepcopy(container.get("resources", {}))
        resources.get("limits", {}).pop(gpu, None)
        image = {"repository": spec.image.repository, "tag": spec.image.tag, "digest": spec.image.digest}
        made[keys[stage]] = {
            "image": {name: str(value) for name, value in image.items()},
            "resources": {name: value for name, value in resources.items() if value},
            "gpu": spec.resources.gpu,
            "timeout": spec.timeout,
            "retries": spec.retries,
            "nodeSelector": {},
            "tolerations": [],
        }
    return made
