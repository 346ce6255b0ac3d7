"""The stages as templates: one pod a stage with a packed object on each edge, or all of them in one pod (fused).

Mount shapes and retry expressions are those that ran on Argo 4.1: inputs need no volume of ours, what a stage writes is
a folder of one emptyDir, locks are raw artifacts, and a stage that ran out of time is told only by its message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from clara_argo.compile.cluster import Cluster
from clara_argo.compile.container import (
    FUSED,
    JOB,
    VOLUME,
    Containers,
    Object,
    folders,
    input_path,
    mount,
    own_mounts,
)  # fmt: skip
from clara_argo.graph import PAYLOAD, Graph, Node, Read
from clara_driver import contract

MAIN = "main"
PAYLOAD_KEY = "payloads/{{workflow.parameters.payload}}/input.tgz"
ATTEMPT = "{{=string(asInt(retries) + 1)}}"
OUT_OF_TIME = '!(lastRetry.message contains "longer than the specified deadline")'
TEMPORARY = (75, 137, 143)  # exit codes after which there is another attempt
AGAIN = f'(lastRetry.status == "Error" || asInt(lastRetry.exitCode) in {list(TEMPORARY)}) && {OUT_OF_TIME}'
# In one pod the exit code is that of the last container; the stage's own is in the message, handed on by the others.
CODES = "|".join(map(str, TEMPORARY))
TEMPORARY_CODE = f"(exit code ({CODES})[)]|non-zero code: ({CODES})$)"
PAUSE, LONGEST_PAUSE = 10, 300  # seconds between two attempts: at first, doubling, and at most
AGAIN_FUSED = f'(lastRetry.status == "Error" || lastRetry.message matches "{TEMPORARY_CODE}") && {OUT_OF_TIME}'


def retry(times: int, expression: str) -> Object:
    """No maxDuration: it counts from the start of the first attempt, so a long stage would never be tried again."""
    if not times:
        return {}
    strategy = {
        "limit": str(times),
        "retryPolicy": "Always",
        "expression": expression,
        "backoff": {"duration": f"{PAUSE}s", "factor": "2", "cap": f"{LONGEST_PAUSE}s"},
    }
    return {"retryStrategy": strategy}


def pauses(times: int) -> int:
    """Seconds between all attempts, when each of them is needed."""
    return sum(min(PAUSE << min(number, 30), LONGEST_PAUSE) for number in range(times))


@dataclass(frozen=True, kw_only=True, slots=True)
class Templates:
    """`names`: stage -> its name on the cluster."""

    graph: Graph
    cluster: Cluster
    names: Mapping[str, str]
    container: Containers

    # -- one pod a stage ------------------------------------------------------------------------------------------

    def separate(self) -> list[Object]:
        """The DAG, and a leaf for each stage."""
        return [self._dag(), *map(self._leaf, self.graph.nodes)]

    def _dag(self) -> Object:
        payload: Object = {"name": "study", "s3": {"key": PAYLOAD_KEY}}
        return {
            "name": MAIN,
            "inputs": {"artifacts": [payload]},
            "dag": {"failFast": True, "tasks": [self._task(node) for node in self.graph.nodes]},
        }

    def _task(self, node: Node) -> Object:
        given = [{"name": self._input(node, read), "from": self._from(read)} for read in node.reads]
        if node.spec.study:
            given.append({"name": "study", "from": self._from(Read(PAYLOAD))})
        task: Object = {"name": self.names[node.name], "template": self.names[node.name]}
        if needed := self._needed(node):
            task["depends"] = " && ".join(f"{self.names[stage]}.Succeeded" for stage in needed)
        return task | {"arguments": {"artifacts": given}}

    def _needed(self, node: Node) -> list[str]:
        needed = {*node.waits_for, *node.inputs} - {PAYLOAD}
        return [other.name for other in self.graph.nodes if other.name in needed]

    def _input(self, node: Node, read: Read) -> str:
        """The artifact's name; with one input simply `input`. Names of stages have no `_` here, folders may."""
        if len(node.reads) < 2:
            return "input"
        name = contract.PAYLOAD_FOLDER if read.stage == PAYLOAD else self.names[read.stage]
        return f"input-{name}_{read.folder}" if read.folder else f"input-{name}"

    def _from(self, read: Read) -> str:
        if read.stage == PAYLOAD:
            return "{{inputs.artifacts.study}}"
        name = f"output_{read.folder}" if read.folder else "output"
        return f"{{{{tasks.{self.names[read.stage]}.outputs.artifacts.{name}}}}}"

    def _parts(self, node: Node) -> list[str]:
        """The folders in its output that somebody reads alone, or that are a result: an object each, because an input
        is a whole object."""
        reads = [read for one in self.graph.nodes for read in one.reads] + [*self.graph.result_folders()]
        return sorted({read.folder for read in reads if read.stage == node.name} - {""})

    def _leaf(self, node: Node) -> Object:
        spec, where = node.spec, folders(node)
        inputs = [{"name": self._input(node, read), "path": str(input_path(node, read))} for read in node.reads]
        if where.study is not None:
            inputs.append({"name": "study", "path": str(where.study)})
        attempt = ATTEMPT if spec.retries else "1"
        return {
            "name": self.names[node.name],
            "activeDeadlineSeconds": spec.timeout,
            **retry(spec.retries, AGAIN),
            **self._placement([node]),
            "inputs": {"artifacts": [*inputs, *self._locks(node)]},
            "outputs": {"artifacts": self._outputs(node)},
            "container": self.container(node, attempt=attempt, mounts=list(own_mounts(node))),
        }

    def _locks(self, node: Node) -> list[Object]:
        """Written before the stage starts: its input's lock, and that of each stage it waited for."""
        where = folders(node).locks
        others = [self.graph.node(name).spec.lock for name in node.waits_for]
        paths = dict.fromkeys([node.spec.input_lock, *(str(where / lock) for lock in others)])
        return [_lock(number, path) for number, path in enumerate(paths)]

    def _outputs(self, node: Node) -> list[Object]:
        where, below = folders(node), f"jobs/{JOB}/{self.names[node.name]}"
        level = 0 if PAYLOAD in node.inputs else 1  # what is made of the payload are images, which hardly shrink
        paths = {"": where.output} | {part: where.outputs.get(part, where.output / part) for part in self._parts(node)}
        made = []
        for part, path in paths.items():
            name, result = f"output_{part}" if part else "output", Read(node.name, part).name
            if result in self.graph.results:
                made.append(_packed(name, str(path), self._result_key(result), level) | KEEP)
            else:
                made.append(_packed(name, str(path), f"{below}/{name}.tgz", level))
        made.append(_packed("logs", str(where.logs), f"{below}/logs.tgz", 1))
        if where.publish is not None:
            made.append(_packed("publish", str(where.publish), f"{below}/publish.tgz", 1))
        return made

    def _result_key(self, name: str) -> str:
        """Several results: a folder each, as in the result of a local job."""
        return f"jobs/{JOB}/result.tgz" if len(self.graph.results) == 1 else f"jobs/{JOB}/result/{name}.tgz"

    def _placement(self, nodes: Iterable[Node]) -> Object:
        """GPU nodes are commonly tainted with the name of the resource."""
        if not any(node.spec.resources.gpu for node in nodes):
            return {}
        return {"tolerations": [{"key": self.cluster.gpu, "operator": "Exists", "effect": "NoSchedule"}]}

    # -- all in one pod -------------------------------------------------------------------------------------------

    def fused(self) -> list[Object]:
        """A container set: no hop through the store between stages; one deadline, one retry for all of them."""
        nodes = self.graph.nodes
        times = max(node.spec.retries for node in nodes)
        locks = dict.fromkeys(node.spec.input_lock for node in nodes)
        root = str(FUSED)
        first = {"name": "input", "path": f"{root}/input", "s3": {"key": PAYLOAD_KEY}}
        raw = [_lock(number, f"{root}/locks/{path.rpartition('/')[2]}") for number, path in enumerate(locks)]
        return [
            {
                "name": MAIN,
                "activeDeadlineSeconds": sum(node.spec.timeout for node in nodes),
                **retry(times, AGAIN_FUSED),
                **self._placement(nodes),
                "inputs": {"artifacts": [first, *raw]},
                "outputs": {"artifacts": self._fused_outputs(root)},
                "containerSet": {
                    "volumeMounts": [{"name": VOLUME, "mountPath": root}],
                    "containers": self._fused_containers(ATTEMPT if times else "1"),
                },
            }
        ]

    @property
    def containers(self) -> dict[str, str]:
        """Stage -> its container in the fused pod; the last must be called main."""
        *others, last = self.graph.nodes
        return {node.name: self.names[node.name] for node in others} | {last.name: MAIN}

    def _fused_outputs(self, root: str) -> list[Object]:
        made = []
        for number, read in enumerate(self.graph.result_folders()):
            path = str(PurePosixPath(root, self.names[read.stage], "output", read.folder))
            name = "result" if len(self.graph.results) == 1 else f"result-{number}"
            made.append(_packed(name, path, self._result_key(read.name), 1) | KEEP)
        # One output that may be collected: without it a deleted job's archived logs would stay in the store.
        made.append(_packed("logs", f"{root}/logs", f"jobs/{JOB}/logs.tgz", 1))
        for node in self.graph.nodes:
            if node.spec.publish:
                name = self.names[node.name]
                key = f"jobs/{JOB}/{name}/publish.tgz"
                made.append(_packed(f"publish-{name}", f"{root}/{name}/publish", key, 1))
        return made

    def _fused_containers(self, attempt: str) -> list[Object]:
        last, called, made = self.graph.nodes[-1], self.containers, []
        for node in self.graph.nodes:
            needed = self._needed(node) if node is not last else self._sinks_and(node)
            container = self.container(node, attempt=attempt, mounts=self._fused_mounts(node), name=called[node.name])
            made.append(container | ({"dependencies": [called[name] for name in needed]} if needed else {}))
        return made

    def _sinks_and(self, last: Node) -> list[str]:
        """What the last container waits for: what it needs, and every other end of the graph; it collects outputs."""
        needed = set(self._needed(last))
        used = {name for node in self.graph.nodes for name in self._needed(node)}
        ends = {node.name for node in self.graph.nodes if node.name not in used} - {last.name}
        return [node.name for node in self.graph.nodes if node.name in needed | ends]

    def _fused_mounts(self, node: Node) -> list[Object]:
        where, name = folders(node), self.names[node.name]
        made = [mount(input_path(node, read), self._fused_folder(read), read_only=True) for read in node.reads]
        if where.study is not None:
            made.append(mount(where.study, "input", read_only=True))
        return [*made, *own_mounts(node, f"{name}/", "locks", f"logs/{name}")]

    def _fused_folder(self, read: Read) -> str:
        if read.stage == PAYLOAD:
            return "input"
        return f"{self.names[read.stage]}/output" + (f"/{read.folder}" if read.folder else "")


# The result is delivered and removed by whoever asked for it, not with the Workflow.
KEEP: Object = {"artifactGC": {"strategy": "Never"}}


def _packed(name: str, path: str, key: str, level: int) -> Object:
    return {"name": name, "path": path, "archive": {"tar": {"compressionLevel": level}}, "s3": {"key": key}}


def _lock(number: int, path: str) -> Object:
    return {"name": f"lock-{number}", "path": path, "raw": {"data": "\n"}}
