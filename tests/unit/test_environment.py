"""The variables of a stage against the table of docs/old-operators.md, as a process and in a container."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest
from support import ROOT
from unit.runners import graphs

from clara_argo.compile import container
from clara_argo.environment import Folders, filled, names, variables
from clara_argo.graph import PAYLOAD, Node
from clara_argo.model.workflow import StageSpec
from clara_driver import contract

ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)
TABLE = {name: (value, when) for name, value, when in ROW.findall((ROOT / "docs/old-operators.md").read_text())}
FACTS = {contract.JOB: graphs.JOB, contract.TRITON_URL: "triton.clara:9001"}
HTTP = "triton.clara:8000"


def node(*inputs: str, **values: Any) -> Node:
    spec = StageSpec(**{"name": "seg", "publish": True, "models": ("organs",), "mount_in": "ct", **values})
    return graphs.node(spec, *inputs)


def process(node: Node) -> Folders[PurePath]:
    """As the local runner lays them out."""
    work = Path("/jobs/1/seg/attempt")
    several = {read.name: work / "input" / read.name for read in node.reads} if len(node.reads) > 1 else {}
    return Folders(
        input=work / "input", inputs=several, output=work / "output", locks=work / "locks", logs=work / "logs",
        work=work / "work", temporary=work / "tmp", progress=work / "progress", publish=work / "publish",
        models=Path("/models"), application=Path("/stages/seg"),
    )  # fmt: skip


def found(node: Node, where: str, **facts: str) -> tuple[dict[str, str], Folders[Any]]:
    folders: Folders[Any] = process(node) if where == "process" else container.folders(node)
    return variables(node.spec, folders, {**FACTS, **facts}), folders


@pytest.mark.parametrize("where", ["process", "container"])
def test_the_table_is_what_a_stage_gets(where: str) -> None:
    env, folders = found(node(), where)
    expected = {
        "NVIDIA_CLARA_INPUTPATHS": f"ct:{folders.input}",
        "NVIDIA_CLARA_OUTPUTPATHS": f"output:{folders.output}",
        "NVIDIA_CLARA_NOSYNCLOCK": "1",
        "NVIDIA_TRITON_HTTPURI": HTTP,
        "NVIDIA_CLARA_TRTISURI": HTTP,
        "CLARA_TRITON_URI": HTTP,
        "MONAI_WORKDIR": str(folders.work),
        "HOLOSCAN_WORKDIR": str(folders.work),
        "MONAI_APPLICATION": str(folders.application),
        "HOLOSCAN_APPLICATION": str(folders.application),
    }
    for name, (value, _) in TABLE.items():
        same = re.match(r"`(CLARA_\w+)`", value)
        assert env[name] == (env[same[1]] if same else expected[name]), name
    ours = {value for name, value in vars(contract).items() if name.isupper() and str(value).startswith("CLARA_")}
    assert set(env) - ours == set(TABLE), "the table names every variable, and no other"


@pytest.mark.parametrize("where", ["process", "container"])
def test_what_a_stage_does_not_ask_for_is_not_set(where: str) -> None:
    one = node(publish=False, models=())
    folders: Any = container.folders(one)
    if where == "process":
        folders = replace(process(one), publish=None, models=None)
    env = variables(one.spec, folders, {contract.JOB: graphs.JOB})
    always = {name for name, (_, when) in TABLE.items() if when == "always"}
    assert always <= set(env)
    assert not (set(TABLE) - always) & set(env)


@pytest.mark.parametrize("where", ["process", "container"])
def test_several_inputs_are_entries_in_their_order(where: str) -> None:
    env, folders = found(node("liver", PAYLOAD), where)
    entries = [entry.split(":") for entry in env["NVIDIA_CLARA_INPUTPATHS"].split(";")]
    assert [name for name, _ in entries] == ["liver", "payload"]
    assert [path for _, path in entries] == [str(path) for path in folders.inputs.values()]


def test_places_of_its_own() -> None:
    own = node("liver", PAYLOAD, input_paths=("/input", "/dcm"), output_paths={"": "/output", "seg": "/output/seg"})
    reads = [read._replace(path=path) for read, path in zip(own.reads, own.spec.input_paths, strict=True)]
    env, _ = found(replace(own, reads=tuple(reads)), "container")
    assert env["NVIDIA_CLARA_INPUTPATHS"] == "liver:/input;payload:/dcm"
    assert (env["NVIDIA_CLARA_INPUT"], env["NVIDIA_CLARA_OUTPUT"]) == ("/input", "/output")
    assert env["NVIDIA_CLARA_OUTPUTPATHS"] == "output:/output;seg:/output/seg"


@pytest.mark.parametrize("address", ["triton", "", ":8001"])
def test_an_address_that_is_none_gives_no_server(address: str) -> None:
    env, _ = found(node(), "process", **{contract.TRITON_URL: address})
    assert not {"NVIDIA_CLARA_TRTISURI", "NVIDIA_TRITON_GRPCURI"} & set(env)


def test_a_server_of_ones_own_has_the_old_names_too() -> None:
    one = node(env={contract.TRITON_URL: "ai.example:18001"})
    env = variables(one.spec, container.folders(one), {contract.JOB: graphs.JOB})
    assert (env[contract.TRITON_URL], env["NVIDIA_TRITON_GRPCURI"]) == ("ai.example:18001", "ai.example:18001")
    assert env["NVIDIA_CLARA_TRTISURI"].split(":") == ["ai.example", "8000"]


def test_a_stages_own_values_go_before_the_old_names_but_not_before_the_contract() -> None:
    own = {"NVIDIA_CLARA_TRTISURI": "mine:8000", "NVIDIA_CLARA_NII_EXTENSION": ".nii.gz", "CLARA_TRACE": "2"}
    env, _ = found(node(env={**own, "CLARA_JOB": "lie"}), "process")
    assert {name: env[name] for name in own} == own
    assert env["CLARA_JOB"] == graphs.JOB


@pytest.mark.parametrize("where", ["process", "container"])
def test_variables_of_ours_in_those_of_a_stage(where: str) -> None:
    env, folders = found(node(env={"A": "${{CLARA_OUTPUT}}/${{JOB_ID}}", "B": "${{A}} $(HOME) ${{ JOB_ID }}"}), where)
    assert env["A"] == f"{folders.output}/{graphs.JOB}"
    assert env["B"] == "${{A}} $(HOME) ${{ JOB_ID }}"  # its own are not put in, nor what is written otherwise
    assert filled("${{A}}${{NVIDIA_CLARA_OUTPUT}}", env) == f"{env['A']}{folders.output}"


def test_names_are_those_of_the_contract_and_the_table() -> None:
    assert names() >= {*TABLE} - {"HOME", "PATH"}
    assert names() >= {contract.JOB, contract.STUDY, contract.TRITON_URL, contract.INPUTS} and "1" not in names()
