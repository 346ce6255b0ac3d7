"""The kinds of object that we speak of, and where the API keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from clara_argo.kubernetes.errors import Invalid
from clara_argo.source import short

MAX_NAME = 253


@dataclass(frozen=True, slots=True)
class Kind:
    version: str  # group/version; "v1" = the core group
    plural: str
    namespaced: bool = True
    name: str = ""  # as in the field `kind`

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Of the objects in a namespace, of one of them, or of a part of it. Raises Invalid for what is no name."""
        parts = ["api" if "/" not in self.version else "apis", *self.version.split("/")]
        if self.namespaced and namespace:
            parts += ["namespaces", segment(namespace)]
        parts.append(self.plural)
        if name:
            parts.append(segment(name))
        if subresource:
            parts.append(segment(subresource))
        return "/" + "/".join(parts)

    def __str__(self) -> str:
        return self.plural


def segment(name: str) -> str:
    """A name, quoted as one step of a path. Raises Invalid for one that would be more, or none."""
    if not name or name in (".", "..") or len(name) > MAX_NAME or set(name) & set("/%"):
        raise Invalid(f"{short(name)} cannot be a name in Kubernetes; use small letters, digits and '-'")
    return quote(name, safe="")


WORKFLOWS = Kind("argoproj.io/v1alpha1", "workflows", name="Workflow")
TEMPLATES = Kind("argoproj.io/v1alpha1", "workflowtemplates", name="WorkflowTemplate")
PODS = Kind("v1", "pods", name="Pod")
CONFIG_MAPS = Kind("v1", "configmaps", name="ConfigMap")
SECRETS = Kind("v1", "secrets", name="Secret")
ACCOUNTS = Kind("v1", "serviceaccounts", name="ServiceAccount")
SERVICES = Kind("v1", "services", name="Service")
CLAIMS = Kind("v1", "persistentvolumeclaims", name="PersistentVolumeClaim")
EVENTS = Kind("v1", "events", name="Event")
QUOTAS = Kind("v1", "resourcequotas", name="ResourceQuota")
LIMIT_RANGES = Kind("v1", "limitranges", name="LimitRange")
DEPLOYMENTS = Kind("apps/v1", "deployments", name="Deployment")
STATEFUL_SETS = Kind("apps/v1", "statefulsets", name="StatefulSet")
ROLES = Kind("rbac.authorization.k8s.io/v1", "roles", name="Role")
ROLE_BINDINGS = Kind("rbac.authorization.k8s.io/v1", "rolebindings", name="RoleBinding")
CLUSTER_ROLES = Kind("rbac.authorization.k8s.io/v1", "clusterroles", namespaced=False, name="ClusterRole")
CLUSTER_ROLE_BINDINGS = Kind(
    "rbac.authorization.k8s.io/v1", "clusterrolebindings", namespaced=False, name="ClusterRoleBinding"
)
NETWORK_POLICIES = Kind("networking.k8s.io/v1", "networkpolicies", name="NetworkPolicy")
PRIORITY_CLASSES = Kind("scheduling.k8s.io/v1", "priorityclasses", namespaced=False, name="PriorityClass")
NODES = Kind("v1", "nodes", namespaced=False, name="Node")
NAMESPACES = Kind("v1", "namespaces", namespaced=False, name="Namespace")
DEFINITIONS = Kind(
    "apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False, name="CustomResourceDefinition"
)

KINDS = {(kind.version, kind.name): kind for kind in list(globals().values()) if isinstance(kind, Kind)}
