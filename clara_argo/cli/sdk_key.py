"""`clara-wf set_ngc_api_key`: keep the key that opens NVIDIA's registry, when somebody asks for it to be kept."""

from __future__ import annotations

import os
import shlex
import sys
from codecs import BOM_UTF8
from contextlib import nullcontext, suppress
from pathlib import Path

import click

FILE, VARIABLE, LONGEST = "ngc-api-key", "NGC_API_KEY", 1024
CONFIG = "ngc-docker-config.json"  # the same key, as Kubernetes wants it
REGISTRY, USER = "nvcr.io", "$oauthtoken"  # NVIDIA's registry has this one user


@click.command()
@click.option(
    "--file", "source", type=click.Path(path_type=Path), help="Take the key from this file; - is what is piped in."
)
def set_ngc_api_key(source: Path | None) -> None:
    """Keep an NGC API key in two files that only you can read. You are never asked for one otherwise.

    The key is taken from --file, else from the variable NGC_API_KEY, else asked for without showing it. It is for
    images of nvcr.io, and only for whoever pulls them: the command says how a container engine and a cluster get it.
    No stage sees it, and nothing here sends it.

    \b
    Examples:
      clara-wf set_ngc_api_key
      clara-wf setkey --file key.txt
      pass show ngc | clara-wf setkey --file -
    """
    from clara_argo import home

    key = _checked(_given(source))
    path, config = home.config() / FILE, home.config() / CONFIG
    _write(path, key + "\n")
    _write(config, _login(key))
    login = f"login {REGISTRY} --username '{USER}' --password-stdin < {shlex.quote(str(path))}"
    click.echo(
        f"kept in {path}, and for a cluster in {config}; to forget it, delete both\n"
        f"for podman:    podman {login}\n"
        f"for docker:    docker {login}\n"
        "for a cluster: kubectl create secret generic ngc --namespace clara --type=kubernetes.io/dockerconfigjson "
        f"--from-file=.dockerconfigjson=/dev/stdin < {shlex.quote(str(config))}"
    )


def _login(key: str) -> str:
    """What `docker login` would keep."""
    import json
    from base64 import b64encode

    auth = b64encode(f"{USER}:{key}".encode("ascii")).decode("ascii")
    return json.dumps({"auths": {REGISTRY: {"username": USER, "password": key, "auth": auth}}}) + "\n"


def _given(source: Path | None) -> str:
    from clara_argo.errors import UsageError

    if source is not None:
        return _of_file(source)
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE]
    if not sys.stdin.isatty():
        raise UsageError(f"there is no key: set {VARIABLE}, or name a file that holds it with --file (- for a pipe)")
    return str(click.prompt("NGC API key", hide_input=True))


def _of_file(path: Path) -> str:
    from clara_argo.errors import NotFound, UsageError

    try:
        with nullcontext(sys.stdin.buffer) if str(path) == "-" else open(path, "rb") as file:
            return file.read(LONGEST + 6).removeprefix(BOM_UTF8).decode("ascii")
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file; --file names the file that holds the key") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; --file names the file that holds the key") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} holds no key: a key has only letters and signs of ASCII") from None


def _checked(text: str) -> str:
    from clara_argo.errors import UsageError

    key = text.strip()
    if not key or len(key) > LONGEST or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"this is no key: one line of at most {LONGEST} letters and signs, without blanks")
    return key


def _write(path: Path, text: str) -> None:
    """Nobody else can read it at any time, and whoever looks sees the whole of it."""
    from clara_argo.errors import UsageError

    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)  # it may hold the key
        hint = "set XDG_CONFIG_HOME to a folder that can be written to"
        raise UsageError(f"{path} cannot be written: {error.strerror}; {hint}") from None
