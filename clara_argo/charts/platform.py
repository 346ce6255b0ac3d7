"""The chart clara-platform: adapter, access to the store and the namespace's rules, from the manifests.

The manifests of the overlay `cluster` are built by kubectl's own kustomize, as `clara cluster install` does; what comes
out has holes for what a site decides. With the default values Helm gives it back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clara_argo import shipped, source
from clara_argo.charts import platform_values as values
from clara_argo.charts.holes import Holes
from clara_argo.charts.workflow import KIND, KUBERNETES, PLATFORM_CHART, VALUES, Chart, digest, release
from clara_argo.compile import Cluster, as_yaml
from clara_argo.compile.check.reading import objects
from clara_argo.model.target import Credentials, StoreAccess
from clara_argo.platform import manifests
from clara_argo.platform.kubectl import Kubectl

Object = dict[str, Any]

NAME = "clara-platform"
LEFT_OUT = {"Namespace", "Secret"}  # Helm's own, and the site's
STATIC = ("templates/_helpers.tpl", "templates/secret.yaml", "templates/NOTES.txt", ".helmignore", "README.md")
STORE = StoreAccess(endpoint="s3.example.org", bucket="clara", secure=True)  # until values name the site's
# Lists that are equal to these are the site's to narrow; see the manifests' policies.
PRIVATE = [{"ipBlock": {"cidr": cidr}} for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


def chart() -> Chart:
    """Raises NotInstalled where kubectl is not, Refused with what it says."""
    made = built()
    given = values.defaults(
        _found(made, "StatefulSet")["spec"], _found(made, "ResourceQuota")["spec"]["hard"], _configuration(), STORE
    )
    version = release()
    text = values.text(given, f"{NAME} {version}")
    head = {
        "apiVersion": "v2",
        "name": NAME,
        "description": "DICOM adapter, the store's address, accounts, limits and network policies for workflows",
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": KUBERNETES,
        "keywords": ["DICOM", "medical imaging", "Argo Workflows"],
        "annotations": {KIND: PLATFORM_CHART, VALUES: digest(text)},
    }
    folder = shipped.folder("templates") / "charts" / "platform"
    files = {
        "Chart.yaml": as_yaml(head),
        "values.yaml": text,
        "values.schema.json": values.schema(),
        "templates/_repository.tpl": _repository(made),
        "templates/namespace.yaml": _texts(one for one in made if not _of_adapter(one)),
        "templates/adapter.yaml": _when("adapter.create", _texts(one for one in made if _of_adapter(one))),
        **{path: (folder / path).read_text("utf-8") for path in STATIC},
    }
    return Chart(name=NAME, version=version, kind=PLATFORM_CHART, files=files)


def built() -> list[Object]:
    """The objects that `clara cluster install --overlay cluster --adapter` applies, without Argo's."""
    kubectl = Kubectl()
    kubectl.check()
    wish = manifests.Wish(overlay=manifests.CLUSTER, argo=False, adapter=_example(), store=STORE)
    with tempfile.TemporaryDirectory(prefix="clara-chart-") as room:
        top = manifests.lay(Path(room, "manifests"), wish, Credentials(access_key="none", secret_key="none"))
        kubectl.build(top, Path(room, "objects.yaml"))
        text = Path(room, "objects.yaml").read_text("utf-8")
    return [made for made, _ in objects(text, "the manifests") if made["kind"] not in LEFT_OUT]


def _example() -> Path:
    return shipped.folder("manifests") / "adapter" / "adapter.yaml"


def _configuration() -> str:
    return source.read(_example())


def _found(made: list[Object], kind: str) -> Object:
    (found,) = (one for one in made if one["kind"] == kind)
    return found


def _of_adapter(made: Object) -> bool:
    return str(made["metadata"]["name"]).startswith(manifests.ADAPTER)


def _when(value: str, text: str) -> str:
    return f"{{{{- if .Values.{value} }}}}\n{text}{{{{- end }}}}\n"


def _texts(made: Iterator[Object]) -> str:
    return "---\n".join(map(_text, made))


def _text(made: Object) -> str:
    """One object with its holes."""
    holes = Holes.of(made)
    made["metadata"]["namespace"] = holes.value("toJson .Release.Namespace")
    for subject in made.get("subjects", ()):
        subject["namespace"] = holes.value("toJson .Release.Namespace")
    match made["kind"], str(made["metadata"]["name"]):
        case "ResourceQuota", _:
            made["spec"]["hard"] = holes.value("toJson .Values.quota")
        case "ConfigMap", name if name == Cluster().repository_map:
            made["data"] = {key: holes.value('include "clara.repository" . | toJson') for key in made["data"]}
        case "ConfigMap", _:
            made["metadata"]["name"] = manifests.ADAPTER  # a change is seen by the pod's annotation, not by the name
            made["data"] = {"adapter.yaml": holes.value("toJson .Values.adapter.configuration")}
        case "Role", "clara-developer":
            _may_read(made, holes)
        case "NetworkPolicy", name:
            _policy(made["spec"], name, holes)
        case "Service", _:
            _service(made, holes)
        case "StatefulSet", _:
            _set(made["spec"], holes)
    return holes.yaml(made)


def _repository(made: list[Object]) -> str:
    """What Argo is told of the store, as a helper: in its ConfigMap it is a text."""
    (told,) = (one["data"] for one in made if one["metadata"]["name"] == Cluster().repository_map)
    ((value, _),) = objects(told[Cluster().repository_key], Cluster().repository_map)
    holes = Holes.of(value)
    value["s3"] |= {
        "endpoint": holes.value("toJson .Values.store.endpoint"),
        "bucket": holes.value("toJson .Values.store.bucket"),
        "insecure": holes.value("not .Values.store.secure"),
        "region": holes.maybe('include "clara.region" .'),
        "caSecret": holes.maybe('include "clara.authority" .'),
    }
    for key in ("accessKeySecret", "secretKeySecret"):
        value["s3"][key]["name"] = holes.value("toJson .Values.store.secret")
    return f'{{{{- define "clara.repository" -}}}}\n{holes.yaml(value)}{{{{- end }}}}\n'


def _may_read(role: Object, holes: Holes) -> None:
    for rule in role["rules"]:
        if rule["resources"] == ["secrets"]:
            rule["resourceNames"] = [holes.value("toJson .Values.store.secret")]


def _policy(spec: Object, name: str, holes: Holes) -> None:
    """Addresses that manifests cannot know; the store's port, and ports of further destinations of the adapter."""
    for side, peers in (("egress", "to"), ("ingress", "from")):
        for rule in spec.get(side, ()):
            if rule.get(peers) == PRIVATE:
                rule[peers] = holes.value('include "clara.addresses" .')
    if name == manifests.OUTSIDE:
        spec["egress"][0]["ports"][-1]["port"] = holes.value('include "clara.storePort" .')
    if name == manifests.ADAPTER:
        spec["egress"][0]["ports"] = holes.value(f'include "clara.ports" (list . {_given(spec["egress"][0]["ports"])})')


def _given(ports: list[Object]) -> str:
    return " ".join(str(one["port"]) for one in ports)


def _service(made: Object, holes: Holes) -> None:
    made["metadata"]["annotations"] = holes.maybe('include "clara.serviceAnnotations" .')
    made["spec"]["type"] = holes.value("toJson .Values.service.type")
    made["spec"]["externalTrafficPolicy"] = holes.maybe('include "clara.trafficPolicy" .')
    (port,) = made["spec"]["ports"]
    port["port"] = holes.value("int .Values.service.port")
    port["nodePort"] = holes.maybe('include "clara.nodePort" .')


def _set(spec: Object, holes: Holes) -> None:
    pod = spec["template"]["spec"]
    spec["template"]["metadata"]["annotations"] = {
        "clara.dev/configuration": holes.value("toJson (list .Values.adapter.configuration .Values.routes) | sha256sum")
    }
    pod["imagePullSecrets"] = holes.maybe('include "clara.pullSecrets" .')
    pod["nodeSelector"] = holes.maybe('include "clara.nodeSelector" .')
    pod["tolerations"] = holes.maybe('include "clara.tolerations" .')
    pod["volumes"][0] = holes.value('include "clara.configuration" .')
    pod["volumes"].append(holes.maybe('include "clara.authorityVolume" .'))
    (container,) = pod["containers"]
    container["image"] = holes.value('include "clara.image" .')
    container["imagePullPolicy"] = holes.value("toJson .Values.image.pullPolicy")
    container["resources"] = holes.value("toJson .Values.resources")
    container["volumeMounts"].append(holes.maybe('include "clara.authorityMount" .'))
    _variables(container["env"], holes)
    (claim,) = spec["volumeClaimTemplates"]
    claim["spec"]["resources"]["requests"]["storage"] = holes.value("toJson .Values.volume.size")
    claim["spec"]["storageClassName"] = holes.maybe('include "clara.storageClass" .')


def _variables(env: list[Any], holes: Holes) -> None:
    filled = {
        "CLARA_S3_ENDPOINT": "toJson .Values.store.endpoint",
        "CLARA_S3_BUCKET": "toJson .Values.store.bucket",
        "CLARA_S3_SECURE": ".Values.store.secure | toString | toJson",
    }
    for variable in env:
        if variable["name"] in filled:
            variable["value"] = holes.value(filled[variable["name"]])
        elif secret := variable.get("valueFrom", {}).get("secretKeyRef"):
            secret["name"] = holes.value("toJson .Values.store.secret")
    env.append(holes.maybe('include "clara.regionVariable" .'))
    env.append(holes.maybe('include "clara.authorityVariable" .'))
