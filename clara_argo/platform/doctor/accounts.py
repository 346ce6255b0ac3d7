"""Who may do what in the namespace: the accounts of stages, clean-up and adapter, and the one that asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clara_argo.errors import Refused
from clara_argo.kubernetes.client import Api, Object
from clara_argo.kubernetes.errors import NotHere
from clara_argo.kubernetes.kinds import ACCOUNTS
from clara_argo.platform import rights
from clara_argo.platform.doctor.findings import Check, fail, ok, unknown, warn
from clara_argo.platform.doctor.site import Site
from clara_argo.platform.rights import Right

REVIEWS = "/apis/authorization.k8s.io/v1"
ADAPTER = "clara-adapter"
INSTALL = "clara cluster install"


def accounts(site: Site) -> Iterator[Check]:
    for name, needed in rights.ACCOUNTS.items():
        yield _account(site.api, name, needed)


def _account(api: Api, name: str, needed: tuple[Right, ...]) -> Check:
    part = f"account {name}"
    try:
        api.get(ACCOUNTS, name)
    except NotHere:
        if name == ADAPTER:
            return unknown(part, "not there: no adapter in this namespace")
        return fail(part, f"not there; it is needed by every job in {api.namespace}", INSTALL)
    except Refused:
        return unknown(part, "this account may not look at others")
    try:
        missing = [right for right in needed if not _of_account(api, name, right)]
        too_much = [right for right in rights.TOO_MUCH[name] if _of_account(api, name, right)]
    except Refused:
        return unknown(part, "there; this account may not ask what others may")
    if missing:
        return fail(part, f"may not {_list(missing)}", f"{INSTALL}, or a Role with it for {name}")
    if too_much:
        return warn(part, f"may {_list(too_much)}, which it does not need", "take it away from its Roles")
    return ok(part, "has the rights that it needs, and not more")


def ours(site: Site) -> Iterator[Check]:
    """Of whoever calls the doctor, from a kubeconfig or as a pod."""
    missing = [right for right in rights.JOBS if not _mine(site.api, right)]
    if missing:
        hint = "ask for the Role clara-developer: kubectl create rolebinding NAME --role clara-developer --user USER"
        yield fail("your rights", f"you may not {_list(missing)} in {site.api.namespace}", hint)
        return
    if missing := [right for right in rights.TEMPLATES if not _mine(site.api, right)]:
        said = f"you may run jobs, but not {_list(missing)}: templates are applied by somebody else"
        yield unknown("your rights", said)
    else:
        yield ok("your rights", "you may run jobs and apply templates")


def _list(some: Iterable[Right]) -> str:
    return ", ".join(map(str, some))


def _mine(api: Api, right: Right) -> bool:
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    body = kind | {"spec": {"resourceAttributes": _attributes(api, right)}}
    return _allowed(api.ask("POST", f"{REVIEWS}/selfsubjectaccessreviews", body))


def _of_account(api: Api, name: str, right: Right) -> bool:
    space = api.namespace
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "LocalSubjectAccessReview",
        "metadata": {"namespace": space},
        "spec": {
            "user": f"system:serviceaccount:{space}:{name}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{space}", "system:authenticated"],
            "resourceAttributes": _attributes(api, right),
        },
    }
    return _allowed(api.ask("POST", f"{REVIEWS}/namespaces/{space}/localsubjectaccessreviews", body))


def _attributes(api: Api, right: Right) -> Object:
    resource, _, below = right.resource.partition("/")
    made = {"namespace": api.namespace, "group": right.group, "resource": resource, "verb": right.verb}
    return made | ({"subresource": below} if below else {})


def _allowed(review: Object) -> bool:
    return bool((review.get("status") or {}).get("allowed"))
