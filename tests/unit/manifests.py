"""The shipped manifests as objects: a copy with what a user adds, built by kubectl's own kustomize, with no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
Object = dict[str, Any]

# As small as our patches allow; the names and shapes are those of manifests/namespace-install of argo-workflows 4.1.
ARGO = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: workflow-controller-configmap}
---
apiVersion: v1
kind: Service
metadata: {name: argo-server}
spec: {selector: {app: argo-server}, ports: [{name: web, port: 2746, targetPort: 2746}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: argo}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: argo-binding}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: argo-role}
subjects: [{kind: ServiceAccount, name: argo}]
""" + "".join(
    f"""---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      serviceAccountName: argo
      securityContext: {{runAsNonRoot: true}}
      containers:
        - name: {name}
          image: quay.io/argoproj/{image}:v4.1.2
          securityContext:
            readOnlyRootFilesystem: true
            runAsNonRoot: true
            allowPrivilegeEscalation: false
            capabilities: {{drop: [ALL]}}
          env: [{{name: LEADER_ELECTION_IDENTITY, value: x}}]
"""
    for name, image in (("workflow-controller", "workflow-controller"), ("argo-server", "argocli"))
)


def kubectl() -> str:
    """The command; skips the test where there is none."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl on the PATH")
    return found


def copy(into: Path, argo: str = ARGO) -> Path:
    """The manifests with credentials, and with `argo` where a user's copy names the release."""
    made = shutil.copytree(MANIFESTS, into / "manifests", ignore=shutil.ignore_patterns("s3.env"))
    shutil.copy(made / "credentials" / "s3.env.example", made / "credentials" / "s3.env")
    (made / "argo" / "upstream" / "release.yaml").write_text(argo)
    kustomization = made / "argo" / "upstream" / "kustomization.yaml"
    kustomization.write_text("resources: [release.yaml]\n")
    return Path(made)


def build(folder: Path) -> list[Object]:
    done = subprocess.run(
        [kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod template of everything that makes pods."""
    for item in objects:
        if item["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield item["metadata"]["name"], item["spec"]["template"]


def named(objects: list[Object], kind: str, name: str) -> Object:
    found = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind} {name}: {len(found)} times"
    return found[0]
