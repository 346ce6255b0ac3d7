"""docs/dialects.md is what the readers' tables say, and the tables are what the readers do.

CLARA_REGENERATE=1 rewrites the page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from clara_argo.errors import DefinitionError
from clara_argo.formats import (
    adapter_json,
    adapter_parts,
    clara_wf,
    clara_wf_keys,
    dicom_server,
    load,
    operators,
    peers,
)
from clara_argo.formats.fields import Fields
from clara_argo.formats.keys import Fate, Key, markdown
from clara_argo.source import Findings, List, Map, Node, Text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dialects.md"
HEAD = """\
# Keys of the dialects

What becomes of every key of the files that are read beside [our own](workflow-files.md). Made from the tables of the
readers; a test keeps it so. `[]` stands for the entries of a list, `*` for a name of your own. `clara migrate --check`
says it for the keys of your files, with line and column; see [moving an old installation](migrate.md).

| fate | means |
|---|---|
| mapped | it becomes a value of ours |
| repaired | as mapped, after a repair of what was printed and is no YAML or JSON: R1 to R7, a warning each time |
| kept | it does nothing here, and stays in the file that is written, as a comment |
| unused | it is understood and not followed, or not known; a notice or a warning says so |
| refused | an error, because the result would be another one without it |

A key that is in no table is a warning that names the nearest known one. In a workflow, a stage, an operator or an
adapter it is kept; elsewhere it is left out. Values that look like passwords are left out of comments. With `--strict`
warnings and repairs are errors. A file with more than 1000 such keys is refused.
"""
EARLY = """\
Told by `##BEGIN_x##`, by a line that is only an id, or by mappings below `stages:` or `workflows:`. Keys compare as
they are written."""
PIPELINE = """\
Told by `api-version` and `operators`. Keys compare as they are written. `clara run`, `compile` and `lint` take them
directly."""
SERVER = """\
Told by `dicom`, `ae-titles`, `pipeline-mappings`, or entries with `clara-ae-title`. Keys compare without `-`, `_` and
case; sections may be left out. No whole file of that time survives: the keys of entries are those of the article and of
the later JSON."""
APPSETTINGS = "Told by `DicomAdapter`. Keys compare without `-`, `_` and case."
PARTS = """\
What `kubectl get claraaetitles,sources,destinations -o yaml` prints, and the JSON that the adapter answers on
`/api/config/claraaetitle`, `/sourceaetitle` and `/destinationaetitle`. Read by `clara migrate` only."""
DIALECTS: tuple[tuple[str, str, Sequence[Key]], ...] = (
    ("Early access: values.yaml", EARLY, clara_wf_keys.TABLE),
    ("Pipelines of operators, 0.2 to 0.7", PIPELINE, operators.TABLE),
    ("The adapter's YAML: dicom-server-config.yaml", SERVER, dicom_server.TABLE),
    ("The adapter's JSON, 0.7 and 0.8: appsettings.json", APPSETTINGS, adapter_json.TABLE),
    ("Objects of a cluster, and answers of the adapter", PARTS, adapter_parts.TABLE),
)


def page() -> str:
    parts = [f"\n## {title}\n\n{text}\n\n{markdown(table)}" for title, text, table in DIALECTS]
    return HEAD + "".join(parts)


def test_the_page_is_what_the_tables_say() -> None:
    if os.environ.get("CLARA_REGENERATE"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "run the test with CLARA_REGENERATE=1"


def file_of(table: Sequence[Key]) -> Node:
    """A file with every key of a table."""
    return _node([tuple(key.path.split(".")) for key in table if not key.path.startswith("(")])


def _node(paths: Collection[tuple[str, ...]]) -> Node:
    inner = [path for path in paths if path]
    if not inner:
        return Text("true", "f", 1, 1)
    pairs: list[tuple[Text, Node]] = []
    for word in dict.fromkeys(path[0].removesuffix("[]") for path in inner):
        below = [path for path in inner if path[0].removesuffix("[]") == word]
        node = _node([path[1:] for path in below])
        if any(path[0].endswith("[]") for path in below):
            node = List([node], "f", 1, 1)
        pairs.append((Text(word.replace("*", "x"), "f", 1, 1), node))
    return Map(pairs, "f", 1, 1)


def as_text(node: Node, indent: str = "") -> str:
    """As YAML; the early reader cuts lines."""
    if isinstance(node, List):
        return "[" + ", ".join(as_text(item, "") for item in node) + "]"
    if isinstance(node, Map):
        return "{" + ", ".join(f'"{key}": {as_text(node[key])}' for key in node) + "}"
    return f'"{node}"'


def early(findings: Findings) -> None:
    """Workflows by their ids."""
    table = [key for key in clara_wf_keys.TABLE if key.path != "workflows.*.id"]
    clara_wf.read(as_text(file_of(table)), findings)


def listed(findings: Findings) -> None:
    """Workflows as a list, where the id is a key."""
    node = file_of([key for key in clara_wf_keys.TABLE if key.path.startswith("workflows.")])
    assert isinstance(node, Map) and isinstance(node["workflows"], Map)
    clara_wf.read(f"stages: {{}}\nworkflows: [{as_text(node['workflows']['x'])}]", findings)


def pipeline(findings: Findings) -> None:
    node = file_of(operators.TABLE)
    assert isinstance(node, Map)
    operators.read(node, findings)


def early_adapter(findings: Findings) -> None:
    dicom_server.read(file_of(dicom_server.TABLE), findings)


def json_adapter(findings: Findings) -> None:
    table = [key for key in adapter_json.TABLE if key.path != adapter_json.MONAI]
    adapter_json.read(file_of(table), findings)


def objects(findings: Findings) -> None:
    node = file_of(adapter_parts.TABLE)
    text = as_text(node).replace('"apiVersion": "true"', '"apiVersion": "dicom.clara.nvidia.com/v1"')
    from clara_argo.source import documents

    adapter_parts.entries(documents(text.replace('"kind": "true"', '"kind": "Source"'), "f"), findings)


READERS: dict[str, tuple[Sequence[Key], Callable[[Findings], None]]] = {
    "early": (clara_wf_keys.TABLE, early),
    "listed": (clara_wf_keys.TABLE, listed),
    "pipeline": (operators.TABLE, pipeline),
    "early-adapter": (dicom_server.TABLE, early_adapter),
    "json-adapter": (adapter_json.TABLE, json_adapter),
    "objects": (adapter_parts.TABLE, objects),
}


def names(table: Sequence[Key]) -> set[str]:
    """Every word of every path, as keys compare."""
    return {peers.plain(word.removesuffix("[]")) for key in table for word in key.path.split(".")}


@pytest.mark.parametrize("name", READERS)
def test_a_table_has_the_keys_that_its_reader_knows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table, read = READERS[name]
    asked: set[str] = set()
    plainly = Fields.unknown

    def unknown(self: Fields, known: Collection[str]) -> dict[str, str]:
        asked.update(known)
        return plainly(self, known)

    monkeypatch.setattr(Fields, "unknown", unknown)
    findings = Findings("f")
    try:
        read(findings)
    except DefinitionError as error:
        findings.extend(error.findings)
    assert [str(finding) for finding in findings.all if finding.code == "unknown-key"] == []
    assert asked and {key for key in asked if peers.plain(key) not in names(table)} == set()


@pytest.mark.parametrize("name", READERS)
def test_no_key_stands_twice_in_a_table(name: str) -> None:
    paths = [key.path for key in READERS[name][0]]
    assert len(paths) == len(set(paths)) and all(key.becomes for key in READERS[name][0])


@pytest.mark.parametrize("name", ["early-adapter", "json-adapter"])
def test_what_is_not_followed_is_said(name: str) -> None:
    table, read = READERS[name]
    findings = Findings("f")
    try:
        read(findings)
    except DefinitionError as error:
        findings.extend(error.findings)
    said = {peers.plain(word) for finding in findings.all for word in re.findall(r"'([^' ]+)'", finding.message)}
    unused = {peers.plain(key.path.rpartition(".")[2].removesuffix("[]")) for key in table if key.fate is Fate.UNUSED}
    assert unused - said == set()


def test_what_the_tables_refuse_is_an_error() -> None:
    refused = {key.path for _, _, table in DIALECTS for key in table if key.fate is Fate.REFUSED}
    assert {"dicom.scp.ae-titles[].ignored-sop-classes[]", "InformaticsGateway"} <= refused
    with pytest.raises(DefinitionError):
        load.workflows('{"InformaticsGateway": {}}')
