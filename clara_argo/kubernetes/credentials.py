"""Who we are to a cluster: for each request a header and a TLS context, as they are now."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import NamedTuple, Protocol

from clara_argo.errors import Refused
from clara_argo.kubernetes.tls import text_of
from clara_argo.source import short


class Credential(NamedTuple):
    tls: ssl.SSLContext | None  # None: plain HTTP
    authorisation: str = ""  # value of the header; empty: none


class Credentials(Protocol):
    def now(self) -> Credential:
        """Raises Refused, NotInstalled or Away when there are none to be had."""

    def refused(self) -> bool:
        """The server did not take them: forget them. May new ones differ?"""


class Fixed:
    """A token, a password, a certificate, or nothing: what never changes."""

    def __init__(self, tls: ssl.SSLContext | None, authorisation: str = "") -> None:
        self._credential = Credential(tls, authorisation)

    def now(self) -> Credential:
        return self._credential

    def refused(self) -> bool:
        return False


class TokenFile:
    """A token that others write anew, as Kubernetes does for pods."""

    def __init__(self, path: Path, tls: ssl.SSLContext | None, origin: str) -> None:
        self._path, self._tls, self._origin = path, tls, origin
        self._last = ""

    def now(self) -> Credential:
        self._last = bearer(text_of(self._path, self._origin), str(self._path))
        return Credential(self._tls, self._last)

    def refused(self) -> bool:
        return bearer(text_of(self._path, self._origin), str(self._path)) != self._last


def bearer(token: str, where: str) -> str:
    """The header of a token. Raises Refused for what cannot stand in a header."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Refused(f"{where}: it holds no token; write one, or log in again")
    return f"Bearer {token}"


def basic(name: str, password: str, where: str) -> str:
    if ":" in name:
        raise Refused(f"{where}: the user name {short(name)} holds a ':'; use another user")
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode("ascii")
