"""How to reach a cluster: its address, its certificates, who we are there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from clara_argo.errors import NotFound, Refused
from clara_argo.kubernetes import kubeconfig as files
from clara_argo.kubernetes.credentials import Credentials, TokenFile
from clara_argo.kubernetes.tls import Trust
from clara_argo.source import short

POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Address(NamedTuple):
    secure: bool
    host: str
    port: int
    prefix: str  # before every path, without an end slash

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.prefix}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    server: Address
    credentials: Credentials
    namespace: str = "default"
    tls_name: str = ""  # that the server's certificate must have; empty: the host of the address
    origin: str = ""  # where all this was found, for messages


def address(url: str, where: str) -> Address:
    """The parts of a server's URL. Raises Refused with `where` it stands."""
    try:
        parts = urlsplit(url)
        secure, host = parts.scheme == "https", parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        usable = parts.scheme in ("https", "http") and host.isprintable() and not parts.query and not parts.fragment
        host.encode("idna" if not host.isascii() else "ascii")
    except (ValueError, UnicodeError):
        usable, host = False, ""
    if not usable or not host or set(host) & set(' \t\\<>"') or not parts.path.isascii() or " " in parts.path:
        raise Refused(f"{where}: the server {short(url)} is no address; write https://HOST:PORT") from None
    return Address(secure, host, port, parts.path.rstrip("/"))


def find(kubeconfig: str = "", context: str = "") -> Access:
    """The file named, else those of $KUBECONFIG, else ~/.kube/config, else the account of the pod we run in.

    Raises NotFound (no file, no such context), DefinitionError, Refused (what we do not support, bad certificates).
    """
    if kubeconfig:
        return _from_files((Path(kubeconfig).expanduser(),), context, required=True)
    listed = tuple(Path(name) for name in os.environ.get("KUBECONFIG", "").split(os.pathsep) if name)
    paths = listed or _at_home()
    if any(_there(path) for path in paths):
        return _from_files(paths, context, required=False)
    if not listed and (POD / "token").exists() and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _of_pod(context)
    looked = " and ".join(f"{path} is not there" for path in paths) or "there is no home folder to look in"
    raise NotFound(f"no cluster is known: {looked}; name a kubeconfig, or set KUBECONFIG to one")


def _at_home() -> tuple[Path, ...]:
    """None for a user without a home, as in many containers, nor when it may not be looked into."""
    try:
        path = Path("~/.kube/config").expanduser()
        path.stat()
    except FileNotFoundError:
        return (path,)
    except (OSError, RuntimeError):
        return ()
    return (path,)


def _there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # reading it says why not
    return True


def _from_files(paths: tuple[Path, ...], context: str, *, required: bool) -> Access:
    found = files.read(paths, required=required).choose(context)
    server = address(found.server, found.origin)
    return Access(
        server=server,
        credentials=found.credentials(server.secure),
        namespace=found.namespace,
        tls_name=found.tls_name,
        origin=found.origin,
    )


def _of_pod(context: str) -> Access:
    if context:
        raise NotFound(
            f"there is no context {short(context)}: without a kubeconfig there is only the pod's own account"
        )
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    origin = f"the pod's own account in {POD}"
    trust = Trust.of_file(POD / "ca.crt", origin)
    return Access(
        server=address(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", origin),
        credentials=TokenFile(POD / "token", trust.context(), origin),
        namespace=_pod_namespace(origin),
        origin=origin,
    )


def _pod_namespace(origin: str) -> str:
    try:
        return (POD / "namespace").read_text("utf-8").strip() or "default"
    except FileNotFoundError:
        return "default"
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{origin}: its namespace cannot be read ({error}); look at the pod's volumes") from None
