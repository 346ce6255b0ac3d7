"""Credentials from a program that a kubeconfig names (`users[].user.exec`), as kubectl runs it.

The program gets KUBERNETES_EXEC_INFO, writes an ExecCredential to its stdout, and has no terminal to ask at.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clara_argo.errors import NotInstalled, Refused
from clara_argo.kubernetes.credentials import Credential, bearer
from clara_argo.kubernetes.errors import Away
from clara_argo.kubernetes.tls import Trust
from clara_argo.source import short

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
PATIENCE = 60.0  # seconds that a plug-in may take
MARGIN = timedelta(seconds=10)  # before they expire, credentials are asked for anew


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What the kubeconfig says about the program."""

    version: str
    command: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    folder: Path  # of the kubeconfig: where a command with a '/' begins
    hint: str = ""  # how to install it
    cluster: Mapping[str, Any] | None = None  # what is told about the cluster, when the program wants it

    @property
    def program(self) -> str:
        """The file to start. Raises NotInstalled."""
        asked = str(self.folder / self.command) if "/" in self.command else self.command
        found = shutil.which(asked, path=dict(self.environment).get("PATH"))
        if found is None:
            hint = " ".join(self.hint.split())[:500] or "install it, and see that it is on the PATH"
            raise NotInstalled(f"the credential plug-in {short(self.command)} is not installed; {hint}")
        return found


class Plugin:
    """Asks the program when it must, and not before its credentials expire. Threads share one answer."""

    def __init__(self, command: Command, trust: Trust) -> None:
        self._command, self._trust = command, trust
        self._lock = threading.Lock()
        self._credential: Credential | None = None
        self._expires: datetime | None = None

    def now(self) -> Credential:
        with self._lock:
            if self._credential is None or (self._expires and datetime.now(UTC) >= self._expires - MARGIN):
                self._credential, self._expires = self._ask()
            return self._credential

    def refused(self) -> bool:
        with self._lock:
            self._credential = None
        return True

    def _ask(self) -> tuple[Credential, datetime | None]:
        where = f"the credential plug-in {short(self._command.command)}"
        status = _status(run(self._command, where), self._command.version, where)
        token, certificate, key = (
            _text(status, name, where) for name in ("token", "clientCertificateData", "clientKeyData")
        )
        if bool(certificate) != bool(key) or not (token or certificate):
            raise Refused(f"{where}: it gave neither a token nor a certificate with its key; log in again")
        trust = self._trust
        if certificate:
            trust = Trust(
                origin=where, authority=trust.authority, verify=trust.verify, certificate=certificate, key=key
            )
        expires = _time(_text(status, "expirationTimestamp", where), where)
        return Credential(trust.context(), bearer(token, where) if token else ""), expires


def run(command: Command, where: str) -> bytes:
    """What the program writes. Raises NotInstalled, Refused (it failed) or Away (it does not end)."""
    spec: dict[str, Any] = {"interactive": False}
    if command.cluster is not None:
        spec["cluster"] = command.cluster
    info = {"apiVersion": command.version, "kind": "ExecCredential", "spec": spec}
    environment = {**os.environ, **dict(command.environment), "KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        process = subprocess.Popen(
            [command.program, *command.arguments],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise Refused(f"{where} cannot be started: {error}; look at the file") from None
    with process:
        try:
            written, said = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Away(f"{where} did not end within {PATIENCE:g} s; try it by hand") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        first = next(iter(said.decode("utf-8", "replace").strip().splitlines()), "it said nothing")
        raise Refused(f"{where} failed with {process.returncode}: {first[:500]}; log in again")
    return written


def _status(written: bytes, version: str, where: str) -> dict[str, Any]:
    try:
        answer = json.loads(written)
    except (ValueError, RecursionError):
        raise Refused(f"{where}: what it wrote is not JSON; try it by hand") from None
    if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
        raise Refused(f"{where}: what it wrote is no ExecCredential; try it by hand")
    if answer.get("apiVersion") != version:
        said = short(str(answer.get("apiVersion")))
        raise Refused(f"{where}: it answers as {said}, the kubeconfig says {version!r}; correct the kubeconfig")
    status = answer.get("status")
    if not isinstance(status, dict):
        raise Refused(f"{where}: it gave no credentials (no status); log in again")
    return status


def _text(status: dict[str, Any], name: str, where: str) -> str:
    value = status.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(f"{where}: its {name} is not a text; try it by hand")
    return value or ""


def _time(text: str, where: str) -> datetime | None:
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"{where}: its expirationTimestamp {short(text)} is no time; try it by hand") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
