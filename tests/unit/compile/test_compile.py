"""Graph -> Argo objects: edges, locks, mounts, names, limits, and everything that cannot run on a cluster."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clara_argo import compile as compiler
from clara_argo.compile import RESULTS, Cluster, Submission, compile_graph, names
from clara_argo.compile.check import check_text
from clara_argo.compile.check.reading import Loader
from clara_argo.compile.container import FUSED
from clara_argo.compile.judge import NotUnderstood, understood
from clara_argo.errors import DefinitionError
from clara_argo.graph import DNS_LABEL, Graph
from clara_argo.model.workflow import Image, Resources, StageSpec, Step, Workflow
from clara_argo.runners.argo.names import result_keys
from clara_argo.source import Findings

ID = "7b413e24-d018-4689-8c41-73272f6649d4"
PLAIN = StageSpec(name="", image=Image(repository="team/x", tag="1"), command=("./main.sh",))


def step(stage: str, reads: str, waits: str = "", *args: str) -> Step:
    return Step(stage=stage, reads=tuple(reads.split()), waits_for=tuple(waits.split()), args=args)


def graph(*steps: Step, results: str = "", name: str = "w", **specs: StageSpec) -> Graph:
    outputs = tuple((results or f"{steps[-1].stage}/output").split())
    workflow = Workflow(id=ID, name=name, steps=steps, results=outputs, source="w.yaml")
    stages = {one.stage: replace(specs.get(one.stage.replace("-", "_"), PLAIN), name=one.stage) for one in steps}
    return Graph.of(workflow, stages)


READER = step("reader", "reader/input")
CHAIN = graph(
    READER, step("ai", "reader/output", "reader.lock", "--limit", "a b"), step("writer", "ai/output", "ai.lock")
)
JOIN = graph(
    READER,
    step("liver", "reader/output", "reader.lock"),
    step("spleen", "reader/output", "reader.lock"),
    step("writer", "liver/output spleen/output reader/input", "liver.lock spleen.lock"),
    writer=replace(PLAIN, study=True, publish=True),
)


def templates(graph: Graph, **options: Any) -> dict[str, dict[str, Any]]:
    spec = compile_graph(graph, **options).template["spec"]
    return {template["name"]: template for template in spec["templates"]}


def artifacts(template: dict[str, Any], side: str) -> dict[str, dict[str, Any]]:
    return {artifact["name"]: artifact for artifact in template[side]["artifacts"]}


def tasks(graph: Graph) -> dict[str, dict[str, Any]]:
    return {task["name"]: task for task in templates(graph)["main"]["dag"]["tasks"]}


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


# -- one pod a stage --------------------------------------------------------------------------------------------------


def test_order_and_data_are_edges_of_the_dag() -> None:
    made = tasks(JOIN)
    assert "depends" not in made["reader"]
    assert made["writer"]["depends"] == "liver.Succeeded && spleen.Succeeded"
    given_ = {one["name"]: one["from"] for one in made["writer"]["arguments"]["artifacts"]}
    assert given_ == {
        "input-liver": "{{tasks.liver.outputs.artifacts.output}}",
        "input-spleen": "{{tasks.spleen.outputs.artifacts.output}}",
        "input-payload": "{{inputs.artifacts.study}}",
        "study": "{{inputs.artifacts.study}}",
    }


def test_a_join_has_a_folder_for_each_input_and_its_names_in_a_variable() -> None:
    writer = templates(JOIN)["writer"]
    paths = {name: one["path"] for name, one in artifacts(writer, "inputs").items()}
    assert paths == {
        "input-liver": "/app/input/liver",
        "input-spleen": "/app/input/spleen",
        "input-payload": "/app/input/payload",
        "study": "/app/study",
        "lock-0": "/app/locks/input.lock",
        "lock-1": "/app/locks/liver.lock",
        "lock-2": "/app/locks/spleen.lock",
    }
    found = variables(writer["container"])
    assert found["CLARA_INPUTS"] == "liver spleen payload"
    assert (found["CLARA_INPUT"], found["CLARA_STUDY"]) == ("/app/input", "/app/study")


def test_every_artifact_that_a_task_gives_is_one_that_its_template_takes() -> None:
    for graph_ in (CHAIN, JOIN):
        leaves, main = templates(graph_), tasks(graph_)
        for name, task in main.items():
            taken = {key for key, one in artifacts(leaves[name], "inputs").items() if "raw" not in one}
            assert {one["name"] for one in task["arguments"]["artifacts"]} == taken


def test_what_a_stage_writes_lies_on_the_volume_and_what_it_reads_does_not() -> None:
    writer = templates(JOIN)["writer"]
    mounts = {one["mountPath"]: one["subPath"] for one in writer["container"]["volumeMounts"]}
    folders = ("/app/output", "/app/locks", "/app/logs", "/app/publish", "/tmp")
    assert mounts == {path: path.rpartition("/")[2] for path in folders}
    assert {one["path"] for one in artifacts(writer, "outputs").values()} <= set(mounts)


def test_keys_are_the_jobs_own_and_the_result_stays() -> None:
    made = templates(JOIN)
    keys = [one["s3"]["key"] for name in made if name != "main" for one in artifacts(made[name], "outputs").values()]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("jobs/{{workflow.parameters.job}}/") and key.endswith(".tgz") for key in keys)
    output = artifacts(made["writer"], "outputs")["output"]
    assert output["s3"]["key"] == "jobs/{{workflow.parameters.job}}/result.tgz"
    assert output["artifactGC"] == {"strategy": "Never"}
    # Were every output kept, the Workflow would get no finalizer, and its archived logs would stay for ever.
    assert any("artifactGC" not in one for one in artifacts(made["writer"], "outputs").values())


def test_several_results_have_a_key_each() -> None:
    both = graph(READER, step("a", "reader/output", "reader.lock"), results="reader/output a/output")
    made = templates(both)
    found = [artifacts(made[name], "outputs")["output"]["s3"]["key"] for name in ("reader", "a")]
    assert found == [f"jobs/{{{{workflow.parameters.job}}}}/result/{name}.tgz" for name in ("reader", "a")]


def test_images_are_packed_without_compression_the_rest_with_little() -> None:
    made = templates(CHAIN)
    levels = {
        name: artifacts(made[name], "outputs")["output"]["archive"]["tar"]["compressionLevel"]
        for name in ("reader", "ai", "writer")
    }
    assert levels == {"reader": 0, "ai": 1, "writer": 1}


def test_retry_is_by_exit_code_and_a_time_limit_is_final() -> None:
    once = graph(step("once", "once/input"), once=replace(PLAIN, retries=0, timeout=7))
    leaf = templates(once)["once"]
    assert "retryStrategy" not in leaf and leaf["activeDeadlineSeconds"] == 7
    assert variables(leaf["container"])["CLARA_ATTEMPT"] == "1"
    strategy = templates(CHAIN)["ai"]["retryStrategy"]
    assert strategy["limit"] == "2" and "maxDuration" not in strategy["backoff"]
    assert "[75, 137, 143]" in strategy["expression"] and "longer than the specified deadline" in strategy["expression"]
    assert "retries" in variables(templates(CHAIN)["ai"]["container"])["CLARA_ATTEMPT"]


@pytest.mark.parametrize("fused, attempts", [(False, 100 * 1 + 10 * 9), (True, 110 * 9)], ids=["dag", "fused"])
def test_the_whole_job_has_time_for_every_attempt_and_the_pauses(fused: bool, attempts: int) -> None:
    """In one pod each attempt begins with the first stage. Pauses double, up to five minutes."""
    often = graph(
        step("once", "once/input"),
        step("often", "once/output", "once.lock"),
        once=replace(PLAIN, retries=0, timeout=100),
        often=replace(PLAIN, retries=8, timeout=10),
    )
    spec = compile_graph(often, fused=fused, cluster=Cluster(waiting=1000)).template["spec"]
    assert spec["activeDeadlineSeconds"] == 1000 + attempts + (10 + 20 + 40 + 80 + 160 + 300 + 300 + 300)
    backoff = spec["templates"][0 if fused else 2]["retryStrategy"]["backoff"]
    assert backoff == {"duration": "10s", "factor": "2", "cap": "300s"}


def test_resources_and_gpus_are_asked_for() -> None:
    asked = replace(PLAIN, resources=Resources(cpu="2", memory="4Gi", gpu=1))
    leaf = templates(graph(step("ai", "ai/input"), ai=asked))["ai"]
    assert leaf["container"]["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"memory": "4Gi", "nvidia.com/gpu": "1"},
    }
    assert leaf["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "resources" not in templates(CHAIN)["ai"]["container"] and "tolerations" not in templates(CHAIN)["ai"]


def test_pods_are_locked_down() -> None:
    spec = compile_graph(CHAIN).template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] > 0
    for name in ("reader", "ai", "writer"):
        context = templates(CHAIN)[name]["container"]["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(
    "repository, expected",
    [
        ("team/x", "hub.example:5000/a/team/x:1"),
        ("x", "hub.example:5000/a/x:1"),
        ("ghcr.io/team/x", "ghcr.io/team/x:1"),
        ("localhost/x", "localhost/x:1"),
        ("hub:5000/x", "hub:5000/x:1"),
        ("[::1]:5000/x", "[::1]:5000/x:1"),
        ("Hub.example/a__b/c--d/e.f_g", "Hub.example/a__b/c--d/e.f_g:1"),
    ],
)
def test_the_registry_goes_before_names_without_one(repository: str, expected: str) -> None:
    spec = replace(PLAIN, image=Image(repository=repository, tag="1"))
    made = templates(graph(step("a", "a/input"), a=spec), cluster=Cluster(registry="hub.example:5000/a/"))
    assert made["a"]["container"]["image"] == expected


def test_words_arrive_as_they_were_written() -> None:
    """`$(HOME)` would be a variable for Kubernetes; on a laptop it is six characters, so it is here."""
    spec = replace(PLAIN, env={"PRICE": "$5 $(HOME)"}, command=("sh", "-c", "echo $$"), mount_in="$(HOME)")
    made = templates(graph(step("a", "a/input", "", "$(PATH)", "$"), a=spec))["a"]["container"]
    assert made["args"] == ["$$(PATH)", "$$"] and made["command"] == ["sh", "-c", "echo $$$$"]
    assert variables(made)["PRICE"] == "$$5 $$(HOME)"
    assert variables(made)["NVIDIA_CLARA_INPUTPATHS"] == "$$(HOME):/app/input"


# -- one pod for all --------------------------------------------------------------------------------------------------


def test_fused_stages_see_each_others_folders_and_the_last_is_main() -> None:
    made = templates(JOIN, fused=True)["main"]
    containers = {one["name"]: one for one in made["containerSet"]["containers"]}
    assert list(containers) == ["reader", "liver", "spleen", "main"]
    assert containers["main"]["dependencies"] == ["liver", "spleen"]
    mounts = {
        one["mountPath"]: (one["subPath"], one.get("readOnly", False)) for one in containers["main"]["volumeMounts"]
    }
    assert mounts == {
        "/app/input/liver": ("liver/output", True),
        "/app/input/spleen": ("spleen/output", True),
        "/app/input/payload": ("input", True),
        "/app/study": ("input", True),
        "/app/output": ("writer/output", False),
        "/app/locks": ("locks", False),
        "/app/logs": ("logs/writer", False),
        "/app/publish": ("writer/publish", False),
        "/tmp": ("writer/tmp", False),
    }


def test_fused_main_waits_for_every_end_of_the_graph() -> None:
    """Outputs are collected when main ends: a branch that still runs would lose its own."""
    two = graph(
        READER,
        step("a", "reader/output", "reader.lock"),
        step("b", "reader/output", "reader.lock"),
        results="b/output a/output",
    )
    made = templates(two, fused=True)["main"]
    assert made["containerSet"]["containers"][-1]["dependencies"] == ["reader", "a"]
    results = {name: one for name, one in artifacts(made, "outputs").items() if name.startswith("result")}
    assert {one["path"] for one in results.values()} == {"/clara/a/output", "/clara/b/output"}


@pytest.mark.parametrize("name", ["input", "locks"])
def test_a_fused_stage_writes_into_no_folder_of_the_pod(name: str) -> None:
    """The payload lies in `input`: what a stage of that name wrote there would be part of the study for the others."""
    made = templates(graph(step(name, f"{name}/input"), step("b", f"{name}/output", f"{name}.lock")), fused=True)
    mounts = made["main"]["containerSet"]["containers"][0]["volumeMounts"]
    written = {mount["subPath"].partition("/")[0] for mount in mounts if "/" in mount["subPath"]}
    assert written & {"input", "locks"} == set()


def test_fused_time_limits_add_up() -> None:
    assert templates(CHAIN, fused=True)["main"]["activeDeadlineSeconds"] == 900


@pytest.mark.parametrize("change", [{"app_dir": "/clara/x"}, {"input_lock": "/app/other/input.lock"}])
def test_what_cannot_be_fused_is_said(change: dict[str, Any]) -> None:
    one = graph(step("a", "a/input"), a=replace(PLAIN, **change))
    with pytest.raises(DefinitionError, match="without --fused"):
        compile_graph(one, fused=True)


# -- names ------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=300))
@settings(deadline=None)
def test_every_name_becomes_one_that_kubernetes_takes(name: str) -> None:
    mapped = names.label(name)
    assert DNS_LABEL.fullmatch(mapped) and len(mapped) <= 63
    assert names.label(mapped) == mapped


def test_names_are_mapped_stably_and_apart() -> None:
    mapped = names.stages(["User_AI", "user-ai", "main", "x" * 80, "x" * 81])
    assert mapped["user-ai"] == "user-ai" and len(set(mapped.values())) == 5
    assert mapped["User_AI"] == names.label("User_AI") != "user-ai"
    assert mapped["main"] != "main"  # the name of the DAG


@pytest.mark.parametrize("name", ["3d-seg", "2D_Seg", "0", "0" * 80, "not", "in", "true"])
def test_a_stage_can_be_waited_for(name: str) -> None:
    """`depends` is an expression: a task is a variable there, and refused where its name begins with a digit."""
    mapped = names.stage(name)
    assert re.fullmatch("[a-z][a-z0-9-]{0,61}[a-z0-9]", mapped) and mapped not in names.WORDS
    assert mapped == names.stage(name) == names.stage(mapped) != name


def test_two_stages_never_share_a_name() -> None:
    with pytest.raises(DefinitionError, match="rename one"):
        names.stages(["User_AI", names.label("User_AI")])


def test_stages_keep_their_own_names_in_their_variables_and_folders() -> None:
    odd = graph(
        step("My_Reader", "My_Reader/input"),
        step("b", "My_Reader/output My_Reader/input", "My_Reader.lock"),
        name="My Flow".replace(" ", "_"),
    )
    made = compile_graph(odd)
    leaf = {one["name"]: one for one in made.template["spec"]["templates"]}[names.label("My_Reader")]
    assert variables(leaf["container"])["CLARA_STAGE"] == "My_Reader"
    inputs = [one["path"] for one in made.template["spec"]["templates"][-1]["inputs"]["artifacts"]]
    assert "/app/input/My_Reader" in inputs
    assert made.template["metadata"]["annotations"]["clara.dev/workflow-name"] == "My_Flow"


# -- the two objects --------------------------------------------------------------------------------------------------


def test_a_workflow_holds_three_parameters_and_a_name_of_the_job() -> None:
    job = "a1" * 16
    made = compile_graph(CHAIN, submission=Submission(job=job, payload="b2", created="2026-01-02T03:04:05Z"))
    spec = made.workflow["spec"]
    assert made.workflow["metadata"]["name"] == f"clara-{job}"
    assert spec["workflowTemplateRef"] == {"name": made.name} and set(spec) == {"workflowTemplateRef", "arguments"}
    values = {one["name"]: one["value"] for one in spec["arguments"]["parameters"]}
    assert values == {"job": job, "payload": "b2", "created": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize("fused", [False, True])
def test_argos_interface_tells_jobs_apart_and_says_what_runs(fused: bool) -> None:
    """A title that the template gives would take the place of each job's own."""
    made = compile_graph(JOIN, fused=fused, submission=Submission(job="a1b2c3d4" * 4))
    title, description = "workflows.argoproj.io/title", "workflows.argoproj.io/description"
    given = made.template["spec"]["workflowMetadata"]["annotations"]
    assert made.workflow["metadata"]["annotations"][title] == "a1b2c3d4 w" and title not in given
    said = made.template["metadata"]["annotations"][description]
    assert said == given[description] == ("in one pod: " if fused else "") + "reader -> liver, spleen -> writer"
    assert all(one["description"] for one in made.template["spec"]["arguments"]["parameters"])


def test_a_description_of_many_stages_is_cut() -> None:
    name = "stage-0"
    steps = [step(name, "stage-0/input")]
    for number in range(1, 100):
        before, name = name, f"stage-{number}"
        steps.append(step(name, f"{before}/output", f"{before}.lock"))
    said = compile_graph(graph(*steps)).template["metadata"]["annotations"]["workflows.argoproj.io/description"]
    assert said.startswith("stage-0 -> stage-1 -> ") and said.endswith("…") and len(said) == 500


def test_the_digest_is_of_everything_that_runs() -> None:
    def digest(**options: Any) -> str:
        annotations = compile_graph(CHAIN, **options).template["metadata"]["annotations"]
        return str(annotations["clara.dev/digest"])

    found = {
        digest(),
        digest(fused=True),
        digest(cluster=Cluster(registry="x.y")),
        digest(cluster=Cluster(namespace="n")),
    }
    assert len(found) == 4 and digest() == digest()


@pytest.mark.parametrize("fused", [False, True])
def test_the_text_is_the_object_and_the_same_each_time(fused: bool) -> None:
    made = compile_graph(JOIN, fused=fused).template
    text = compiler.as_yaml(made)
    assert yaml.safe_load(text) == made == json.loads(compiler.as_json(made))
    assert text == compiler.as_yaml(compile_graph(JOIN, fused=fused).template)
    assert "&id" not in text and "<<" not in text


WORDS = ("y", "N", "off", "1e-3", "1.5e3", "08", "0o7", "1_000", ".5", "12:30", "2026-01-02", "~", "null", "", "a b")


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))) | st.sampled_from(WORDS))
@settings(deadline=None)
def test_a_text_stays_a_text_for_kubernetes(word: str) -> None:
    """`1e-3` without quotes is a number there, `y` is true."""
    assert yaml.load(compiler.as_yaml({"args": [word]}), Loader=Loader) == {"args": [word]}  # noqa: S506


# -- what cannot run --------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"image": Image()}, "no-image"),
    ({"command": ()}, "no-command"),
    ({"command": ("sh", "-c", "echo {{workflow.name}}")}, "argo-tag"),
    ({"env": {"X": "{{=1}}"}}, "argo-tag"),
    ({"image": Image(repository="{{x}}", tag="1")}, "argo-tag"),
    ({"app_dir": "/{{workflow.name}}"}, "argo-tag"),
    ({"lock_name": "{{x}}"}, "argo-tag"),
    ({"mount_out": "{{x}}"}, "argo-tag"),
    ({"image": Image(repository="team/X", tag="1")}, "image"),
    ({"image": Image(repository="https://hub.example/x", tag="1")}, "image"),
    ({"image": Image(repository="x", tag="1 2")}, "image"),
    ({"image": Image(repository="x", digest="sha256:0")}, "image"),
    ({"outputs": "input"}, "folders"),
    ({"outputs": "input/sub"}, "folders"),
    ({"lock_dir": "/tmp"}, "folders"),
    ({"inputs": "logs"}, "folders"),
]


@pytest.mark.parametrize("change, code", WRONG)
def test_what_cannot_run_on_a_cluster_is_refused_by_name(change: dict[str, Any], code: str) -> None:
    one = graph(step("a", "a/input"), a=replace(PLAIN, **change))
    with pytest.raises(DefinitionError) as caught:
        compile_graph(one)
    assert [finding.code for finding in caught.value.findings] == [code]
    assert all(finding.hint and "'a'" in finding.message for finding in caught.value.findings)


def test_a_registry_is_no_address_of_a_page() -> None:
    with pytest.raises(DefinitionError, match="'https://hub.example/team/x:1'.*without https://"):
        compile_graph(graph(READER), Cluster(registry="https://hub.example"))


def test_everything_wrong_is_said_at_once() -> None:
    bad = replace(PLAIN, image=Image(), command=())
    with pytest.raises(DefinitionError) as caught:
        compile_graph(graph(READER, step("b", "reader/output", "reader.lock"), reader=bad, b=bad))
    assert len(caught.value.findings) == 4


def test_an_image_without_a_tag_is_a_warning() -> None:
    loose = graph(step("a", "a/input"), a=replace(PLAIN, image=Image(repository="x")))
    assert [finding.code for finding in compile_graph(loose).findings] == ["image-tag"]
    with pytest.raises(DefinitionError):
        compile_graph(loose, strict=True)


def test_a_field_that_argo_does_not_know_is_our_bug(tmp_path: Path) -> None:
    made = compile_graph(CHAIN).template
    made["spec"]["templates"][0]["failFsat"] = True
    with pytest.raises(NotUnderstood, match="failFsat"):
        understood(made)
    made = compile_graph(CHAIN).template
    made["spec"]["parallelism"] = "many"
    with pytest.raises(NotUnderstood, match="parallelism"):
        understood(made)


ODD = graph(
    step("My_Reader", "My_Reader/input"),
    step("3d-seg", "My_Reader/output My_Reader/input", "My_Reader.lock", "$(x)", "{ not a tag }", *WORDS),
    step("not", "3d-seg/output", "3d-seg.lock"),
    results="not/output My_Reader/output",
    **{"3d_seg": replace(PLAIN, retries=0, resources=Resources(cpu="500m", memory="1Gi", gpu=1), models=("m",))},
)


PATHS = graph(
    step("reader", "reader/input"),
    step("seg", "reader/output/scout reader/output/ct", "reader.lock"),
    step("writer", "seg/output/Mask_1 writer/input", "seg.lock"),
    reader=replace(PLAIN, output_paths={"ct": "/series"}),
    seg=replace(PLAIN, input_paths=("/scout", "/ct"), output_paths={"": "/output", "Mask_1": "/output/Mask_1"}),
    writer=replace(PLAIN, input_paths=("/input", "/dcm"), output_paths={"": "/output"}),
)


def test_folders_in_an_output_are_objects_of_their_own_and_paths_are_where_they_are_asked_for() -> None:
    made = templates(PATHS)
    tasks = {task["name"]: task for task in made["main"]["dag"]["tasks"]}
    assert tasks["seg"]["arguments"]["artifacts"] == [
        {"name": "input-reader_scout", "from": "{{tasks.reader.outputs.artifacts.output_scout}}"},
        {"name": "input-reader_ct", "from": "{{tasks.reader.outputs.artifacts.output_ct}}"},
    ]
    paths = {one["name"]: one["path"] for one in made["seg"]["inputs"]["artifacts"]}
    assert (paths["input-reader_scout"], paths["input-reader_ct"]) == ("/scout", "/ct")
    written = {one["name"]: (one["path"], one["s3"]["key"]) for one in made["reader"]["outputs"]["artifacts"]}
    below = "jobs/{{workflow.parameters.job}}/reader"
    assert written["output_ct"] == ("/series", f"{below}/output_ct.tgz")
    assert written["output_scout"] == ("/app/output/scout", f"{below}/output_scout.tgz")
    mounts = {one["mountPath"]: one["subPath"] for one in made["reader"]["container"]["volumeMounts"]}
    assert (mounts["/app/output"], mounts["/series"]) == ("output", "output/ct")
    mounts = {one["mountPath"]: one["subPath"] for one in made["seg"]["container"]["volumeMounts"]}
    assert mounts["/output/Mask_1"] == "output/Mask_1"  # there from the start, as on a laptop
    told = {one["name"]: one["value"] for one in made["seg"]["container"]["env"]}
    assert told["NVIDIA_CLARA_INPUTPATHS"] == "reader.scout:/scout;reader.ct:/ct"
    assert told["NVIDIA_CLARA_OUTPUTPATHS"] == "output:/output;Mask_1:/output/Mask_1"
    assert (told["CLARA_INPUT"], told["CLARA_OUTPUT"]) == ("/scout", "/output") and "CLARA_INPUTS" not in told


def test_folders_in_an_output_are_mounted_in_one_pod() -> None:
    (main,) = templates(PATHS, fused=True).values()
    found = {
        one["name"]: {m["mountPath"]: m["subPath"] for m in one["volumeMounts"]}
        for one in main["containerSet"]["containers"]
    }
    assert found["seg"]["/ct"] == "reader/output/ct" and found["reader"]["/series"] == "reader/output/ct"
    assert found["main"]["/input"] == "seg/output/Mask_1" and found["main"]["/dcm"] == "input"


def test_a_folder_in_an_output_is_the_result_and_may_be_read_too() -> None:
    shape = replace(PATHS, results=("seg.Mask_1", "reader.ct"))
    made = templates(shape)
    written = {one["name"]: one["s3"]["key"] for one in made["seg"]["outputs"]["artifacts"]}
    job = "jobs/{{workflow.parameters.job}}"
    assert written["output_Mask_1"] == f"{job}/result/seg.Mask_1.tgz" and written["output"] == f"{job}/seg/output.tgz"
    assert compile_graph(shape).template["metadata"]["annotations"][RESULTS] == '["seg.Mask_1", "reader.ct"]'
    assert result_keys("{{workflow.parameters.job}}", shape.results) == {
        "seg.Mask_1": f"{job}/result/seg.Mask_1", "reader.ct": f"{job}/result/reader.ct",
    }  # fmt: skip
    (main,) = templates(replace(PATHS, results=("seg.Mask_1",)), fused=True).values()
    (one,) = (one for one in main["outputs"]["artifacts"] if one["name"] == "result")
    assert (one["path"], one["s3"]["key"]) == (f"{FUSED}/seg/output/Mask_1", f"{job}/result.tgz")


def test_two_folders_cannot_have_one_place() -> None:
    shape = graph(
        step("a", "a/input"),
        step("b", "a/output b/input", "a.lock"),
        b=replace(PLAIN, input_paths=("/input", "/input")),
    )
    with pytest.raises(DefinitionError, match="the folder /input of stage 'b' holds another folder"):
        compile_graph(shape)


@pytest.mark.parametrize("fused", [False, True], ids=["dag", "fused"])
@pytest.mark.parametrize("shape", [CHAIN, JOIN, ODD, PATHS], ids=["chain", "join", "odd", "paths"])
def test_our_own_checker_finds_nothing_wrong(shape: Graph, fused: bool) -> None:
    made = compile_graph(shape, fused=fused)
    for one in (made.template, made.workflow):
        found = Findings("x.yaml", strict=True)
        check_text(compiler.as_yaml(one), found)
        assert found.all == ()


@pytest.mark.skipif(not shutil.which("argo"), reason="no argo command: its linter is not asked")
@pytest.mark.parametrize("fused", [False, True], ids=["dag", "fused"])
@pytest.mark.parametrize("shape", [CHAIN, JOIN, ODD, PATHS], ids=["chain", "join", "odd", "paths"])
def test_argo_finds_nothing_wrong(tmp_path: Path, shape: Graph, fused: bool) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(compiler.as_yaml(compile_graph(shape, fused=fused).template))
    found = subprocess.run(
        ["argo", "lint", "--offline", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
