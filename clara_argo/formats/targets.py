"""Settings of the user: named targets, and the file with a store's credentials. Text -> values.

A mistyped key would silently mean another cluster or another bucket, so an unknown key is an error here. What a secret
is stands in no message.
"""

from __future__ import annotations

import re
from pathlib import Path

from clara_argo.formats import peers
from clara_argo.formats.fields import Fields, short
from clara_argo.model.target import ARGO, LOCAL, Credentials, StoreAccess, Target
from clara_argo.source import Findings, Map, Node, Text, documents, parse

KEYS = ("kubeconfig", "context", "namespace", "registry", "pull-secrets", "fused", "pending", "store")
STORE_KEYS = ("endpoint", "bucket", "secure", "region", "credentials", "authority")
SECRET_KEYS = ("access-key", "secret-key")
DAY = 86_400  # seconds

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123, as Kubernetes wants it
_ENDPOINT = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:([0-9]{1,5}))?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def read(text: str | bytes, source_name: str = "<text>", folder: Path = Path()) -> dict[str, Target]:
    """Targets by name; relative paths are those of `folder`. Raises DefinitionError with everything that is wrong."""
    if not documents(text, source_name):  # nothing but comments
        return {}
    findings = Findings(source_name, strict=True)
    top = Fields(parse(text, source_name), findings, "the settings of targets")
    found: dict[str, Target] = {}
    for name in top.node:
        if target := _target(name, top.node[name], findings, folder):
            found[target.name] = target
    findings.check()
    return found


def _target(name: Text, node: Node, findings: Findings, folder: Path) -> Target | None:
    if name == LOCAL:
        findings.error("target-name", f"{LOCAL!r} is this machine", name, "give the target another name")
        return None
    if not peers.TARGET_NAME.fullmatch(name):
        hint = "letters, digits, '.', '_', '-', at most 63"
        findings.error("target-name", f"{short(name)} cannot be a target's name", name, hint)
        return None
    fields = peers.section(node, KEYS, findings, f"target {short(name)}")
    default = Target()
    return Target(
        name=str(name),
        kubeconfig=_path(fields, "kubeconfig", folder),
        context=str(fields.text("context")),
        namespace=namespace_of(fields, default.namespace),
        registry=str(fields.text("registry")),
        pull_secrets=tuple(map(str, fields.texts("pull-secrets"))),
        fused=fields.flag("fused"),
        pending=fields.whole("pending", default.pending, 1, 7 * DAY),
        store=_store(fields, folder),
    )


def namespace_of(fields: Fields, default: str) -> str:
    text = fields.text("namespace", default)
    if not is_namespace(text):
        fields.wrong("namespace", f"is not one: {short(text)}", "lower-case letters, digits and '-', at most 63")
        return default
    return str(text)


def is_namespace(text: str) -> bool:
    return bool(_LABEL.fullmatch(text))


def _store(outer: Fields, folder: Path) -> StoreAccess:
    inner = outer.get("store")
    if inner is None:
        return StoreAccess()
    fields = peers.section(inner, STORE_KEYS, outer.findings, f"'store' of {outer.what}")
    endpoint, bucket = fields.text("endpoint"), fields.text("bucket")
    if problem := wrong_endpoint(endpoint):
        fields.wrong("endpoint", f"is not one: {short(endpoint)}", problem)
    if problem := wrong_bucket(bucket):
        fields.wrong("bucket", f"cannot be a bucket's name: {short(bucket)}", problem)
    return StoreAccess(
        endpoint=str(endpoint),
        bucket=str(bucket),
        secure=fields.flag("secure") if fields.get("secure") is not None else None,
        region=str(fields.text("region")),
        credentials=_path(fields, "credentials", folder),
        authority=_path(fields, "authority", folder),
    )


def wrong_endpoint(text: str) -> str:
    """What to write instead; "" when it is host:port, or nothing."""
    if not text:
        return ""
    if "://" in text:
        scheme, _, rest = text.partition("://")
        secure = "true" if scheme.lower() == "https" else "false"
        return f"write {rest.rstrip('/')[:100] or 'host:port'}, and secure: {secure}"
    found = _ENDPOINT.fullmatch(text)
    if found is None or (found[3] and not 0 < int(found[3]) < 65536):
        return "write host:port, for example s3.example:8333"
    return ""


def wrong_bucket(text: str) -> str:
    return "" if not text or _BUCKET.fullmatch(text) else "3 to 63 lower-case letters, digits, '-' and '.'"


def _path(fields: Fields, key: str, folder: Path) -> str:
    text = fields.text(key)
    if not text:
        return ""
    if not text.isprintable():
        fields.wrong(key, f"has a character that cannot be printed: {short(text)}", "name a file")
        return ""
    return str(Path(text).expanduser() if text.startswith("~/") else folder / text)


def credentials(text: str | bytes, source_name: str = "<text>") -> Credentials:
    """The file that `store.credentials` names. Raises DefinitionError."""
    findings = Findings(source_name, strict=True)
    node = parse(text, source_name)
    if not isinstance(node, Map):  # what it is instead may be a secret
        findings.error("kind", "credentials are a mapping", node, "write access-key: … and secret-key: …")
        findings.check()
    fields = peers.section(node, SECRET_KEYS, findings, "the credentials")
    access, secret = fields.required("access-key"), fields.required("secret-key")
    findings.check()
    return Credentials(access_key=str(access), secret_key=str(secret))


def default() -> dict[str, Target]:
    """What exists without a file."""
    return {ARGO: Target()}
