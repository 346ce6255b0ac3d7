"""The templates that are here, against the nodes: images, secrets to pull them with, GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from clara_argo.errors import Refused
from clara_argo.kubernetes.client import Object
from clara_argo.kubernetes.errors import NotHere
from clara_argo.kubernetes.kinds import NODES, SECRETS
from clara_argo.platform.doctor.findings import Check, fail, ok, unknown, warn
from clara_argo.platform.doctor.site import Site

REPORTED = 50  # images of a node that the kubelet tells of, its largest


def images(site: Site) -> Iterator[Check]:
    """Only what nodes say is looked at: a registry is asked when a pod starts."""
    wanted = {str(container["image"]): template for template in site.templates() for container in _containers(template)}
    if not wanted:
        yield unknown("images", "no template is here yet", "clara apply FILE")
        return
    yield from _secrets(site)
    try:
        kept = [set(_kept(node)) for node in site.api.list(NODES).items]
    except Refused:
        yield unknown("images", "this account may not look at nodes")
        return
    for image in sorted(wanted):
        yield _image(image, kept)


def _image(image: str, kept: list[set[str]]) -> Check:
    having = sum(bool(_spellings(image) & names) for names in kept)
    if kept and having == len(kept):
        return ok("images", f"{image} is on every node")
    where = f"{image} is on {having} of {len(kept)} nodes (each tells of {REPORTED})"
    if _has_registry(image):
        return unknown("images", f"{where}; its registry is asked when a stage starts")
    hint = "clara images build --registry PREFIX --push and clara apply with that registry; or load it into each node"
    return warn("images", f"{where}, and it names no registry that the others could ask", hint)


def _has_registry(image: str) -> bool:
    first, slash, _ = image.partition("/")
    return bool(slash) and ("." in first or ":" in first)  # not localhost: that is the node itself


def _spellings(image: str) -> set[str]:
    """As nodes may write it."""
    return {image} if _has_registry(image) else {image, f"docker.io/{image}", f"docker.io/library/{image}"}


def _kept(node: Object) -> Iterator[str]:
    for image in (node.get("status") or {}).get("images") or ():
        yield from image.get("names") or ()


def _secrets(site: Site) -> Iterator[Check]:
    named = {item["name"] for t in site.templates() for item in t["spec"].get("imagePullSecrets") or ()}
    for name in sorted(named):
        try:
            site.api.get(SECRETS, name)
        except NotHere:
            hint = f"kubectl -n {site.api.namespace} create secret docker-registry {name} …"
            yield fail("images", f"there is no Secret {name}, with which images are pulled", hint)
        except Refused:
            yield unknown("images", f"this account may not look whether Secret {name} is there")


def gpu(site: Site) -> Iterator[Check]:
    resource = site.names.gpu
    asked = {str(t["metadata"]["name"]): max(_pods(t, resource), default=0) for t in site.templates()}
    asked = {name: number for name, number in asked.items() if number}
    if not asked:
        yield ok("gpu", "no template asks for one")
        return
    try:
        nodes = site.api.list(NODES).items
    except Refused:
        yield unknown("gpu", "this account may not look at nodes")
        return
    most = max((_number((node.get("status") or {}).get("allocatable", {}).get(resource)) for node in nodes), default=0)
    for name, number in sorted(asked.items()):
        if number <= most:
            yield ok("gpu", f"{name} asks for {number}, a node has {most}")
        else:
            hint = "install the maker's device plug-in, or a node with enough of them"
            yield fail("gpu", f"{name} asks for {number} {resource} in one pod, and no node has more than {most}", hint)


def _pods(template: Object, resource: str) -> Iterator[int]:
    """What each of its pods asks for: containers of one pod add up."""
    for leaf in template["spec"].get("templates") or ():
        parts = [leaf["container"]] if "container" in leaf else (leaf.get("containerSet") or {}).get("containers") or []
        yield sum(_number(((part.get("resources") or {}).get("limits") or {}).get(resource)) for part in parts)


def _containers(template: Object) -> Iterator[Object]:
    for leaf in template["spec"].get("templates") or ():
        if "container" in leaf:
            yield leaf["container"]
        yield from (leaf.get("containerSet") or {}).get("containers") or ()


def _number(quantity: object) -> int:
    return int(text) if (text := str(quantity or 0)).isdigit() else 0
