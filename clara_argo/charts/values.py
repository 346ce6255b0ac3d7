"""What a chart's values are by default, with what each is for, and the schema that refuses everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clara_argo.compile import Cluster, as_yaml

Object = dict[str, Any]

LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
NAME = r"^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$"
QUANTITY = r"^[0-9]+([.][0-9]+)?([numkKMGTPE]|[KMGTPE]i)?$"
TITLE = r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$"  # an AE title without outer blanks
RESOURCE = r"^[a-zA-Z0-9]([-_./a-zA-Z0-9]{0,252}[a-zA-Z0-9])?$"
REGISTRY = r"^(\[[0-9a-fA-F:]+\])?[^\s:]*(:[0-9]+)?(/[^\s:]*)?$"  # a host, not an address of the web
MOST_SECONDS = 10**9


def defaults(stages: Object, cluster: Cluster, secrets: list[str], workflow: str) -> Object:
    """The values with which Helm gives back what `clara compile` writes for this cluster. `secrets`: of the images."""
    return {
        "registry": cluster.registry,
        "pullSecrets": secrets,
        "imagePullPolicy": "IfNotPresent",
        "stages": stages,
        "gpu": {"resource": cluster.gpu, "nodeSelector": {}},
        "nodeSelector": {},
        "tolerations": [],
        "store": {"configMap": cluster.repository_map, "key": cluster.repository_key},
        "accounts": {"create": False, "stage": cluster.stage_account, "collector": cluster.collector_account},
        "waiting": cluster.waiting,
        "parallelism": cluster.parallelism,
        "volumeSize": cluster.volume_size,
        "keep": {"succeeded": cluster.keep_succeeded, "failed": cluster.keep_failed, "pod": cluster.keep_pod},
        "semaphore": {"jobs": 0},
        "networkPolicy": {"create": False, "egress": []},
        "route": {
            "create": False,
            "name": workflow,
            "called": "",
            "sources": [],
            "settle": {"quiet": 10, "max": 3600},
            "destinations": [],
        },
    }


COMMENTS: Mapping[str, str] = {
    "registry": "Goes before images that name no registry of their own, for example registry.example:5000/team.",
    "pullSecrets": "Names of Secrets that open the registry.",
    "imagePullPolicy": "IfNotPresent, Always or Never.",
    "stages": "Each stage: its image (tag or digest), what it reserves and may take, whole GPUs, seconds of one\n"
    "attempt, attempts after the first, and nodes of its own. A key that is set to null is taken away.",
    "gpu": "What GPUs are called here, and which nodes have them; stages with GPUs tolerate a taint of that name.",
    "nodeSelector": "For every stage; those of stages are added.",
    "tolerations": "For every stage; those of stages are added.",
    "store": "Where it is said which store Argo uses: a ConfigMap of this namespace and its key.",
    "accounts": "Names of the accounts of stages and of what removes a deleted job's objects. create: make them\n"
    "here, with their rights; otherwise they are there already (chart clara-platform, or clara cluster install).",
    "waiting": "Seconds that a whole job may wait for places, above the time that its stages may take.",
    "parallelism": "Pods of one job at once.",
    "volumeSize": "Of what one pod may write: output, locks, logs and /tmp.",
    "keep": "Seconds after which jobs that succeeded, jobs that failed, and pods of finished stages are removed.",
    "semaphore": "How many jobs of this workflow run at once; 0 = any number.",
    "networkPolicy": "create: pods of this workflow talk to nobody but names, the API server, the store and the\n"
    "inference server, as clara cluster install does for the whole namespace. egress: further rules.",
    "route": "Studies that come in by DICOM. create: a ConfigMap that the adapter of clara-platform reads, with\n"
    "who may send (aeTitle, host; name when it is another), the called AE title, when a study is complete\n"
    "(seconds), and where results go (aeTitle, host, port).",
}  # fmt: skip


def text(values: Object, title: str) -> str:
    """values.yaml: every key with what it is for."""
    return commented(values, COMMENTS, title)


def commented(values: Object, comments: Mapping[str, str], title: str) -> str:
    made = [f"# {title}", "# Keep what you change in a file of your own: helm … -f FILE."]
    for key, value in values.items():
        made += ["", *(f"# {line}" for line in comments[key].split("\n")), as_yaml({key: value}).rstrip("\n")]
    return "\n".join(made) + "\n"


# -- schema -----------------------------------------------------------------------------------------------------------


def whole(least: int, most: int = MOST_SECONDS) -> Object:
    return {"type": "integer", "minimum": least, "maximum": most}


def pattern(expression: str) -> Object:
    return {"type": "string", "pattern": expression}


def closed(properties: Object, *optional: str) -> Object:
    """A mapping with these keys and no others; all of them are needed but for the optional ones."""
    needed = [name for name in properties if name not in optional]
    return {"type": "object", "additionalProperties": False, "required": needed, "properties": properties}


def many(items: Object) -> Object:
    return {"type": "array", "items": items}


TEXT: Object = {"type": "string"}
FLAG: Object = {"type": "boolean"}
SELECTOR: Object = {"type": "object", "additionalProperties": TEXT}
AMOUNT: Object = {"anyOf": [pattern(QUANTITY), {"type": "number", "minimum": 0}]}
AMOUNTS: Object = {
    "type": "object",
    "additionalProperties": {"anyOf": [pattern(QUANTITY), {"type": "number", "minimum": 0}]},
}
TOLERATION = closed(
    {
        "key": TEXT,
        "operator": {"enum": ["Exists", "Equal"]},
        "value": TEXT,
        "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
        "tolerationSeconds": whole(0),
    },
    "key", "operator", "value", "effect", "tolerationSeconds",
)  # fmt: skip
PEER = {"name": TEXT, "aeTitle": pattern(TITLE), "host": pattern(r"^[._:a-zA-Z0-9][-._:a-zA-Z0-9]{0,252}$")}
STAGE = closed(
    {
        "image": closed(
            {
                "repository": pattern(r"^[^\s]{1,255}$"),
                "tag": pattern(r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"),
                "digest": pattern(r"^([a-z0-9+._-]+:[0-9A-Fa-f]{32,})?$"),
            }
        ),
        "resources": closed({"requests": AMOUNTS, "limits": AMOUNTS}, "requests", "limits"),
        "gpu": whole(0, 64),
        "timeout": whole(1, 10**7),
        "retries": whole(0, 100),
        "nodeSelector": SELECTOR,
        "tolerations": many(TOLERATION),
    }
)


def schema(values: Object) -> str:
    """values.schema.json, draft 7: a key that is misspelt is refused before anything reaches the cluster."""
    route = {
        "create": FLAG,
        "name": pattern(r"^[^\n]{1,255}$"),
        "called": pattern(f"^$|{TITLE}"),
        "sources": many(closed(dict(PEER), "name", "host")),
        "settle": closed({"quiet": _seconds(86400), "max": _seconds(7 * 86400)}),  # as the adapter takes them
        "destinations": many(closed({**PEER, "port": whole(1, 65535)}, "name")),
    }
    properties = {
        "global": {"type": "object"},  # Helm hands it to every chart
        "registry": pattern(REGISTRY),
        "pullSecrets": many(pattern(NAME)),
        "imagePullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
        "stages": closed(dict.fromkeys(values["stages"], STAGE)),
        "gpu": closed({"resource": pattern(RESOURCE), "nodeSelector": SELECTOR}),
        "nodeSelector": SELECTOR,
        "tolerations": many(TOLERATION),
        "store": closed({"configMap": pattern(NAME), "key": pattern(r"^[-._a-zA-Z0-9]{1,253}$")}),
        "accounts": closed({"create": FLAG, "stage": pattern(NAME), "collector": pattern(NAME)}),
        "waiting": whole(0, 10**7),
        "parallelism": whole(1, 10_000),
        "volumeSize": pattern(QUANTITY),
        "keep": closed({name: whole(0) for name in values["keep"]}),
        "semaphore": closed({"jobs": whole(0, 10_000)}),
        "networkPolicy": closed({"create": FLAG, "egress": many({"type": "object"})}),
        "route": closed(route) | {"if": {"properties": {"create": {"const": True}}}, "then": _asked_for()},
    }
    head: Object = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values"}
    return json.dumps(head | closed(properties, "global"), indent=1) + "\n"


def _seconds(most: int) -> Object:
    return {"type": "number", "minimum": 0.001, "maximum": most}


def _asked_for() -> Object:
    """Of a route that is to be made: a title that senders call, and somebody who may send."""
    return {"properties": {"called": {"minLength": 1}, "sources": {"minItems": 1}}}
