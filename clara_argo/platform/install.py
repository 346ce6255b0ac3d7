"""`clara cluster install`: choose, say what will be done, do it, wait until it is ready."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Callable

from clara_argo.errors import Refused, TryAgain, UsageError
from clara_argo.kubernetes.client import Api, Object
from clara_argo.kubernetes.errors import NotHere
from clara_argo.kubernetes.kinds import DEPLOYMENTS, NAMESPACES, NODES, SECRETS, STATEFUL_SETS
from clara_argo.model.target import Credentials
from clara_argo.platform.doctor import controller
from clara_argo.platform.manifests import ADAPTER, CLUSTER, KIND, OWN_STORE, SECRET, SINGLE_NODE, Wish
from clara_argo.platform.parts import JOBS, Part

KIND_CONTEXT = "kind-"  # how kind names its contexts
PAUSE = 2.0  # seconds between two looks
USER = "clara"  # of a store of our own

Say = Callable[[str], None]


def choose(api: Api, context: str) -> tuple[str, str]:
    """An overlay and why."""
    if context.startswith(KIND_CONTEXT):
        return KIND, f"the context is called {context}"
    number = len(api.list(NODES).items)
    return (SINGLE_NODE, "there is one node") if number == 1 else (CLUSTER, f"there are {number} nodes")


def check_alone(api: Api) -> None:
    """Two controllers that serve one namespace take each other's jobs. Raises UsageError, Refused."""
    there = controller.find(api)
    if there is not None and there.namespace != api.namespace:
        raise UsageError(
            f"Argo in namespace {there.namespace} ({there.image}) serves {api.namespace} already: leave it with "
            "--no-argo (clara cluster doctor says what it lacks), or choose a --namespace that it does not serve"
        )


def has_namespace(api: Api) -> bool:
    try:
        api.get(NAMESPACES, api.namespace)
    except NotHere:
        return False
    return True


def credentials(api: Api, wish: Wish, given: Credentials | None) -> tuple[Credentials, str]:
    """Those that are given, else those that are there, else new ones; and which. Raises UsageError, Refused."""
    if given is not None:
        return given, "as your settings say"
    try:
        data = api.get(SECRETS, SECRET).get("data") or {}
        return Credentials(access_key=_plain(data, "accesskey"), secret_key=_plain(data, "secretkey")), "as it is there"
    except NotHere:
        pass
    if wish.overlay not in OWN_STORE:
        message = f"the overlay {wish.overlay!r} uses your store: say what opens it in CLARA_S3_ACCESS_KEY and"
        raise UsageError(f"{message} CLARA_S3_SECRET_KEY, or name a file in store.credentials of the target")
    return Credentials(access_key=USER, secret_key=secrets.token_urlsafe(30)), "new, with a secret made here"


def _plain(data: Object, key: str) -> str:
    try:
        return base64.b64decode(data[key], validate=True).decode("ascii")
    except (KeyError, binascii.Error, UnicodeDecodeError):
        raise Refused(f"Secret {SECRET} has no usable {key}; delete it, and install again") from None


def parts(wish: Wish) -> tuple[Part, ...]:
    named = "app.kubernetes.io/name="
    made = []
    if wish.argo:
        controller = "workflow-controller"
        made.append(Part(kind=DEPLOYMENTS, name=controller, selector=f"app={controller}"))
    if wish.overlay in OWN_STORE:
        made.append(Part(kind=STATEFUL_SETS, name=SECRET, selector=f"{named}{SECRET}"))
        made.append(Part(kind=JOBS, name="clara-bucket", selector=f"{named}clara-bucket"))
    if wish.adapter:
        made.append(Part(kind=STATEFUL_SETS, name=ADAPTER, selector=f"{named}{ADAPTER}"))
    return tuple(made)


def wait(api: Api, wanted: tuple[Part, ...], seconds: float, say: Say) -> None:
    """Until all are ready; what changes is said. Raises TryAgain with what each of the rest waits for."""
    until, left, told = time.monotonic() + seconds, list(wanted), dict[str, str]()
    while True:
        for part in [part for part in left if part.ready(api)]:
            left.remove(part)
            say(f"{part.name}: ready")
        if not left:
            return
        for part in left:
            if told.get(part.name) != (why := part.why(api)):
                told[part.name] = why
                say(f"{part.name}: {why}")
        if time.monotonic() > until:
            rest = "; ".join(f"{part.name}: {told[part.name]}" for part in left)
            hint = "it may still come; look again with 'clara cluster doctor'"
            raise TryAgain(f"not ready after {seconds:.0f} s: {rest}; {hint}")
        time.sleep(PAUSE)
