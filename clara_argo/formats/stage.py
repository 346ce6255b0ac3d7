"""A stage definition -> StageSpec: `stages/<name>/stage.yaml`, or the block of an early-access values.yaml.

The keys are those of the article's chart block and ours beside them; what is left out has the article's defaults.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

from clara_argo.formats.fields import Fields, as_text, short
from clara_argo.model.workflow import Image, Resources, StageSpec
from clara_argo.source import Findings, List, Map, Node, Text, parse
from clara_driver import contract

KEYS = frozenset({
    "stageName", "image", "command", "mount", "appDir", "inputLock", "inputs", "logName", "outputs", "lockDir",
    "lockName", "timeout", "retries", "study", "publish", "resources", "env", "models", "takes",
    "gives", "inputPaths", "outputPaths",
})  # fmt: skip
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OURS = frozenset(
    value for name, value in vars(contract).items() if name.isupper() and str(value).startswith("CLARA_")
) - {contract.TRITON_URL}  # fmt: skip
SERVER = re.compile(r"[A-Za-z0-9._-]{1,253}:[0-9]{1,5}|\[[0-9A-Fa-f:]{2,45}\]:[0-9]{1,5}")  # an inference server
SECRETS = {"NGC_API_KEY": "remove it: images are pulled with a pull secret of the cluster, and a stage needs no key"}
CPU = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?|[0-9]{1,9}m")  # cores, or thousandths of one
MEMORY = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?([KMGTPE]i|[kMGTPE]|[eE][0-9]{1,2})?")  # bytes, Kubernetes suffixes
KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")  # of data, as a stage names it: dicom, volume, labels, sinogram, …
FILE_NAME = re.compile(r"[^/\0]{1,255}")
FOLDER_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
FOLDER = re.compile(r"[^/\0]+(/[^/\0]+)*")
MAX_SECONDS = 30 * 86400


def read(text: str | bytes, source: str, folder: Path, findings: Findings) -> StageSpec:
    """The stage.yaml of a stage folder; the folder gives the name. Raises DefinitionError for what is no YAML."""
    return spec(parse(text, source), folder.name, findings, folder=folder)


def spec(node: Node, name: str, findings: Findings, folder: Path | None = None) -> StageSpec:
    """The definition of stage `name`. What is wrong is reported and replaced by its default."""
    what = f"stage {short(name)}"
    fields = Fields(node, findings, what)
    written = fields.text("stageName", name)
    if written != name:
        where = "folder" if folder else "block"
        message = f"stageName {short(written)} is not the name of its {where}, {short(name)}"
        findings.error("stage-name", message, fields.at("stageName"), f"write stageName: {name}")
    mount = fields.fields("mount")
    mount.unknown({"in", "out"})
    return StageSpec(
        name=name,
        image=_image(fields, findings, what),
        command=_command(fields),
        app_dir=_absolute(fields, "appDir", "/app"),
        inputs=_below(fields, "inputs", "input"),
        outputs=_below(fields, "outputs", "output"),
        input_paths=_paths(fields),
        output_paths=MappingProxyType(_named_paths(fields)),
        input_lock=_absolute(fields, "inputLock", "/app/locks/input.lock"),
        lock_dir=_absolute(fields, "lockDir", "/app/locks"),
        lock_name=_file_name(fields, "lockName"),
        log_name=fields.text("logName"),
        mount_in=mount.fields("in").text("name", "input"),
        mount_out=mount.fields("out").text("name", "output"),
        timeout=fields.whole("timeout", 300, least=1, most=MAX_SECONDS),
        retries=fields.whole("retries", 2, least=0, most=100),
        study=fields.flag("study"),
        publish=fields.flag("publish"),
        resources=resources(fields.fields("resources")),
        env=MappingProxyType(environment(fields.fields("env"))),
        models=fields.texts("models"),
        takes=_kinds(fields, "takes"),
        gives=_kinds(fields, "gives"),
        extra=MappingProxyType(fields.unknown(KEYS)),
        folder=folder,
    )


def _image(fields: Fields, findings: Findings, what: str) -> Image:
    node = fields.get("image")
    if isinstance(node, Text):
        return reference(node)
    image = fields.fields("image")
    image.unknown({"repository", "tag", "digest"})
    tag, digest, repository = image.text("tag"), image.text("digest"), image.text("repository")
    if tag and digest:
        findings.error("image", f"the image of {what} has a tag and a digest", image.node, "keep one of the two")
    if (tag or digest) and not repository:
        findings.error("image", f"the image of {what} has no repository", image.node, "add 'repository: …'")
    return Image(repository=repository, tag=tag, digest=digest)


def reference(text: str) -> Image:
    """An image as people write it: HOST/PATH:TAG, or PATH@DIGEST."""
    repository, _, digest = text.partition("@")
    tag = ""
    if ":" in repository.rpartition("/")[2]:
        repository, _, tag = repository.rpartition(":")
    return Image(repository=repository, tag=tag, digest=digest)


def _command(fields: Fields) -> tuple[str, ...]:
    node = fields.node.get("command")
    if node is None:
        return ()
    if not isinstance(node, List) or not node or node[0] == "":
        fields.wrong("command", "must be a list that begins with a program", "write command: [python3, main.py]")
        return ()
    return fields.texts("command")


def _paths(fields: Fields) -> tuple[str, ...]:
    """Where it looks for each folder that it reads, in their order; for programs with paths of their own."""
    paths = fields.texts("inputPaths")
    for path in paths:
        if not is_absolute(path):
            fields.wrong("inputPaths", f"must hold absolute paths, not {short(path)}", "for example [/input, /dcm]")
    return tuple(path for path in paths if is_absolute(path))


def _named_paths(fields: Fields) -> dict[str, str]:
    """Where it writes: the folders in its output that have names, and "" for the output itself."""
    inner = fields.fields("outputPaths")
    found: dict[str, str] = {}
    for name in inner.node:
        path = inner.node[name]
        if name and not FOLDER_NAME.fullmatch(name):
            message = f"{short(name)} in {inner.what} cannot be the name of a folder"
            fields.findings.error("value", message, name, "letters, digits, '-' and '_'")
        elif not isinstance(path, Text) or not is_absolute(path):
            inner.wrong(name, "must be an absolute path", "for example {seg: /output/seg}")
        else:
            found[str(name)] = path
    return found


def is_absolute(path: str) -> bool:
    """Whether it can be a folder of its own in a container."""
    return path.startswith("/") and len(path) > 1 and ".." not in path.split("/") and "\0" not in path


def _absolute(fields: Fields, key: str, default: str) -> str:
    path = fields.text(key, default)
    if not path.startswith("/") or ".." in path.split("/"):
        fields.wrong(key, f"must be an absolute path, not {short(path)}", f"for example {default}")
        return default
    return path


def _below(fields: Fields, key: str, default: str) -> str:
    path = fields.text(key, default)
    if not FOLDER.fullmatch(path) or {"..", "."} & set(path.split("/")):
        fields.wrong(key, f"must be a folder below appDir, not {short(path)}", f"for example {default}")
        return default
    return path


def _file_name(fields: Fields, key: str) -> str:
    name = fields.text(key)
    if name and (not FILE_NAME.fullmatch(name) or name in (".", "..")):
        fields.wrong(key, f"must be a file name, not {short(name)}", "write a name without '/'")
        return ""
    return name


def resources(asked: Fields) -> Resources:
    """What a stage asks of its machine."""
    asked.unknown({"cpu", "memory", "gpu"})
    cpu, memory = asked.text("cpu"), asked.text("memory")
    if cpu and not (CPU.fullmatch(cpu) and re.search("[1-9]", cpu)):
        asked.wrong("cpu", f"must be cores above 0, not {short(cpu)}", "for example 2, 0.5 or 500m")
    if memory and not (MEMORY.fullmatch(memory) and re.search("[1-9]", memory)):
        asked.wrong("memory", f"must be an amount of memory above 0, not {short(memory)}", "for example 4Gi or 512Mi")
    return Resources(cpu=cpu, memory=memory, gpu=asked.whole("gpu", 0, least=0, most=64))


def _kinds(fields: Fields, key: str) -> tuple[str, ...]:
    """One word or a list of words."""
    node = fields.get(key)
    words = (node,) if isinstance(node, Text) else fields.texts(key)
    if not all(map(KIND.fullmatch, words)):
        fields.wrong(key, "must be words of a-z, 0-9 and '-'", "for example dicom, volume or labels")
        return ()
    return words


def environment(env: Fields) -> dict[str, str]:
    """Variables of a stage's own."""
    for name in env.node:
        if not ENV_NAME.fullmatch(name):
            message = f"{short(name)} cannot be the name of a variable in {env.what}"
            env.findings.error("env", message, name, "use letters, digits and _, no digit first")
        elif name in OURS:
            message = f"{env.what} sets {name}, which is part of the contract with the stage"
            env.findings.error("env", message, name, "remove it: clara sets it")
        elif name in SECRETS:
            message = f"{env.what} holds {name}, a secret; a stage's definition is copied into objects of the cluster"
            env.findings.error("secret", message, name, SECRETS[name])
        elif not isinstance(value := env.node[name], Text):
            env.wrong(name, "must be a text", "quote it")
        elif name == contract.TRITON_URL and not SERVER.fullmatch(value):
            env.wrong(name, f"must be the gRPC address of a server, not {short(value)}", "write HOST:PORT, no scheme")
    return {str(name): as_text(env.node[name]) for name in env.node}


def is_stage(node: Node) -> bool:
    """Whether a mapping has a key of a stage definition."""
    return isinstance(node, Map) and any(key in KEYS for key in node)
