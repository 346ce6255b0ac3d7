"""What a bare one-node cluster needs besides our manifests: credentials, kubelet settings, Argo's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

NAMESPACE = "clara"
BUCKET, ACCESS, SECRET = "clara", "clara", "clara-secret"
ENDPOINT = "127.0.0.1:8333"

Object = dict[str, Any]

IDENTITIES: Object = {
    "identities": [
        {
            "name": "clara",
            "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
}
# Pods on the host's network find no `kubernetes` service: the API's address is told to them.
API_ADDRESS = [
    {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
    {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"},
]
HOST: Object = {"hostNetwork": True, "dnsPolicy": "Default"}


def targets(folder: Path, text: str) -> str:
    """Settings of targets in a new folder; XDG_CONFIG_HOME is to name it."""
    path = folder / "config/clara-argo/targets.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"{text}\n")
    return str(folder / "config")


def environment(kubeconfig: Path) -> dict[str, str]:
    """By which `clara` finds the one-node cluster as its target `argo`."""
    return {
        "KUBECONFIG": str(kubeconfig),
        "CLARA_S3_ENDPOINT": ENDPOINT,
        "CLARA_S3_BUCKET": BUCKET,
        "CLARA_S3_ACCESS_KEY": ACCESS,
        "CLARA_S3_SECRET_KEY": SECRET,
        "CLARA_S3_SECURE": "false",
    }


def kubeconfig(server: str, certificates: str, user: str, token: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "onenode",
        "clusters": [{"name": "onenode", "cluster": {"server": server, "certificate-authority-data": certificates}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [
            {"name": "onenode", "context": {"cluster": "onenode", "user": user, "namespace": NAMESPACE}},
        ],
    }


def kubelet(run: Path) -> Object:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "makeIPTablesUtilChains": False,
        "containerRuntimeEndpoint": f"unix://{run}/containerd.sock",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{run}/pki/ca.crt"},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "registerNode": True,
        "rotateCertificates": False,
        "resolvConf": "/etc/resolv.conf",
    }


def namespace() -> list[Object]:
    """The namespace with what manifests/ gives a real one: accounts, the store, the controller's settings."""
    rights = {
        "clara-stage": [_rule("argoproj.io", ["workflowtaskresults"], ["create", "patch"])],
        "clara-artifact-gc": [
            _rule("argoproj.io", ["workflowartifactgctasks"], ["list", "watch"]),
            _rule("argoproj.io", ["workflowartifactgctasks/status"], ["patch"]),
        ],
    }
    made: list[Object] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    for account, rules in rights.items():
        made += _account(account, rules)
    return [*made, *_repository(), _controller()]


def _rule(group: str, resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _account(name: str, rules: list[Object]) -> list[Object]:
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(name)},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": _meta(name), "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": _meta(name),
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
        },
    ]


def _meta(name: str, **more: Any) -> Object:
    return {"name": name, "namespace": NAMESPACE, **more}


def _repository() -> list[Object]:
    repository = {
        "archiveLogs": True,
        "s3": {
            "endpoint": ENDPOINT,
            "bucket": BUCKET,
            "insecure": True,
            "keyFormat": "jobs/{{workflow.parameters.job}}/logs/{{pod.name}}",
            "accessKeySecret": {"name": "clara-s3", "key": "accesskey"},
            "secretKeySecret": {"name": "clara-s3", "key": "secretkey"},
        },
    }
    default = {"workflows.argoproj.io/default-artifact-repository": "clara-v1"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": _meta("clara-s3"),
            "stringData": {"accesskey": ACCESS, "secretkey": SECRET},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _meta("artifact-repositories", annotations=default),
            "data": {"clara-v1": yaml.safe_dump(repository)},
        },
    ]


def _controller() -> Object:
    """As manifests/argo sets it, with the host's network for pods; collectors' pods take neither default."""
    collector = HOST | {"containers": [{"name": "main", "env": API_ADDRESS}]}
    executor = {
        "imagePullPolicy": "Never",
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "env": [
            *API_ADDRESS,
            {"name": "EXECUTOR_RETRY_BACKOFF_STEPS", "value": "9"},
            {"name": "TRANSIENT_ERROR_PATTERN", "value": "workflowtaskresults.* is forbidden: User "},
        ],
    }
    defaults = {"spec": HOST | {"artifactGC": {"podSpecPatch": json.dumps(collector)}}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _meta("workflow-controller-configmap"),
        "data": {
            "executor": yaml.safe_dump(executor),
            "workflowDefaults": yaml.safe_dump(defaults),
            "failedPodRestart": yaml.safe_dump({"enabled": True, "maxRestarts": 3}),
            "workflowRestrictions": yaml.safe_dump({"templateReferencing": "Strict"}),
        },
    }
