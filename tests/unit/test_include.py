"""`include` of the adapter's configuration: what further files add, and what no file may do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara_argo.errors import DefinitionError
from clara_argo.formats import adapter

OURS = """\
ae-title: CT_AI
spool: spool
include: [routes/*/route.yaml]
destinations: [{name: PACS, ae-title: DCM4CHEE, host: 10.0.0.9, port: 104}]
"""
ROUTE = """\
sources: [{name: MR1, ae-title: MR1, host: 10.0.0.6}]
destinations: [{name: PACS, ae-title: DCM4CHEE, host: 10.0.0.9, port: 104}]
routes: [{name: mr, called: MR_AI, sources: [MR1], workflows: [brain], destinations: [PACS]}]
"""


def lay(folder: Path, ours: str = OURS, **routes: str) -> Path:
    for name, text in routes.items():
        (folder / "routes" / name).mkdir(parents=True)
        (folder / "routes" / name / "route.yaml").write_text(text)
    (folder / "adapter.yaml").write_text(ours)
    return folder / "adapter.yaml"


def refused(path: Path) -> str:
    with pytest.raises(DefinitionError) as found:
        adapter.load(path)
    return str(found.value)


def test_routes_of_other_files_are_read_as_if_they_stood_there(tmp_path: Path) -> None:
    other = (
        ROUTE.replace("mr,", "mr2,").replace("MR1", "MR2").replace("10.0.0.6", "10.0.0.7").replace("MR_AI", "MR2_AI")
    )
    configuration, findings = adapter.load(lay(tmp_path, a=ROUTE, b=other))
    assert not findings
    assert [route.name for route in configuration.routes] == ["mr", "mr2"]
    assert [route.file for route in configuration.routes] == [
        str(tmp_path / "routes" / name / "route.yaml") for name in "ab"
    ]
    assert [one.name for one in configuration.sources] == ["MR1", "MR2"]
    assert [one.name for one in configuration.destinations] == ["PACS"]  # said three times, and the same each time


def test_nothing_to_include_is_no_mistake(tmp_path: Path) -> None:
    route = "routes: [{name: ct, sources: [], workflows: [], destinations: []}]\n"
    configuration, _ = adapter.load(lay(tmp_path, OURS + route))
    assert [(route.name, route.file) for route in configuration.routes] == [("ct", "")]


def test_a_mistake_is_said_with_its_own_file(tmp_path: Path) -> None:
    said = refused(lay(tmp_path, a=ROUTE.replace("sources: [MR1]", "sources: [MR7]")))
    assert f"{tmp_path}/routes/a/route.yaml:3:46: error: route 'mr' names the unknown source 'MR7'" in said


def test_two_meanings_of_one_name_are_refused(tmp_path: Path) -> None:
    said = refused(lay(tmp_path, a=ROUTE.replace("port: 104", "port: 105")))
    assert "there are two destinations named 'PACS'" in said


@pytest.mark.parametrize(
    "pattern", ["/etc/*.yaml", "../*.yaml", "a/../../x.yaml", "**/x.yaml", "a b/x.yaml", "here/not.yaml"]
)
def test_only_what_lies_below_the_folder(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "outside.yaml").write_text(ROUTE)
    folder = tmp_path / "in"
    folder.mkdir()
    said = refused(lay(folder, OURS.replace("routes/*/route.yaml", f"'{pattern}'")))
    assert f"{folder}/adapter.yaml:3:" in said and "[include]" in said


def test_no_link_leads_out(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "route.yaml").write_text(ROUTE)
    path = lay(tmp_path / "in", a=ROUTE)
    (tmp_path / "in" / "routes" / "b").symlink_to(tmp_path / "outside")
    assert "leads out of the configuration's folder" in refused(path)


def test_links_of_a_mounted_volume_are_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: what is seen are links into a folder with a date."""
    lay(tmp_path / "..2026", a=ROUTE)
    for name in ("adapter.yaml", "routes"):
        (tmp_path / name).symlink_to(Path("..2026", name))
    assert [route.name for route in adapter.load(tmp_path / "adapter.yaml")[0].routes] == ["mr"]


BROKEN = (
    "",
    "[]",
    "text",
    "routes: x",
    "routes: [1]",
    "a: b",
    "sources: {a: b}",
    "---\n---\n",
    "x: [",
    "\x00",
    "é: \ud7ff",
)


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    assert "route.yaml" in refused(lay(tmp_path, a=text)) or "no routes" in refused(tmp_path / "adapter.yaml")


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_nothing_else_than_our_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = lay(tmp_path_factory.mktemp("any"), a="")
    (path.parent / "routes" / "a" / "route.yaml").write_bytes(data)
    try:
        adapter.load(path)
    except DefinitionError as error:
        assert error.findings


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = lay(tmp_path, a="")
    with open(path.parent / "routes" / "a" / "route.yaml", "wb") as file:
        os.truncate(file.fileno(), 2 << 20)
    assert "larger than 1 MiB" in refused(path)


def test_a_text_without_a_folder_includes_nothing() -> None:
    text = OURS + "routes: [{name: ct, sources: [], workflows: [], destinations: []}]\n"
    assert "include" in [one.code for one in adapter.read(text)[1]]
