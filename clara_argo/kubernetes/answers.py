"""An answer of the API server -> an object, or the error that says what to do."""

from __future__ import annotations

import json
import re
import ssl
from typing import Any

from clara_argo.errors import ClaraError, Refused, TryAgain
from clara_argo.kubernetes.errors import Away, Conflict, Exists, Expired, Invalid, NoSuchKind, NotHere, NotStarted

MAX_MESSAGE = 2000  # characters of the server's text that we repeat
READS = ("GET", "HEAD")
# What a server says before it has read the roles that every cluster has: nobody's rights are known then.
STARTING = re.compile(r'RBAC: .*clusterrole\.rbac\.authorization\.k8s\.io "system:[^"]+" not found')


def parsed(data: bytes, where: str) -> dict[str, Any]:
    """The object of a body. Raises Refused for what no API server says."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        said = data[:60].decode("utf-8", "replace")
        raise Refused(f"{where}: this is no Kubernetes API, it answers {said!r}; look at the server's address")
    return found


def refusal(code: int, data: bytes, method: str, where: str) -> ClaraError:
    """The error of a status code that is not 2xx."""
    status = _status(data)
    text = _message(status, data) or f"HTTP {code}"
    said = f"{where}: {text}"
    reason = status.get("reason")
    if code == 401:
        return Refused(f"{said}; log in again, or renew the token in the kubeconfig")
    if code == 403 and STARTING.search(text):
        return Away(f"{said}; the server has just started and does not know its own roles yet, try again")
    if code == 403 and "exceeded quota" in text:
        return TryAgain(f"{said}; try again when others have ended, or raise the quota")
    if code == 403:
        return Refused(f"{said}; give this account the right, or use another context")
    if code == 404:
        return _absent(status, where, text)
    if code == 409:
        return Exists(f"{said}") if reason == "AlreadyExists" else Conflict(f"{said}; read it again")
    if code == 410:
        return Expired(f"{said}; list again")
    if code == 429:
        return Away(f"{said}; the server is overloaded, try again")
    if code >= 500:
        return Away(f"{said}; the server has a trouble of its own, try again", maybe_done=method not in READS)
    if code == 400 and "waiting to start" in text:
        return NotStarted(f"{said}; try again when it runs")
    if 300 <= code < 400:
        return Refused(f"{said}; the server points elsewhere, write its real address into the kubeconfig")
    return Invalid(f"{said}; the object or the request must be corrected")


def trouble(error: Exception, method: str, where: str, seconds: float, *, sent: bool) -> ClaraError:
    """The error of a connection that failed; `sent`: the request had left."""
    maybe = sent and method not in READS
    doubt = "; it may have been carried out all the same, look before you try again" if maybe else "; try again"
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused(
            f"{where}: the server's certificate is not trusted ({error.verify_message}); "
            "put its authority into the kubeconfig (certificate-authority), or its name (tls-server-name)"
        )
    if isinstance(error, ssl.SSLError) and _final(error):
        return Refused(f"{where}: TLS failed ({str(error.reason).replace('_', ' ').lower()}); look at the kubeconfig")
    if isinstance(error, TimeoutError):
        return Away(f"{where}: no answer within {seconds:g} s{doubt}", maybe_done=maybe)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Away(
        f"{where}: {'the answer was lost' if sent else 'it cannot be reached'} ({reason}){doubt}", maybe_done=maybe
    )


def _final(error: ssl.SSLError) -> bool:
    """Not what a server that is going down does to us."""
    return not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) and bool(error.reason)


def _absent(status: dict[str, Any], where: str, text: str) -> ClaraError:
    details = status.get("details")
    if isinstance(details, dict) and details.get("name"):
        return NotHere(f"{where}: {text}")
    return NoSuchKind(f"{where}: the cluster does not know this kind ({text}); install what defines it")


def _status(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("kind") == "Status" else {}


def _message(status: dict[str, Any], data: bytes) -> str:
    text = status.get("message")
    if not isinstance(text, str) or not text:
        text = "" if status else data[:200].decode("utf-8", "replace")
    return " ".join(text.split())[:MAX_MESSAGE]
