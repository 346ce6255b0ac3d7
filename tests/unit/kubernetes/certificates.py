"""An authority, a server of 127.0.0.1 and a client, made by openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificates:
    """Each NAME.pem has its key in NAME.key."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def server(self, *, ask: bool = False) -> ssl.SSLContext:
        """With `ask` only clients with a certificate of the authority may speak."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate("server"), self.key("server"))
        if ask:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.authority)
        return context


def make(folder: Path) -> Certificates:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    made = Certificates(folder)
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl(*new, "-x509", "-days", "2", "-subj", "/CN=test-ca", "-keyout", made.key("ca"), "-out", made.authority)
    for name, extension in (
        ("server", "subjectAltName=IP:127.0.0.1,DNS:api.example"),
        ("client", "basicConstraints=CA:FALSE"),
    ):
        request, extra = folder / f"{name}.csr", folder / f"{name}.ext"
        extra.write_text(extension)
        _openssl(*new, "-subj", f"/CN={name}", "-keyout", made.key(name), "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", made.authority, "-CAkey", made.key("ca"), "-CAcreateserial",
                 "-days", "2", "-extfile", extra, "-out", made.certificate(name))  # fmt: skip
    return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
