"""Values of clara-platform: what a site decides, with what each is for, and the schema that refuses everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clara_argo.charts.definitions import PATH
from clara_argo.charts.values import (
    AMOUNTS,
    FLAG,
    NAME,
    QUANTITY,
    REGISTRY,
    SELECTOR,
    TEXT,
    TOLERATION,
    closed,
    commented,
    many,
    pattern,
    whole,
)  # fmt: skip
from clara_argo.model.target import StoreAccess
from clara_argo.platform.manifests import PORT, SECRET

Object = dict[str, Any]

CIDR = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"
COMMENTS: Mapping[str, str] = {
    "registry": "Goes before the adapter's image when it names no registry of its own.",
    "pullSecrets": "Names of Secrets that open the registry.",
    "image": "The adapter's; a digest goes before the tag.",
    "store": "An S3-compatible store and its bucket, which is there. secret: a Secret of the namespace with the keys\n"
    "accesskey and secretkey; with accessKey and secretKey given here, that Secret is made. authority: a Secret\n"
    "with the certificates to trust in its key, PEM, when the store's is not signed by a public authority.",
    "adapter": "configuration: the adapter's own file (docs/pacs-administrator.md), or --set-file\n"
    "adapter.configuration=adapter.yaml; 'include' in it reads the routes below. ports: of further destinations.\n"
    "create: false leaves the adapter out.",
    "routes": "ConfigMaps with routes, of charts of workflows, and the place of each of their keys; see their notes.",
    "service": "LoadBalancer, NodePort or ClusterIP. nodePort: at every node; 0 = the cluster chooses.",
    "addresses": "Where the API server, the store, scanners and PACS are: the private ones, until you narrow them.",
    "resources": "Of the adapter.",
    "volume": "For what the adapter has acknowledged. An installed one is not changed by an upgrade.",
    "nodeSelector": "Of the adapter.",
    "tolerations": "Of the adapter.",
    "quota": "What all jobs of the namespace together may take; see ResourceQuota.",
}  # fmt: skip


def defaults(adapter: Object, quota: Object, configuration: str, store: StoreAccess) -> Object:
    """`adapter`: the spec of its StatefulSet; `quota`: what is allowed in the namespace."""
    (container,) = adapter["template"]["spec"]["containers"]
    repository, _, tag = container["image"].rpartition(":")
    (claim,) = adapter["volumeClaimTemplates"]
    return {
        "registry": "",
        "pullSecrets": [],
        "image": {"repository": repository, "tag": tag, "digest": "", "pullPolicy": container["imagePullPolicy"]},
        "store": {
            "endpoint": store.endpoint,
            "bucket": store.bucket,
            "secure": store.secure is not False,
            "region": "",
            "secret": SECRET,
            "accessKey": "",
            "secretKey": "",
            "authority": {"secret": "", "key": "ca.crt"},
        },
        "adapter": {"create": True, "ports": [], "configuration": configuration},
        "routes": [],
        "service": {"type": "LoadBalancer", "port": PORT, "nodePort": 0, "annotations": {}},
        "addresses": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
        "resources": container["resources"],
        "volume": {"size": claim["spec"]["resources"]["requests"]["storage"], "storageClass": ""},
        "nodeSelector": {},
        "tolerations": [],
        "quota": quota,
    }


def text(values: Object, title: str) -> str:
    return commented(values, COMMENTS, title)


def schema() -> str:
    properties = {
        "global": {"type": "object"},
        "registry": pattern(REGISTRY),
        "pullSecrets": many(pattern(NAME)),
        "image": closed(
            {
                "repository": pattern(r"^[^\s]{1,255}$"),
                "tag": pattern(r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"),
                "digest": pattern(r"^([a-z0-9+._-]+:[0-9A-Fa-f]{32,})?$"),
                "pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
            }
        ),
        "store": closed(
            {
                "endpoint": pattern(r"^[-._a-zA-Z0-9]{1,253}(:[0-9]{1,5})?$"),
                "bucket": pattern(r"^[a-z0-9][-._a-z0-9]{1,61}[a-z0-9]$"),
                "secure": FLAG,
                "region": pattern(r"^[-a-zA-Z0-9]{0,63}$"),
                "secret": pattern(NAME),
                "accessKey": pattern(r"^[!-~]*$"),
                "secretKey": pattern(r"^[!-~]*$"),
                "authority": closed({"secret": pattern(f"^$|{NAME}"), "key": pattern(r"^[-._a-zA-Z0-9]{1,253}$")}),
            }
        ),
        "adapter": closed({"create": FLAG, "ports": many(whole(1, 65535)), "configuration": TEXT}),
        "routes": many(closed({"configMap": pattern(NAME), "files": FILES})),
        "service": closed(
            {
                "type": {"enum": ["LoadBalancer", "NodePort", "ClusterIP"]},
                "port": whole(1, 65535),
                "nodePort": whole(0, 65535),
                "annotations": SELECTOR,
            }
        ),
        "addresses": many(pattern(CIDR)) | {"minItems": 1},
        "resources": closed({"requests": AMOUNTS, "limits": AMOUNTS}, "requests", "limits"),
        "volume": closed({"size": pattern(QUANTITY), "storageClass": pattern(f"^$|{NAME}")}),
        "nodeSelector": SELECTOR,
        "tolerations": many(TOLERATION),
        "quota": AMOUNTS,
    }
    head: Object = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values"}
    return json.dumps(head | closed(properties, "global"), indent=1) + "\n"


# Key of a ConfigMap -> a path below the route's folder.
FILES: Object = {
    "type": "object",
    "propertyNames": pattern(r"^[-._a-zA-Z0-9]{1,253}$"),
    "additionalProperties": pattern(PATH),
}
