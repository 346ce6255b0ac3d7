"""Certificates -> TLS contexts. Keys that come as text touch the disk only in a folder of ours, and only while read."""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from clara_argo.errors import Refused


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """Whose servers we believe in, and the certificate we show. All PEM."""

    origin: str
    authority: str = ""  # empty: what the system trusts
    verify: bool = True
    certificate: str = ""
    key: str = ""

    @classmethod
    def of_file(cls, path: Path, origin: str) -> Trust:
        return cls(origin=origin, authority=text_of(path, origin))

    def context(self) -> ssl.SSLContext:
        """Raises Refused for certificates that are none, or do not fit their key."""
        # Not create_default_context: since Python 3.13 it refuses authorities that old clusters made for themselves.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate authority may be all that is given
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif self.authority:
            self._authority(context)
        else:
            context.load_default_certs()
        if self.certificate or self.key:
            self._certificate(context)
        return context

    def _authority(self, context: ssl.SSLContext) -> None:
        try:
            context.load_verify_locations(cadata=self.authority)
        except (ssl.SSLError, ValueError) as error:
            raise Refused(
                f"{self.origin}: the certificate authority is not PEM ({_reason(error)}); fetch it anew"
            ) from None

    def _certificate(self, context: ssl.SSLContext) -> None:
        with tempfile.TemporaryDirectory(prefix="clara-") as folder:
            certificate, key = Path(folder, "certificate"), Path(folder, "key")
            certificate.write_text(self.certificate, "utf-8")
            key.write_text(self.key, "utf-8")
            try:
                context.load_cert_chain(certificate, key, password="")  # a text: it must never ask the terminal
            except (ssl.SSLError, ValueError) as error:
                raise Refused(
                    f"{self.origin}: the client certificate and its key do not work ({_reason(error)}); fetch both anew"
                ) from None


def text_of(path: Path, origin: str) -> str:
    """A small text file that a configuration names. Raises Refused."""
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8")
    except OSError as error:
        raise Refused(f"{origin}: {path} cannot be read: {error.strerror}; name a file that you may read") from None
    except UnicodeDecodeError:
        raise Refused(f"{origin}: {path} is no text; name a PEM or token file") from None


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error).replace("_", " ").lower()
