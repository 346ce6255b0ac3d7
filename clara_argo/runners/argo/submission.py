"""From a graph and a payload to a Workflow that exists: payload into the store, template on the cluster, one create."""

from __future__ import annotations

import time
from typing import Any

from clara_argo import compile as compiler
from clara_argo.errors import NotFound, Refused, TryAgain, UsageError
from clara_argo.graph import Graph
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.errors import Away, Exists, NotHere
from clara_argo.kubernetes.kinds import PODS, TEMPLATES, WORKFLOWS
from clara_argo.model.job import Payload
from clara_argo.model.target import Target
from clara_argo.runners.argo import names, status, sweep
from clara_argo.runners.argo.cluster import installed
from clara_argo.runners.argo.store import JobStore
from clara_argo.runners.argo.workflow import Workflow, read

Object = dict[str, Any]
LEAVES_WITHIN = 30.0  # seconds that a deleted Workflow of the same name is waited for
PODS_LEAVE_WITHIN = 90.0  # seconds for its pods: Kubernetes deletes them, with a grace period
LOOK = 0.5  # seconds
HELM, RELEASE = "Helm", "meta.helm.sh/release-name"  # what Helm writes on what it makes: label's value, annotation


class Templates:
    """The WorkflowTemplates of graphs. `apply`: put them there, where they differ; else they must be there already."""

    def __init__(self, api: Api, target: Target, *, apply: bool) -> None:
        self._api, self._target, self._apply = api, target, apply
        self._compiled: dict[str, Object] = {}  # by the graph's digest

    def of(self, graph: Graph) -> Object:
        """As it is on the cluster. Raises NotFound or Refused when it is not that of the graph."""
        name = compiler.template_name(graph.workflow.name, fused=self._target.fused)
        there = template(self._api, name)
        return self._applied(graph, there) if self._apply else self._checked(graph, name, there)

    def named(self, name: str) -> Object:
        """Raises NotFound."""
        found = template(self._api, name)
        if found is None or compiler.STAGES not in (found["metadata"].get("annotations") or {}):
            what = "is not there" if found is None else "was not compiled by clara"
            raise NotFound(
                f"WorkflowTemplate {name!r} {what} (namespace {self._api.namespace!r}); put it there: clara apply FILE"
            )
        return found

    def _applied(self, graph: Graph, there: Object | None) -> Object:
        made = self._compiled.get(graph.digest)
        if made is None:
            made = compiler.compile_graph(graph, settings(self._target), fused=self._target.fused).template
            self._compiled = {graph.digest: made}
        wanted = made["metadata"]["annotations"][compiler.DIGEST]
        if there is not None and (there["metadata"].get("annotations") or {}).get(compiler.DIGEST) == wanted:
            return there
        if there is not None and release(there):
            return self._checked(graph, made["metadata"]["name"], there)  # its values may differ from what we know
        return self._api.apply(made)

    def _checked(self, graph: Graph, name: str, there: Object | None) -> Object:
        where = f"WorkflowTemplate {name!r} in namespace {self._api.namespace!r}"
        if there is None:
            raise Refused(f"{where} is not there; put it there: {self._how}")
        if (there["metadata"].get("annotations") or {}).get(compiler.WORKFLOW_DIGEST) != graph.digest:
            how = renewed(there) or self._how
            raise Refused(f"{where} is of another version of workflow {graph.workflow.name!r}; renew it: {how}")
        return there

    @property
    def _how(self) -> str:
        return f"clara apply FILE --on {self._target.name}"


def release(template: Object) -> str:
    """The Helm release that a template belongs to; "" for one that is not Helm's. What we put there it would undo."""
    meta = template["metadata"]
    if (meta.get("labels") or {}).get(compiler.MANAGED) != HELM:
        return ""
    return str((meta.get("annotations") or {}).get(RELEASE) or "?")


def renewed(template: Object) -> str:
    """How a template of Helm's becomes another one; "" for one that is not Helm's."""
    name = release(template)
    return name and f"it belongs to the Helm release {name}: clara-wf publish_chart, then helm upgrade {name} CHART"


def settings(target: Target) -> compiler.Cluster:
    """What compiling has to know of a target."""
    return compiler.Cluster(namespace=target.namespace, registry=target.registry, pull_secrets=target.pull_secrets)


def template(api: Api, name: str) -> Object | None:
    """None when it is not there. Raises Refused when Argo is not."""
    try:
        with installed():
            return api.get(TEMPLATES, name)
    except NotHere:
        return None


def put_payload(store: JobStore, payload: Payload) -> None:
    """Unless it is there already. Raises NotFound when there is no such folder."""
    key = names.payload_key(payload.id)
    if store.exists(key):
        return
    if not payload.folder.is_dir():
        raise NotFound(f"{payload.folder}: no such folder; it should hold the study to work on")
    store.put_folder(key, payload.folder, follow=True)


def create(api: Api, store: JobStore, template: Object, job: str, payload: str, *, pending: int = 0) -> Workflow:
    """The Workflow of the job, also when it exists by now. `pending`: seconds a stage may wait for its place.

    Raises TryAgain, Refused.
    """
    submission = compiler.Submission(job=job, payload=payload, created=status.written(api.now()))
    wanted = compiler.workflow(template, submission)
    if pending:
        wanted["metadata"]["annotations"][names.PENDING] = str(pending)
    name = names.workflow(job)
    deadline = time.monotonic() + LEAVES_WITHIN
    while True:
        there = _pods_have_left(api, name)
        if there is None:
            try:
                return read(api.create(WORKFLOWS, wanted))
            except Exists:
                there = _existing(api, name)
            except Away as error:
                if not error.maybe_done or (there := _existing(api, name)) is None:
                    raise
        if there is not None and not there.deleted:
            return there
        if there is not None and sweep.hangs(api, there):
            sweep.free(api, store, there)
        elif time.monotonic() > deadline:
            raise TryAgain(f"job {job} cannot begin: an earlier Workflow {name} is still being deleted; try again")
        time.sleep(LOOK)


def _pods_have_left(api: Api, name: str) -> Workflow | None:
    """Argo takes a pod that an earlier Workflow of this name left for the new one's. Raises TryAgain.

    With pods there may be their Workflow: that is returned, and one that is being deleted must leave before they can.
    """
    deadline = time.monotonic() + PODS_LEAVE_WITHIN
    while left := api.list(PODS, labels=f"{names.OF_WORKFLOW}={name}").items:
        if (there := _existing(api, name)) is not None:
            return there
        if time.monotonic() > deadline:
            raise TryAgain(
                f"pod {left[0]['metadata']['name']} of an earlier Workflow {name} does not go away; look at its node, "
                "then try again"
            )
        time.sleep(LOOK)
    return None


def _existing(api: Api, name: str) -> Workflow | None:
    try:
        return read(api.get(WORKFLOWS, name))
    except NotHere:
        return None


def same(graph: Graph, workflow: Workflow) -> None:
    """Raises UsageError when the job is of another workflow, or another version of it."""
    digest = workflow.annotations.get(compiler.WORKFLOW_DIGEST, "")
    if digest and digest != graph.digest:
        known = workflow.annotations.get(compiler.WORKFLOW, "another workflow")
        raise UsageError(
            f"job {workflow.job} exists already, of {known!r} as it was then; a changed workflow needs a new job"
        )
