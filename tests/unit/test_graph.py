"""Workflow and stages -> Graph: what resolves, in which order, and everything that does not."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import examples

from clara_argo import picture
from clara_argo.errors import DefinitionError, Level
from clara_argo.formats import load
from clara_argo.graph import MAX_INPUTS, MAX_STEPS, PAYLOAD, Graph, Read
from clara_argo.model.workflow import Image, StageSpec, Step, Workflow

ID = "7b413e24-d018-4689-8c41-73272f6649d4"
Names = str | Sequence[str]


def names(words: Names) -> tuple[str, ...]:
    return tuple(words.split()) if isinstance(words, str) else tuple(words)


def step(stage: str, reads: Names, waits: Names = (), *args: str) -> Step:
    return Step(stage=stage, reads=names(reads), waits_for=names(waits), args=args)


def flow(*steps: Step, results: Names = "", name: str = "w", id: str = ID) -> Workflow:
    results = results or f"{steps[-1].stage}/output"
    return Workflow(id=id, name=name, steps=steps, results=names(results), source="w.yaml")


def specs(*stages: str, **fields: object) -> dict[str, StageSpec]:
    return {name: dataclasses.replace(StageSpec(name=name), **fields) for name in stages}  # type: ignore[arg-type]


def graph(workflow: Workflow, *, strict: bool = False) -> Graph:
    return Graph.of(workflow, specs(*(step.stage for step in workflow.steps)), strict=strict)


def refused(workflow: Workflow, stages: dict[str, StageSpec] | None = None) -> list[tuple[str, str]]:
    """Codes and messages with hints."""
    stages = specs(*(step.stage for step in workflow.steps)) if stages is None else stages
    with pytest.raises(DefinitionError) as caught:
        Graph.of(workflow, stages)
    assert all(finding.source == "w.yaml" and finding.hint for finding in caught.value.findings)
    errors = [finding for finding in caught.value.findings if finding.level is Level.ERROR]
    return [(finding.code, f"{finding.message}; {finding.hint}") for finding in errors]


READER = step("reader", "reader/input")
CHAIN = flow(READER, step("ai", "reader/output", "reader.lock"), step("writer", "ai/output", "ai.lock"))


def edges(graph: Graph) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(node.name, node.inputs, node.waits_for) for node in graph.nodes]


def test_a_chain() -> None:
    found = graph(CHAIN)
    assert edges(found) == [
        ("reader", (PAYLOAD,), ()),
        ("ai", ("reader",), ("reader",)),
        ("writer", ("ai",), ("ai",)),
    ]
    assert found.results == ("writer",) and found.findings == () and found.workflow is CHAIN
    assert found.node("ai").step is CHAIN.steps[1] and found.node("ai").spec.name == "ai"


def test_branches_and_a_join() -> None:
    found = graph(
        flow(
            READER,
            step("liver", "reader/output", "reader.lock"),
            step("spleen", "reader/output", "reader.lock"),
            step("writer", "liver/output spleen/output", "liver.lock spleen.lock"),
            results="writer/output liver/output",
        )
    )
    assert found.node("writer").inputs == ("liver", "spleen")
    assert found.results == ("writer", "liver")


def test_an_input_folder_stands_for_what_that_stage_reads() -> None:
    found = graph(
        flow(
            READER,
            step("a", "reader/output", "reader.lock"),
            step("b", "a/input a/output reader/input", "a.lock"),
            step("c", "b/input", "b.lock"),
        )
    )
    assert found.node("b").inputs == ("reader", "a", PAYLOAD)
    assert found.node("c").inputs == ("reader", "a", PAYLOAD)


def test_a_part_of_an_output_is_a_folder_in_it() -> None:
    found = graph(
        flow(
            READER,
            step("a", "reader/output/scout reader/output/ct/ reader/output", "reader.lock"),
            step("b", "a/input a/output", "a.lock"),
        )
    )
    reads = (Read("reader", "scout"), Read("reader", "ct"), Read("reader"))
    assert found.node("a").reads == reads and found.node("a").inputs == ("reader",)
    assert [read.name for read in reads] == ["reader.scout", "reader.ct", "reader"]
    assert found.node("b").reads == (*reads, Read("a"))
    whole = graph(flow(READER, step("a", "reader/output", "reader.lock")))
    part = graph(flow(READER, step("a", "reader/output/ct", "reader.lock")))
    assert whole.digest != part.digest


@pytest.mark.parametrize("folder", ["a/output/..", "a/output/x/y", "a/output//x", "a/output/a b", "a/input/x", "a/x"])
def test_no_part_of_an_output(folder: str) -> None:
    workflow = flow(step("a", "a/input"), Step(stage="b", reads=(folder,), waits_for=("a.lock",)))
    assert [code for code, _ in refused(workflow)] == ["unknown-folder"]


def test_a_part_of_an_output_is_a_result() -> None:
    chain = (READER, step("a", "reader/output", "reader.lock"))
    found = graph(flow(*chain, results="a/output/seg reader/output/ct a/output/seg/ a/output/sr"))
    assert found.results == ("a.seg", "reader.ct", "a.sr")
    assert found.result_folders() == (Read("a", "seg"), Read("reader", "ct"), Read("a", "sr"))
    assert graph(flow(*chain, results="a/output/seg reader/output/ct a/output")).results == ("reader.ct", "a")
    assert graph(flow(*chain)).digest != graph(flow(*chain, results="a/output/seg")).digest
    assert "└─ a  → result (only seg, sr)" in picture.as_text(found)
    assert picture.as_mermaid(found).count("--> result") == 2


def test_paths_of_its_own_go_to_the_folders_in_their_order() -> None:
    workflow = flow(READER, step("w", "reader/output reader/input", "reader.lock"))
    stages = specs("reader", "w") | {"w": StageSpec(name="w", input_paths=("/input", "/dcm", "/more"))}
    found = Graph.of(workflow, stages)
    assert found.node("w").reads == (Read("reader", path="/input"), Read(PAYLOAD, path="/dcm"))
    assert found.digest != graph(workflow).digest
    few = specs("reader") | {"w": StageSpec(name="w", input_paths=("/input",))}
    assert refused(workflow, few) == [
        ("input-paths", "stage 'w' reads 2 folders, but has 1 inputPaths; give it one for each, in this order")
    ]


def test_several_stages_may_read_the_payload() -> None:
    found = graph(flow(step("a", "a/input"), step("b", "b/input"), results="a/output b/output"))
    assert [node.inputs for node in found.nodes] == [(PAYLOAD,), (PAYLOAD,)]


def test_nodes_are_in_running_order_and_else_as_in_the_file() -> None:
    steps = [
        step("writer", "ai/output", "ai.lock"),
        step("late", "reader/output", "reader.lock writer.lock"),
        step("ai", "reader/output", "reader.lock"),
        READER,
        step("other", "other/input"),
    ]
    found = graph(flow(*steps, results="writer/output late/output"))
    assert [node.name for node in found.nodes] == ["reader", "ai", "writer", "late", "other"]


def test_waiting_through_others_suffices() -> None:
    found = graph(
        flow(READER, step("a", "reader/output", "reader.lock"), step("b", "b/input", "a.lock"),
             step("c", "reader/output b/output", "b.lock"))
    )  # fmt: skip
    assert found.node("c").waits_for == ("b",) and found.node("c").inputs == ("reader", "b")


def test_lock_names_of_stage_definitions_go_first() -> None:
    stages = specs("reader", "ai", "writer") | {"ai": StageSpec(name="ai", lock_name="done")}
    chain = flow(*CHAIN.steps[:2], step("writer", "ai/output", "done"))
    assert Graph.of(chain, stages).node("writer").waits_for == ("ai",)
    assert Graph.of(CHAIN, stages).node("writer").waits_for == ("ai",)
    swapped = {"reader": StageSpec(name="reader", lock_name="ai.lock"), "ai": StageSpec(name="ai", lock_name="x")}
    found = Graph.of(flow(READER, step("ai", "reader/output", "ai.lock")), swapped)
    assert found.node("ai").waits_for == ("reader",)


WRONG = {
    "unknown stage": (
        flow(READER, step("user-aj", "reader/output", "reader.lock")),
        specs("reader", "user-ai"),
        ["unknown-stage"],
        "'user-ai'",
    ),
    "unknown stage, nothing near": (flow(step("x", "x/input")), {}, ["unknown-stage"], "stages/x with a stage.yaml"),
    "unknown lock": (
        flow(READER, step("ai", "reader/output", "raeder.lock")),
        None,
        ["unknown-lock", "missing-lock"],
        "'reader.lock'",
    ),
    "unknown folder": (
        flow(READER, step("ai", "reader/outputs", "reader.lock")), None, ["unknown-folder"], "'reader/output'",
    ),
    "folder without a slash": (flow(READER, step("ai", "reader", "reader.lock")), None, ["unknown-folder"], "reader/"),
    "folder with dots": (flow(READER, step("ai", "../output", "reader.lock")), None, ["unknown-folder"], "'../output'"),
    "unknown result": (flow(READER, results="raeder/output"), None, ["unknown-folder"], "'reader/output'"),
    "payload as result": (flow(READER, results="reader/input"), None, ["result"], "payload itself"),
    "missing lock": (
        flow(READER, step("ai", "reader/output")),
        None,
        ["missing-lock"],
        "'reader/output' but does not wait for 'reader.lock'; add 'reader.lock' to its waitLocks (entry 2)",
    ),
    "missing lock behind an input folder": (
        flow(READER, step("a", "reader/output", "reader.lock"), step("b", "a/input")),
        None,
        ["missing-lock"],
        "reads 'reader/output'",
    ),
    "stage twice": (flow(READER, step("reader", "reader/output", "reader.lock")), None, ["duplicate-stage"], "twice"),
    "stage twice but for case": (
        flow(READER, step("Reader", "reader/output", "reader.lock"), results="reader/output"),
        specs("reader", "Reader"),
        ["duplicate-stage"],
        "only in case",
    ),
    "waits for itself": (flow(step("a", "a/input", "a.lock")), None, ["cycle"], "waits for itself"),
    "reads itself": (flow(step("a", "a/output")), None, ["cycle"], "reads its own output"),
    "cycle of two": (
        flow(step("a", "a/input", "b.lock"), step("b", "b/input", "a.lock")),
        None,
        ["cycle"],
        "a -> b -> a",
    ),
    "cycle of three": (
        flow(READER, step("a", "reader/output", "reader.lock c.lock"), step("b", "a/output", "a.lock"),
             step("c", "b/output", "b.lock")),
        None, ["cycle"], "a -> c -> b -> a",
    ),
    "cycle of data and order": (
        flow(step("a", "a/input", "b.lock"), step("b", "a/output")),
        None,
        ["cycle"],
        "a -> b -> a",
    ),
    "two cycles": (
        flow(step("a", "a/input", "b.lock"), step("b", "b/input", "a.lock"), step("c", "c/input", "d.lock"),
             step("d", "d/input", "c.lock")),
        None, ["cycle", "cycle"], "c -> d -> c",
    ),
    "input folders in a circle": (
        flow(step("a", "b/input"), step("b", "a/input")), None, ["cycle"], "each other's input",
    ),
    "shared lock": (
        flow(READER, step("ai", "reader/output", "x.lock")),
        {name: StageSpec(name=name, lock_name="x.lock") for name in ("reader", "ai")},
        ["shared-lock"],
        "'reader' and 'ai' share the lock 'x.lock'",
    ),
    "bad name": (flow(step("a b", ["a b/input"]), results=["a b/output"]), None, ["name"], "'a b'"),
    "reserved name": (flow(step("result", "result/input")), None, ["name"], "'result'"),
    "reserved name in other case": (flow(step("Lock", "Lock/input")), None, ["name"], "'Lock'"),
    "bad workflow name": (flow(READER, name="Größe"), None, ["name"], "workflow"),
    "bad id": (flow(READER, id="x/y"), None, ["id"], "UUID"),
    "no stages": (flow(results="a/output"), None, ["no-stages", "unknown-folder"], "no stages"),
    "no result": (dataclasses.replace(CHAIN, results=()), None, ["no-result"], "result"),
    "too many stages": (
        flow(*(step(f"s{n}", f"s{n}/input") for n in range(MAX_STEPS + 1)), results="s1/output"), {},
        ["too-many-stages"], str(MAX_STEPS),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("workflow", "stages", "codes", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong(workflow: Workflow, stages: dict[str, StageSpec] | None, codes: list[str], says: str) -> None:
    found = refused(workflow, stages)
    assert sorted(code for code, _ in found) == sorted(codes), found
    assert any(says in text for _, text in found), found


def test_everything_is_said_at_once() -> None:
    wrong = flow(READER, step("x", "y/output", "z.lock"), step("ai", "reader/output"), results="q/output")
    codes = {code for code, _ in refused(wrong, specs("reader", "ai"))}
    assert codes == {"unknown-stage", "unknown-folder", "unknown-lock", "missing-lock"}


def test_a_missing_lock_is_found_beside_a_cycle() -> None:
    wrong = flow(
        step("a", "a/input", "b.lock"), step("b", "b/input", "a.lock"), READER, step("ai", "reader/output"),
        step("c", "a/output", "b.lock"),
    )  # fmt: skip
    assert sorted(code for code, _ in refused(wrong)) == ["cycle", "missing-lock"]


def test_findings_point_into_the_file() -> None:
    text = f"""\
id: {ID}
name: w
stages: [reader, user-aj]
waitLocks: ["", raeder.lock]
ioFolders: [reader/input, reader/outptu, writer/output]
"""
    (workflow,), _ = load.workflows(text, "w.yaml")
    with pytest.raises(DefinitionError) as caught:
        Graph.of(workflow, specs("reader", "user-ai"))
    assert [(finding.where, finding.code) for finding in caught.value.findings] == [
        ("w.yaml:3:18", "unknown-stage"),
        ("w.yaml:4:17", "unknown-lock"),
        ("w.yaml:5:27", "unknown-folder"),
        ("w.yaml:5:42", "unknown-folder"),
    ]


def test_too_many_inputs_are_refused_before_they_multiply() -> None:
    many = [step(f"s{n}", [f"s{n}/input"]) for n in range(MAX_INPUTS + 1)]
    join = step("join", [f"{s.stage}/output" for s in many], [f"{s.stage}.lock" for s in many])
    assert ("too-many-inputs" in dict(refused(flow(*many, join)))) is True
    assert len(graph(flow(*many[:-1], step("join", join.reads[:-1], join.waits_for[:-1]))).node("join").inputs) == 256


def test_names_that_a_cluster_does_not_take_are_warned_of() -> None:
    workflow = flow(step("My_Stage", "My_Stage/input"), name="w" * 64)
    assert [finding.code for finding in graph(workflow).findings] == ["name-dns", "name-dns"]
    with pytest.raises(DefinitionError):
        graph(workflow, strict=True)


def test_an_id_that_is_no_uuid_is_warned_of() -> None:
    assert [finding.code for finding in graph(flow(READER, id="my-id")).findings] == ["id"]
    assert graph(flow(READER, id=ID.replace("-", "").upper())).findings == ()


def test_an_output_that_nobody_wants_is_noticed() -> None:
    steps = (READER, step("ai", "reader/output", "reader.lock"))
    (finding,) = graph(flow(*steps, results="reader/output"), strict=True).findings
    assert (finding.level, finding.code) == (Level.NOTICE, "unused")
    publishing = specs("reader") | specs("ai", publish=True)
    assert Graph.of(flow(*steps, results="reader/output"), publishing).findings == ()


def test_the_digest_changes_with_whatever_changes_what_runs() -> None:
    base = specs("reader", "ai", "writer")
    variants = [(CHAIN, base)]
    variants += [
        (CHAIN, base | specs("ai", **change))
        for change in (
            {"image": Image(repository="r")}, {"command": ("sh", "x")}, {"timeout": 5}, {"retries": 0}, {"study": True},
            {"publish": True}, {"env": {"A": "b"}}, {"models": ("m",)}, {"lock_name": "x.lock"}, {"app_dir": "/x"},
        )
    ]  # fmt: skip
    variants += [
        (dataclasses.replace(CHAIN, name="other"), base),
        (dataclasses.replace(CHAIN, id=ID.replace("7", "8")), base),
        (dataclasses.replace(CHAIN, results=("writer/output", "ai/output")), base),
        (flow(*CHAIN.steps[:2], step("writer", "ai/output", "ai.lock", "-x")), base),
        (flow(*CHAIN.steps[:2], step("writer", "ai/output", "ai.lock reader.lock")), base),
        (flow(*CHAIN.steps[:2], step("writer", "ai/output reader/output", "ai.lock")), base),
    ]
    digests = [Graph.of(workflow, stages).digest for workflow, stages in variants]
    assert len(set(digests)) == len(digests) and all(len(digest) == 64 for digest in digests)


def test_the_digest_does_not_change_with_places_and_spellings() -> None:
    from pathlib import Path

    moved = specs("reader", "ai", "writer", folder=Path("/elsewhere"), takes=("dicom",), gives=("volume",))
    text = f"""\
id: {ID}
name: w
stages:
  - name: reader
  - {{name: ai, input: ./reader/output/, wait: reader.lock}}
  - {{name: writer, input: ai/output, wait: ai.lock}}
"""
    (workflow,), _ = load.workflows(text)
    described = dataclasses.replace(workflow, description="of what it does")
    assert Graph.of(described, moved).digest == graph(CHAIN).digest


@st.composite
def flows(draw: st.DrawFn) -> Workflow:
    """Right workflows: every stage reads and waits for some stages drawn before it; the file's order is shuffled."""
    count = draw(st.integers(1, 9))
    steps = []
    for n in range(count):
        before = draw(st.lists(st.integers(0, n - 1), max_size=3, unique=True)) if n else []
        waits = before + (draw(st.lists(st.integers(0, n - 1), max_size=2, unique=True)) if n else [])
        reads = [f"s{b}/output" for b in before] or [f"s{n}/input"]
        steps.append(step(f"s{n}", reads, [f"s{w}.lock" for w in waits]))
    return flow(*draw(st.permutations(steps)), results=f"s{count - 1}/output")


@settings(deadline=None)
@given(flows())
def test_a_right_workflow_gives_an_order_in_which_it_can_run(workflow: Workflow) -> None:
    found = graph(workflow)
    done: set[str] = {PAYLOAD}
    for node in found.nodes:
        assert done.issuperset(node.inputs) and done.issuperset(node.waits_for)
        done.add(node.name)
    assert len(done) == len(workflow.steps) + 1
    assert graph(workflow) == found
    for text in (picture.as_text(found), picture.as_mermaid(found), picture.as_dot(found)):
        assert all(node.name in text for node in found.nodes)


def reaches(waits: dict[str, tuple[str, ...]], start: str) -> set[str]:
    """All that `start` waits for, by walking: the slow way to know it."""
    seen: set[str] = set()
    todo = list(waits[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += waits[name]
    return seen


SOME = st.lists(st.integers(0, 5), max_size=2)


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(st.tuples(SOME, SOME), min_size=6, max_size=6))
def test_cycles_and_missing_locks_are_found_exactly(rows: list[tuple[list[int], list[int]]]) -> None:
    stages = [f"s{n}" for n in range(6)]
    steps = [
        step(name, [f"s{r}/output" for r in reads] or [f"{name}/input"], [f"s{w}.lock" for w in waits])
        for name, (reads, waits) in zip(stages, rows, strict=True)
    ]
    waits = {name: tuple(f"s{w}" for w in row[1]) for name, row in zip(stages, rows, strict=True)}
    needs = {name: (*waits[name], *(f"s{r}" for r in row[0])) for name, row in zip(stages, rows, strict=True)}
    cyclic = any(name in reaches(needs, name) for name in stages)
    missing = {
        (name, f"s{r}")
        for name, (reads, _) in zip(stages, rows, strict=True)
        for r in reads
        if f"s{r}" not in reaches(waits, name)
    }
    workflow = flow(*steps)
    if not cyclic and not missing:
        graph(workflow)
        return
    codes = [code for code, _ in refused(workflow)]
    assert ("cycle" in codes) == cyclic
    if not cyclic:
        assert len(codes) == len(missing) and set(codes) == {"missing-lock"}


@pytest.mark.parametrize("far", [False, True], ids=["chain", "everybody reads the first"])
def test_ten_thousand_stages(far: bool) -> None:
    stages = [f"s{n}" for n in range(MAX_STEPS)]
    steps = [step("s0", "s0/input")]
    steps += [step(b, f"{'s0' if far else a}/output", f"{a}.lock") for a, b in itertools.pairwise(stages)]
    found = graph(flow(*steps))
    assert [node.name for node in found.nodes] == stages
    assert len(picture.as_text(found).splitlines()) == MAX_STEPS + (2 if far else 1)


# pictures

DIAMOND = flow(
    READER,
    step("liver", "reader/output", "reader.lock", "--organ", "liver"),
    step("spleen", "reader/output", "reader.lock liver.lock"),
    step("writer", "liver/output spleen/output", "liver.lock spleen.lock"),
)


def test_a_tree_for_people() -> None:
    assert picture.as_text(graph(DIAMOND)).splitlines() == [
        f"w  {ID}",
        "payload",
        "└─ reader",
        "   ├─ liver  [--organ liver]",
        "   │  └─ (↓ writer)",
        "   └─ spleen  after liver",
        "      └─ writer  → result",
    ]
    assert picture.as_text(graph(DIAMOND), ascii_only=True).isascii()


def test_a_description_stands_below_the_title_wrapped_and_steers_no_terminal() -> None:
    described = dataclasses.replace(CHAIN, description="A \x1b[2J word, " * 20 + "\n\nend ü")
    lines = picture.as_text(graph(described)).splitlines()
    stop = lines.index("payload")
    assert lines[stop - 2 : stop] == ["", "  end ü"] and all(line.startswith("  A") or not line for line in lines[1:2])
    assert stop > 5 and max(map(len, lines)) <= picture.WIDTH and "\x1b" not in "".join(lines)
    assert picture.as_text(graph(described), ascii_only=True).isascii()
    assert picture.as_json(graph(described))["description"] == described.description


@given(st.text())
def test_no_description_steers_a_terminal_or_leaves_its_margin(text: str) -> None:
    for line in picture.described(text):
        assert line.isprintable() and len(line) <= picture.WIDTH and line[:2] in ("", "  ")


def test_mermaid_and_dot() -> None:
    lines = set(map(str.strip, picture.as_mermaid(graph(DIAMOND)).splitlines()))
    assert {'s1["reader"]', "payload --> s1", "s1 --> s2", "s2 -.-> s3", "s3 --> s4", "s4 --> result"} <= lines
    lines = set(map(str.strip, picture.as_dot(graph(DIAMOND)).splitlines()))
    assert {'s1 [label="reader"];', "payload -> s1;", "s2 -> s3 [style=dashed];", "s4 -> result;"} <= lines


def test_json_of_a_graph() -> None:
    value = picture.as_json(graph(DIAMOND))
    stages = value["stages"]
    assert isinstance(stages, list)
    shown: Iterable[tuple[object, ...]] = ((s["name"], s["payload"], s["inputs"], s["waitsFor"]) for s in stages)
    assert list(shown) == [
        ("reader", True, [], []),
        ("liver", False, ["reader"], ["reader"]),
        ("spleen", False, ["reader"], ["reader", "liver"]),
        ("writer", False, ["liver", "spleen"], ["liver", "spleen"]),
    ]
    assert (value["digest"], value["results"]) == (graph(DIAMOND).digest, ["writer"])
