"""One stage as a container: its image, words, variables and folders, each where the stage's definition says.

Argo replaces `{{…}}` and Kubernetes `$(…)` in what a container is started with; what a user wrote is kept from both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from clara_argo.compile.cluster import Cluster
from clara_argo.environment import Folders, filled, variables
from clara_argo.graph import Graph, Node, Read
from clara_argo.model.workflow import StageSpec
from clara_argo.source import Findings, short
from clara_driver import contract

Object = dict[str, Any]

PROGRESS = PurePosixPath("/var/run/argo/progress")  # ARGO_PROGRESS_FILE, argo-workflows/workflow/common/common.go
TEMPORARY = PurePosixPath("/tmp")
JOB, CREATED = "{{workflow.parameters.job}}", "{{workflow.parameters.created}}"
VOLUME = "clara"
FUSED = PurePosixPath("/clara")  # where the volume lies in a pod of all stages
# What a container runtime takes: host, path, tag, digest (https://github.com/distribution/reference).
HOST = r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?/"
PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"({HOST})?{PART}(/{PART})*(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(@[a-z0-9+._-]+:[0-9A-Fa-f]{{32,}})?"
)
FILLED = ("command", "args", "env")  # `${{CLARA_JOB}}` in these is the value of that variable
LOCKED_DOWN: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def folders(node: Node) -> Folders[PurePosixPath]:
    """Where a stage finds its folders in its container."""
    spec = node.spec
    app = PurePosixPath(spec.app_dir)
    several = len(node.reads) > 1
    output = PurePosixPath(spec.output_paths.get("") or app / spec.outputs)
    return Folders(
        input=input_path(node, node.reads[0]) if spec.input_paths else app / spec.inputs,
        inputs={read.name: input_path(node, read) for read in node.reads} if several else {},
        output=output,
        locks=PurePosixPath(spec.lock_dir),
        logs=app / "logs",
        work=app,
        temporary=TEMPORARY,
        progress=PROGRESS,
        study=app / "study" if spec.study else None,
        publish=app / "publish" if spec.publish else None,
        models=app / "models" if spec.models else None,
        application=app,
        outputs={name: PurePosixPath(path) for name, path in spec.output_paths.items() if name},
    )


def input_path(node: Node, read: Read) -> PurePosixPath:
    """Where a stage finds one of the folders that it reads."""
    if read.path:
        return PurePosixPath(read.path)
    one = PurePosixPath(node.spec.app_dir) / node.spec.inputs
    return one / read.name if len(node.reads) > 1 else one


def base() -> dict[str, str]:
    """What every container starts with, besides what its image says."""
    return {"HOME": str(TEMPORARY), "TMPDIR": str(TEMPORARY), "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Containers:
    """Makes the containers of one graph."""

    graph: Graph
    cluster: Cluster

    def check(self, findings: Findings) -> None:
        """Report everything that cannot run in a container as it is."""
        for node in self.graph.nodes:
            self._check(node, findings)

    def _check(self, node: Node, findings: Findings) -> None:
        spec, at = node.spec, node.step.stage
        self._check_image(node, findings)
        if not spec.command:
            hint = "add command: to its definition; what the image starts by itself is known to its registry only"
            findings.error("no-command", f"stage {node.name!r} has no command", at, hint)
        known = dict.fromkeys(self._variables(node, ""), "")
        for what, text in _texts(node):
            if "{{" in (filled(text, known) if what in FILLED else text):
                message = f"{what} of stage {node.name!r} holds '{{{{', which Argo would replace"
                findings.error("argo-tag", message, text, "put it into a file of the image, or write it otherwise")
        where = folders(node)
        inputs = [read.path for read in node.reads if read.path] or [str(where.input)]
        taken = [where.output, where.logs, where.temporary, where.study, where.publish, where.locks]
        parts = [path for name, path in where.outputs.items() if path != where.output / name]
        places = [*inputs, *(str(place) for place in (*taken, *parts) if place is not None)]
        for place in places:
            inside = [other for other in places if other != place and other.startswith(f"{place}/")]
            if inside or places.count(place) > 1 or place == "/":
                message = f"the folder {place} of stage {node.name!r} holds another folder of its contract"
                findings.error("folders", message, at, "give appDir, inputs, outputs and lockDir folders of their own")
                break

    def _check_image(self, node: Node, findings: Findings) -> None:
        image, at = node.spec.image, node.step.stage
        if not image.repository:
            findings.error("no-image", f"stage {node.name!r} names no image", at, "add image: to its stage.yaml")
            return
        if not (image.tag or image.digest):
            message = f"the image of stage {node.name!r} has no tag and no digest: what runs may change by itself"
            findings.warning("image-tag", message, at, "add a tag, or better a digest")
        whole = image.within(self.cluster.registry)
        if "{{" not in whole and not IMAGE.fullmatch(whole):
            hint = "write HOST[:PORT]/PATH:TAG, without https:// and with a path in lower case"
            findings.error("image", f"stage {node.name!r}: no image can be called {short(whole)}", at, hint)

    def __call__(self, node: Node, *, attempt: str, mounts: list[Object], name: str = "") -> Object:
        """`attempt`: what CLARA_ATTEMPT becomes, an expression of Argo's or a number."""
        spec = node.spec
        made: Object = {"name": name} if name else {}
        known = self._variables(node, attempt)
        args = [literal(filled(word, known)) for word in node.step.args]
        return made | {
            "image": spec.image.within(self.cluster.registry),
            "imagePullPolicy": "IfNotPresent",
            "workingDir": spec.app_dir,
            "command": [literal(filled(word, known)) for word in spec.command],
            **({"args": args} if args else {}),
            "env": [{"name": name, "value": literal(value)} for name, value in known.items()],
            **({"resources": asked} if (asked := self.resources(spec)) else {}),
            "securityContext": LOCKED_DOWN,
            "volumeMounts": mounts,
        }

    def _variables(self, node: Node, attempt: str) -> dict[str, str]:
        facts = {
            contract.JOB: JOB,
            contract.WORKFLOW: self.graph.workflow.name,
            contract.WORKFLOW_DIGEST: self.graph.digest,
            contract.CREATED: CREATED,
            contract.ATTEMPT: attempt,
        }
        return variables(node.spec, folders(node), facts, base())

    def resources(self, spec: StageSpec) -> Object:
        """What is asked for is reserved; memory and GPUs are the limit as well, processor time is not."""
        asked = spec.resources
        requests = {name: value for name, value in (("cpu", asked.cpu), ("memory", asked.memory)) if value}
        limits = {"memory": asked.memory} if asked.memory else {}
        if asked.gpu:
            limits[self.cluster.gpu] = str(asked.gpu)
        return {name: value for name, value in (("requests", requests), ("limits", limits)) if value}


def _texts(node: Node) -> Iterator[tuple[str, str]]:
    """Everything of a stage that stands in its container as somebody wrote it, and what it is called."""
    spec, image = node.spec, node.spec.image
    many = (("command", spec.command), ("args", node.step.args), ("env", spec.env.values()))
    yield from ((what, text) for what, texts in many for text in texts)
    yield from (("image", text) for text in (image.repository, image.tag, image.digest))
    yield from (("appDir", spec.app_dir), ("inputs", spec.inputs), ("outputs", spec.outputs))
    yield from (("inputLock", spec.input_lock), ("lockDir", spec.lock_dir), ("lockName", spec.lock_name))
    yield from (("mount", spec.mount_in), ("mount", spec.mount_out))
    yield from (("inputPaths", path) for path in spec.input_paths)
    yield from (("outputPaths", path) for path in spec.output_paths.values())


def literal(text: str) -> str:
    """As written: Kubernetes reads `$$` as `$` and `$(NAME)` as a variable, in command, args and env alike."""
    return str(text).replace("$", "$$")


def mount(path: PurePosixPath, folder: str, *, read_only: bool = False) -> Object:
    """A folder of the pod's volume, in a container."""
    made: Object = {"name": VOLUME, "mountPath": str(path), "subPath": folder}
    return made | {"readOnly": True} if read_only else made


def own_mounts(node: Node, below: str = "", locks: str = "locks", logs: str = "logs") -> Iterator[Object]:
    """Mounts of what a stage writes. `below`: prefix of its folders in the volume."""
    where = folders(node)
    yield mount(where.output, f"{below}output")
    for name, path in where.outputs.items():  # also where it would be anyway: mounted, it is there from the start
        yield mount(path, f"{below}output/{name}")
    yield mount(where.locks, locks)
    yield mount(where.logs, logs)
    if where.publish is not None:
        yield mount(where.publish, f"{below}publish")
    yield mount(where.temporary, f"{below}tmp")
