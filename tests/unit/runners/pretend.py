"""A pretended workflow-controller on the API server of the tests: it walks a Workflow's template as Argo 4.1 does.

It writes the nodes, pods, logs and objects that were seen on a real one (argo_objects/ has some). A stage "says" one
line and copies nothing: its output is a file of its name.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from unit.kubernetes.state import Refusal
from unit.kubernetes.stub import Stub
from unit.runners.memory import MemoryStore

from clara_argo.kubernetes.kinds import PODS, TEMPLATES, WORKFLOWS, Kind

Object = dict[str, Any]
GROUP = "workflows.argoproj.io"
GC = f"{GROUP}/artifact-gc"
ENDED = ("Succeeded", "Failed", "Error")
EXECUTOR = 'time=2026-11-28T10:40:25.056Z level=INFO msg="{}" argo=true'


class Shutdown(Exception):
    """Somebody wants the Workflow to end."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How one attempt at a stage ends. `error`: what the driver leaves as the reason."""

    text: str = ""
    code: int = 1
    message: str = ""  # of the node, instead of the exit code's
    error: str = ""


class Pretend:
    """`failures`: of the first attempts at a stage. `waits`: stage -> why its pod stays pending for ever.

    `hold`: stages wait for `release`.
    """

    def __init__(
        self,
        stub: Stub,
        store: MemoryStore,
        *,
        failures: Mapping[str, tuple[Failure, ...]] | None = None,
        waits: Mapping[str, str] | None = None,
        hold: bool = False,
    ) -> None:
        self.stub, self.store = stub, store
        self.waits = dict(waits or {})
        self.cleans = True  # the clean-up of a deleted Workflow works
        self._failures = {stage: list(found) for stage, found in (failures or {}).items()}
        self._open, self._closing = not hold, False
        self._changed = threading.Condition()
        self._working: dict[str, threading.Thread] = {}
        stub.on_change(self._see)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            threads = list(self._working.values())
        for thread in threads:
            thread.join(10)

    def release(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()

    # -- what the controller sees -----------------------------------------------------------------------------------

    def _see(self, type: str, kind: Kind, made: Object) -> None:
        if kind != WORKFLOWS:
            return
        if type == "DELETED":
            for pod in self.stub.list(PODS, f"{GROUP}/workflow={made['metadata']['name']}"):
                self.stub.remove(PODS, pod["metadata"]["name"])  # as its owner is gone
            with self._changed:
                self._changed.notify_all()
            return
        if made["metadata"].get("deletionTimestamp"):
            self._clean_up(made)
            return
        name, uid = made["metadata"]["name"], made["metadata"]["uid"]
        phase = (made.get("status") or {}).get("phase", "")
        with self._changed:
            if uid not in self._working and phase not in ENDED and not self._closing:
                thread = threading.Thread(target=self._work, args=(name, uid), name=name, daemon=True)
                self._working[uid] = thread
                thread.start()
            self._changed.notify_all()

    def _clean_up(self, made: Object) -> None:
        if not self.cleans or GC not in made["metadata"].get("finalizers", ()):
            return
        for artifact in _artifacts(made):
            if (artifact.get("artifactGC") or {}).get("strategy") != "Never":
                self.store.objects.pop(artifact["s3"]["key"], None)
        with contextlib.suppress(Refusal):
            self.stub.change(WORKFLOWS, made["metadata"]["name"], {"metadata": {"finalizers": []}})

    def _work(self, name: str, uid: str) -> None:
        try:
            phase, message = self._walk(name, uid)
            with self._changed:
                del self._working[uid]
            labels = {f"{GROUP}/completed": "true", f"{GROUP}/phase": phase}
            status = {"phase": phase, "finishedAt": now(), "message": message or None}
            self.stub.change(WORKFLOWS, name, {"metadata": {"labels": labels}, "status": status})
        except (Refusal, Shutdown):  # it was deleted, or the test is over
            with self._changed:
                self._working.pop(uid, None)

    # -- how a Workflow goes ----------------------------------------------------------------------------------------

    def _walk(self, name: str, uid: str) -> tuple[str, str]:
        made = self.stub.get(WORKFLOWS, name)
        try:
            spec = self.stub.get(TEMPLATES, made["spec"]["workflowTemplateRef"]["name"])["spec"]
        except Refusal as refusal:
            return "Error", str(refusal)
        begun = {"phase": "Running", "startedAt": now(), "storedWorkflowTemplateSpec": spec}
        labels = {f"{GROUP}/completed": "false", f"{GROUP}/phase": "Running"}
        self.stub.change(WORKFLOWS, name, {"metadata": {"labels": labels, "finalizers": [GC]}, "status": begun})
        templates = {one["name"]: one for one in spec["templates"]}
        run = Run(self, name, uid, {one["name"]: one["value"] for one in made["spec"]["arguments"]["parameters"]})
        main = templates[spec["entrypoint"]]
        if "containerSet" in main:
            return run.task(name, main)
        run.node(name, type="DAG", phase="Running", templateName="main")
        for task in main["dag"]["tasks"]:
            phase, message = run.task(f"{name}.{task['name']}", templates[task["template"]], name)
            if phase != "Succeeded":
                run.node(name, phase="Failed", finishedAt=now())
                return phase, message
        run.node(name, phase="Succeeded", finishedAt=now())
        return "Succeeded", ""

    def wait(self, workflow: str, uid: str, *, ever: bool = False) -> None:
        """Until the gate opens; `ever`: it never does. Raises Shutdown, and Refusal when it was deleted."""
        with self._changed:
            while True:
                made = self.stub.get(WORKFLOWS, workflow)
                if made["metadata"]["uid"] != uid:
                    raise Refusal(404, "NotFound", "it was deleted, and another has its name", workflow)
                if self._closing or made["spec"].get("shutdown"):
                    raise Shutdown
                if self._open and not ever:
                    return
                self._changed.wait(5)

    def owned(self, workflow: str, uid: str, pod: str) -> None:
        """A pod that was made while its Workflow was deleted goes, too. Raises Refusal then."""
        try:
            made = self.stub.get(WORKFLOWS, workflow)
            if made["metadata"]["uid"] != uid:
                raise Refusal(404, "NotFound", "it was deleted, and another has its name", workflow)
        except Refusal:
            with contextlib.suppress(Refusal):
                self.stub.remove(PODS, pod)
            raise

    def failure(self, stage: str) -> Failure | None:
        left = self._failures.get(stage)
        return left.pop(0) if left else None

    @property
    def closing(self) -> bool:
        return self._closing


class Run:
    """One walk over one Workflow."""

    def __init__(self, world: Pretend, workflow: str, uid: str, parameters: Mapping[str, str]) -> None:
        self.world, self.workflow, self.uid, self.parameters = world, workflow, uid, parameters

    def node(self, name: str, **fields: Any) -> Object:
        node = {"id": self.id(name), "name": name, "displayName": name.rpartition(".")[2], **fields}
        self.world.stub.change(WORKFLOWS, self.workflow, {"status": {"nodes": {node["id"]: node}}})
        return node

    def id(self, name: str) -> str:
        return name if name == self.workflow else f"{self.workflow}-{zlib.crc32(name.encode())}"

    def known(self, name: str) -> Object:
        nodes: Object = self.world.stub.get(WORKFLOWS, self.workflow)["status"].get("nodes") or {}
        found: Object = nodes.get(self.id(name), {})
        return found

    def task(self, name: str, template: Object, parent: str = "") -> tuple[str, str]:
        """Phase and message of a task with all its attempts; one that succeeded earlier is kept."""
        if self.known(name).get("phase") == "Succeeded":
            return "Succeeded", ""
        if parent:
            children = self.known(parent).get("children") or []
            self.node(parent, children=[*children, self.id(name)])
        strategy = template.get("retryStrategy")
        if not strategy:
            return self.attempt(name, template, parent)
        self.node(name, type="Retry", phase="Running", templateName=template["name"], startedAt=now())
        phase, message = "Failed", "No more retries left"
        for number in range(int(strategy["limit"]) + 1):
            tried = f"{name}({number})"
            self.node(name, children=[self.id(f"{name}({one})") for one in range(number + 1)])
            phase, said = self.attempt(tried, template, parent)
            if phase == "Succeeded" or "exit code 75" not in said:
                message = "" if phase == "Succeeded" else "retryStrategy.expression evaluated to false"
                break
        self.node(name, phase=phase, message=message, finishedAt=now())
        return phase, message

    def attempt(self, name: str, template: Object, parent: str) -> tuple[str, str]:
        """One pod."""
        containers = (template.get("containerSet") or {}).get("containers") or [
            {"name": "main", **template["container"]}
        ]
        pod = f"{self.workflow}-{template['name']}-{zlib.crc32(name.encode())}"
        stage = _env(containers[0], "CLARA_STAGE")
        waits = self.world.waits.get(stage, "PodInitializing")
        self.node(name, type="Pod", phase="Pending", templateName=template["name"], startedAt=now(), message=waits)
        labels, marks = {f"{GROUP}/workflow": self.workflow}, {f"{GROUP}/node-id": self.id(name)}
        self.world.stub.put(PODS, {"metadata": {"name": pod, "labels": labels, "annotations": marks}})
        self.world.owned(self.workflow, self.uid, pod)
        fused = "containerSet" in template
        for one in containers if fused else ():
            self.node(
                f"{name}.{one['name']}", type="Container", phase="Pending", startedAt=now(), boundaryID=self.id(name)
            )
        try:
            if stage in self.world.waits:
                self.world.wait(self.workflow, self.uid, ever=True)
            self.node(name, phase="Running", message="")
            for one in containers if fused else ():
                self.node(f"{name}.{one['name']}", phase="Running")
            phase, message = self._containers(name, template, containers, pod)
        except Shutdown:
            phase, message = "Failed", "workflow shutdown with strategy:  Terminate"
            if self.world.closing:
                raise
            for one in containers if fused else ():
                if self.known(f"{name}.{one['name']}").get("phase") not in ENDED:
                    self.node(f"{name}.{one['name']}", phase="Failed", message=message, finishedAt=now())
            for one in containers:
                self.world.stub.end_log(pod, one["name"])
        self.node(name, phase=phase, message=message, finishedAt=now())
        if phase == "Succeeded" or "shutdown" in message:
            with contextlib.suppress(Refusal):
                self.world.stub.remove(PODS, pod)
        return phase, message

    def _containers(self, name: str, template: Object, containers: list[Object], pod: str) -> tuple[str, str]:
        """The containers one after the other, then what the executor reports."""
        artifacts: list[Object] = []
        errors: dict[str, str] = {}
        ended = ("Succeeded", "", 0)
        for one in containers:
            self.world.wait(self.workflow, self.uid)
            stage = _env(one, "CLARA_STAGE")
            if ended[0] == "Succeeded":
                failure = self.world.failure(stage)
                artifacts.append(self._log(pod, one["name"], stage, failure))
                if failure is not None:
                    message = failure.message or f"{one['name']}: Error (exit code {failure.code})"
                    ended, errors[stage] = ("Failed", message, failure.code), failure.error
                phase, message = ended[:2]
            else:  # Argo starts all, those that waited for a failed one end with its news
                phase, message = (
                    "Error",
                    f'{one["name"]}: Error (exit code 64): dependency "x" exited with non-zero code: 1',
                )
                ended = ("Failed", message.replace(f"{one['name']}:", "main:"), 64)
            if "containerSet" in template:
                self.node(f"{name}.{one['name']}", phase=phase, message=message, finishedAt=now())
        artifacts += self._outputs(template, errors)
        self.node(name, outputs={"artifacts": artifacts, "exitCode": str(ended[2])})
        return ended[0], ended[1]

    def _log(self, pod: str, container: str, stage: str, failure: Failure | None) -> Object:
        """Live and archived; the executor talks in the live one only."""
        said = [failure.text] if failure is not None and failure.text else [f"{stage} speaks"]
        tail = [f"Error: exit status {failure.code}"] if failure is not None else []
        for line in [EXECUTOR.format("capturing logs"), *said, EXECUTOR.format("sub-process exited"), *tail]:
            self.world.stub.write_log(pod, line, container)
        self.world.stub.end_log(pod, container)
        key = f"jobs/{self.parameters['job']}/logs/{pod}/{container}.log"
        self.world.store.objects[key] = "".join(f"{line}\n" for line in said).encode()
        return {"name": f"{container}-logs", "s3": {"key": key}}

    def _outputs(self, template: Object, errors: Mapping[str, str]) -> Iterator[Object]:
        """A folder for each output of the template; logs hold what the driver left."""
        for artifact in template["outputs"]["artifacts"]:
            key = artifact["s3"]["key"].replace("{{workflow.parameters.job}}", self.parameters["job"])
            with tempfile.TemporaryDirectory() as made:
                folder = Path(made) / "output"
                folder.mkdir()
                if artifact["name"] == "logs":
                    for stage, text in errors.items():
                        place = folder / stage if "containerSet" in template else folder
                        place.mkdir(exist_ok=True)
                        if text:
                            (place / "error.txt").write_text(text)
                else:
                    (folder / "made").write_text(f"{template['name']} {artifact['name']}")
                self.world.store.put_folder(key.removesuffix(".tgz"), folder)
            yield {**artifact, "s3": {"key": key}}


def _env(container: Object, name: str) -> str:
    return next((str(one["value"]) for one in container.get("env", ()) if one["name"] == name), "")


def _artifacts(made: Object) -> Iterator[Object]:
    for node in ((made.get("status") or {}).get("nodes") or {}).values():
        yield from (node.get("outputs") or {}).get("artifacts") or ()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
