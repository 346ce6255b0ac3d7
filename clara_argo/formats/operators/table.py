"""Every key of a pipeline of operators, api-version 0.2.0 to 0.7.0, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from clara_argo.formats.keys import Fate, Key

M, U, K, R, X = Fate.MAPPED, Fate.UNUSED, Fate.KEPT, Fate.REPAIRED, Fate.REFUSED


def _below(path: str, rows: Iterable[tuple[str, Fate, str]]) -> tuple[Key, ...]:
    return tuple(Key(f"{path}{name}", fate, becomes) for name, fate, becomes in rows)


TABLE: tuple[Key, ...] = (
    *_below("", (
        ("api-version", U, "0.2.0 to 0.7.0 are read alike; another one is a warning"),
        ("name", M, "`name` of the workflow; its `id` is made of the name"),
        ("orchestrator", U, "`Clara` or `Argo`, else an error: stages run as they do here; one pod with `--fused`"),
        ("pull-secrets[]", M, "`pullSecrets` of the workflow"),
        ("parameters.*", M, "the value of `${{NAME}}`: the default, or `--set NAME=VALUE`"),
        ("import", X, "an error: imports stand in the list of operators"),
        ("operators[]", M, "one of `stages`, and a definition of that stage"),
    )),
    *_below("operators[].", (
        ("name", M, "`stageName`"),
        ("api-version", U, "of a file of its own; that of the pipeline counts"),
        ("description", K, "kept beside the keys of the stage"),
        ("import.path", M, "an operator's file below the folder of this one, read in its place"),
        ("import.args.*", M, "the parameters of that file"),
        ("models[].name", M, "`models`; needs an inference server"),
        ("variables.*", M, "`env`; in `NVIDIA_SEG_LABELS`, backslashes before quotes are removed (R5)"),
    )),
    *_below("operators[].container.", (
        ("image", M, "`image.repository`; NVIDIA's dicom-reader and dicom-writer are ours of that name"),
        ("tag", M, "`image.tag`; `latest` when it is missing, with a warning"),
        ("command[]", M, "`command`; `$(VAR)` is replaced; of register-results: where the result goes"),
        ("variables.*", R, "`variables` of the operator (R4)"),
    )),
    *_below("operators[].requests.", (
        ("cpu", M, "`resources.cpu`"),
        ("memory", M, "`resources.memory`; a plain number is MiB"),
        ("gpu", M, "`resources.gpu`"),
    )),
    *_below("operators[].input[].", (
        ("path", M, "`inputPaths`"),
        ("from", M, "`input` and `wait` of the stage in the workflow; the payload when it is missing"),
        ("name", M, "the folder of that name in the output of `from`"),
        ("type", U, "`stream` is a folder, which a notice says; any other is an error: FastIO needs a rewrite"),
        ("format", U, "of a `stream`: not looked at; else as `type`"),
        ("shape", X, "an error: FastIO needs a rewrite"),
        ("element-type", U, "of a `stream`: not looked at; else as `type`"),
    )),
    *_below("operators[].output[].", (
        ("path", M, "`outputPaths`"),
        ("name", M, "the name in `outputPaths`; needed from the second on"),
        ("type", U, "`stream` is a folder, which a notice says; any other is an error: FastIO needs a rewrite"),
        ("format", U, "of a `stream`: not looked at; else as `type`"),
        ("shape", X, "an error: FastIO needs a rewrite"),
        ("element-type", U, "of a `stream`: not looked at; else as `type`"),
    )),
    *_below("operators[].services[].", (
        ("api-version", K, "kept; not followed"),
        ("name", K, "kept with its service: an inference server is shared; any other service is an error"),
        ("description", K, "kept"),
        ("import.path", M, "a service's file below the folder of this one, read in its place"),
        ("import.args.*", U, "services have no parameters"),
        ("variables.*", K, "kept; not followed"),
        ("container.image", K, "kept; tells an inference server from others"),
        ("container.tag", K, "kept; not followed"),
        ("container.command[]", K, "kept; not followed, nor are its options"),
        ("container.hostVolumePath", K, "kept; not followed"),
        ("requests.cpu", K, "kept; not followed"),
        ("requests.memory", K, "kept; not followed"),
        ("requests.gpu", K, "kept; not followed"),
        ("connections.http[].name", M, "a variable of the operator: `host:port` of the server"),
        ("connections.http[].port", M, "8001 is gRPC, any other HTTP; 1024 to 65535"),
        ("connections.volume[].name", X, "an error: no folder is shared with a service"),
        ("connections.volume[].path", X, "as its `name`"),
    )),
)  # fmt: skip


@cache
def keys(path: str) -> frozenset[str]:
    """The keys of the mapping at a path: `operators[].container` has image, tag, command, variables."""
    start = f"{path}." if path else ""
    below = (key.path.removeprefix(start) for key in TABLE if key.path.startswith(start))
    return frozenset(rest.partition(".")[0].removesuffix("[]") for rest in below)
