"""Certificates for a test cluster: one authority, a server, a client of the kubelets, a key pair for accounts."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
ADDRESSES = ("127.0.0.1", "10.96.0.1")


def make(folder: Path) -> None:
    """PEM files ca, server, kubelet-client and accounts in a folder."""
    folder.mkdir(parents=True)
    own = _key(folder, "ca")
    ca = _certificate(folder, "ca", "onenode-ca", own, own, None)
    _certificate(folder, "server", "kube-apiserver", _key(folder, "server"), own, ca, alternatives=True)
    client = _key(folder, "kubelet-client")
    _certificate(folder, "kubelet-client", "apiserver", client, own, ca, organisation="system:masters")
    _key(folder, "accounts")


def _key(folder: Path, name: str) -> rsa.RSAPrivateKey:
    key = rsa.generate_private_key(65537, 2048)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(private)
    (folder / f"{name}.key").chmod(0o600)
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return key


def _certificate(
    folder: Path,
    name: str,
    common_name: str,
    key: rsa.RSAPrivateKey,
    signer: rsa.RSAPrivateKey,
    issuer: x509.Certificate | None,
    *,
    organisation: str = "",
    alternatives: bool = False,
) -> x509.Certificate:
    """Without an issuer: its own authority."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation:
        subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(issuer.subject if issuer else x509.Name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if alternatives:
        others = [x509.DNSName(one) for one in NAMES] + [x509.IPAddress(ipaddress.ip_address(a)) for a in ADDRESSES]
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    if issuer is not None:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate
