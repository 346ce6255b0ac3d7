"""Templates on a cluster: created, changed and left alone; what differs, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from unit.kubernetes.stub import Stub

from clara_argo import project, shipped
from clara_argo.compile import DIGEST, MANAGED, WORKFLOW_DIGEST, Submission, workflow
from clara_argo.errors import Refused
from clara_argo.graph import Graph
from clara_argo.kubernetes.client import Api
from clara_argo.kubernetes.kinds import TEMPLATES
from clara_argo.model.target import Target
from clara_argo.runners import templates
from clara_argo.runners.argo.submission import Templates

TARGET = Target(name="hospital")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return project.graph(shipped.folder("templates") / "workflows/ct-organs.yaml")


def told(applied: templates.Applied) -> list[str]:
    return [str(change) for change in applied.changes]


def test_created_then_unchanged_then_changed(stub: Stub, api: Api, graph: Graph) -> None:
    created = templates.apply(graph, TARGET, api)
    assert (created.state, created.template, created.changes) == ("created", "ct-organs", ())
    assert stub.get(TEMPLATES, "ct-organs")["spec"]["entrypoint"] == "main"
    asked = len(stub.requests)
    assert templates.apply(graph, TARGET, api).state == "unchanged"
    assert [request.method for request in stub.requests[asked:]] == ["GET"], "an equal template was sent again"
    changed = templates.apply(graph, replace(TARGET, registry="r.example"), api)
    assert changed.state == "changed" and told(changed) == [
        f"stage '{name}', image: clara-argo/{name}:0.1.0 -> r.example/clara-argo/{name}:0.1.0"
        for name in ("dicom-reader", "ct-organ-seg", "dicom-writer")
    ]
    assert templates.apply(graph, replace(TARGET, registry="r.example"), api).state == "unchanged"


def test_what_somebody_edited_becomes_the_compiled_one_again(stub: Stub, api: Api, graph: Graph) -> None:
    templates.apply(graph, TARGET, api)
    stub.change(TEMPLATES, "ct-organs", {"spec": {"parallelism": 1, "hostNetwork": True}})
    restored = templates.apply(graph, TARGET, api)
    assert told(restored) == ["pods of a job at once: 1 -> 8", "hostNetwork: removed: true"]


def test_a_dry_run_asks_and_keeps_nothing(stub: Stub, api: Api, graph: Graph) -> None:
    assert templates.apply(graph, TARGET, api, dry_run=True).state == "created"
    assert stub.list(TEMPLATES) == [] and stub.requests[-1].query["dryRun"] == "All"


def test_fused_is_a_template_of_its_own(api: Api, graph: Graph) -> None:
    assert templates.apply(graph, TARGET, api, fused=True).template == "ct-organs-fused"
    assert templates.apply(graph, replace(TARGET, fused=True), api).state == "unchanged"
    changed = templates.apply(graph, replace(TARGET, fused=True, registry="r.example"), api)
    assert told(changed)[-1].startswith("stage 'dicom-writer', image: clara-argo/dicom-writer")


def test_a_cluster_without_argo(stub: Stub, api: Api, graph: Graph) -> None:
    stub.kinds.remove(TEMPLATES)
    with pytest.raises(Refused, match="clara cluster doctor"):
        templates.apply(graph, TARGET, api)


def test_json_is_plain(api: Api, graph: Graph, tmp_path: Path) -> None:
    templates.apply(graph, TARGET, api)
    value = templates.apply(graph, replace(TARGET, pull_secrets=("pull",)), api).to_json()
    assert value == {
        "target": "hospital",
        "namespace": "clara",
        "template": "ct-organs",
        "state": "changed",
        "dry_run": False,
        "changes": [
            {"path": "spec.imagePullSecrets", "what": "pull secrets", "before": None, "after": [{"name": "pull"}]}
        ],
    }


HELMS = {
    "metadata": {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "organs"},
    }
}


def test_what_helm_put_there_stays(stub: Stub, api: Api, graph: Graph) -> None:
    """Its values are the platform team's: jobs of the same workflow run with them, nothing is set back."""
    templates.apply(graph, TARGET, api)
    stub.change(TEMPLATES, "ct-organs", HELMS | {"spec": {"parallelism": 1}})
    with pytest.raises(Refused, match="Helm release organs.*helm upgrade organs") as refused:
        templates.apply(graph, TARGET, api)
    assert "pods of a job at once: 1 -> 8" in str(refused.value)
    assert stub.get(TEMPLATES, "ct-organs")["spec"]["parallelism"] == 1
    assert Templates(api, replace(TARGET, registry="r.example"), apply=True).of(graph)["spec"]["parallelism"] == 1


def test_another_version_of_a_workflow_is_not_put_over_helms(stub: Stub, api: Api, graph: Graph) -> None:
    templates.apply(graph, TARGET, api)
    stub.change(TEMPLATES, "ct-organs", HELMS)
    stub.change(TEMPLATES, "ct-organs", {"metadata": {"annotations": {WORKFLOW_DIGEST: "0" * 64, DIGEST: "0" * 64}}})
    with pytest.raises(Refused, match="another version.*clara-wf publish_chart, then helm upgrade organs"):
        Templates(api, TARGET, apply=True).of(graph)


def test_a_job_of_helms_template_is_ours(stub: Stub, api: Api, graph: Graph) -> None:
    """Jobs are found by this label."""
    templates.apply(graph, TARGET, api)
    stub.change(TEMPLATES, "ct-organs", HELMS)
    made = workflow(stub.get(TEMPLATES, "ct-organs"), Submission())
    assert made["metadata"]["labels"][MANAGED] == "clara-argo"
