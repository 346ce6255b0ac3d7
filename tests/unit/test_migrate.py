"""`clara migrate`: what is written means what was read, is written whole or not at all, and every key has a fate."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from clara_argo import project
from clara_argo.cli import main
from clara_argo.errors import DefinitionError, Level, NotFound, TryAgain, UsageError
from clara_argo.formats import adapter, native, stage
from clara_argo.formats.keys import Fate
from clara_argo.graph import Graph
from clara_argo.migrate import Migration, migrate, rows, written
from clara_argo.migrate.text import as_yaml, kept
from clara_argo.model.route import Configuration, Destination, Route, Settle, Source
from clara_argo.model.workflow import Image, Resources, StageSpec, Step, Workflow
from clara_argo.source import Findings, documents, parse

ID = "7b413e24-d018-4689-8c41-73272f6649d4"
VALUES = f"""\
stages:
    ##BEGIN_ai-vnet##
        ai-vnet:
            image:
                repository: ai-vnet
                tag: 20.10
        stageName: "ai-vnet"
        timeout: "0300"
        colour: {{a: [1, b]}}
        lockName: "vnet.lock"
    ##END_ai-vnet##
workflows:
 {ID}
 name: "user-workflow"
 stages: ["dicom-reader", "ai-vnet", "dicom-writer"]
 waitLocks: ["", "dicom-reader.lock", ""]
 ioFolders: ["dicom-reader/input", "dicom-reader/output", "ai-vnet/output", "dicom-writer/output"]
 args: ["", "--x 'a b'", ""]
"""
SERVER = f"""\
host: 0.0.0.0
port: 11112
ae-titles: [CT_AI]
sources: [{{ae-title: DCM4CHEE, host-ip: 10.0.0.9}}]
destinations: [{{name: DCM4CHEE, ae-title: DCM4CHEE, host-ip: 10.0.0.9, port: 11112}}]
workflows:
name: user-workflow
     clara-ae-title: CT_AI
     destination-name: DCM4CHEE
     workflow: {ID}
"""
APPSETTINGS = """\
{"DicomAdapter": {"dicom": {"scp": {"port": 11112, "sources": [{"aeTitle": "CT1", "hostIp": "10.0.0.5"}]}},},
 "host": "0.0.0.0"}
"""
DUMP = """\
apiVersion: v1
kind: List
items:
- apiVersion: dicom.clara.nvidia.com/v1beta2
  kind: ClaraAeTitle
  metadata: {name: user-workflow, uid: 1-2}
  spec:
    aeTitle: CT_AI
    processorSettings: {timeout: "5", pipeline-ct: 0123456789abcdef0123456789abcdef}
  status: {enabled: true}
- apiVersion: dicom.clara.nvidia.com/v1beta2
  kind: Destination
  metadata: {name: pacs}
  spec: {aeTitle: DCM4CHEE, hostIp: 10.0.0.9, port: 11112}
- apiVersion: dicom.clara.nvidia.com/v1beta2
  kind: Source
  metadata: {name: old}
  spec: {aeTitle: OLD, hostIp: 10.0.0.6}
  status: {enabled: false}
"""

PIPELINE = """\
api-version: 0.4.0
name: liver-pipeline
colour: red
pull-secrets: [ngc]
parameters: {THRESHOLD: ""}
operators:
- name: dicom-reader
  description: reads
  container: {image: nvcr.io/nvidia/clara/dicom-reader, tag: "0.7.3"}
  input: [{path: /input}]
  output: [{path: /output}]
- name: liver-ai
  size: big
  container:
    image: reg/liver
    tag: 1_0
    command: [python3, main.py, "${{THRESHOLD}}", "${{JOB_ID}}"]
    variables: {A: b}
  requests: {gpu: 1, memory: 512}
  input: [{from: dicom-reader, path: /input}]
  output: [{path: /output/seg, name: seg}, {path: /output/log, name: log}]
- name: writer
  container: {image: reg/writer, tag: "1", shade: dark}
  input: [{from: liver-ai, name: seg, path: /seg}, {path: /dcm}]
  output: [{path: /output}]
- name: register
  container:
    image: clara/register-results
    tag: x
    command: [register.py, --agent, ClaraSCU, --data, '["PACS2", "X"]']
  input: [{from: writer, path: /input}]
"""


def lay(folder: Path, **texts: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / name.replace("__", ".") for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_early_access_becomes_a_project_that_means_the_same(tmp_path: Path) -> None:
    paths = lay(tmp_path / "old", values__yaml=VALUES, server__yaml=SERVER)
    made = migrate(paths)
    made.write(tmp_path / "new")
    assert set(content(tmp_path / "new")) == {
        "clara.yaml", "workflow.yaml", "adapter.yaml", "stages/ai-vnet/stage.yaml",
    }  # fmt: skip
    assert strict(tmp_path / "new", "workflow.yaml").digest == project.graph(paths[0]).digest
    text = made.texts["stages/ai-vnet/stage.yaml"]
    assert text.endswith('nothing follows it:\n# "colour": {"a": ["1", "b"]}\n')
    read = adapter.read((tmp_path / "new" / "adapter.yaml").read_text())[0]
    assert read == adapter.read(SERVER)[0]


def strict(folder: Path, name: str) -> Graph:
    """What `clara lint --strict` says nothing about."""
    return project.graph(folder / name, strict=True)


def test_twice_is_once(tmp_path: Path) -> None:
    migrate(lay(tmp_path / "old", values__yaml=VALUES, server__yaml=SERVER)).write(tmp_path / "new")
    again = migrate(sorted((tmp_path / "new").glob("*.yaml")))  # its marker, too
    again.write(tmp_path / "again")
    assert content(tmp_path / "again") == content(tmp_path / "new")
    assert {row.fate for row in again.rows} == {Fate.KEPT}


def row(made: Migration, key: str) -> tuple[str, Fate, str]:
    (found,) = (row for row in made.rows if row.key == key)
    return found.where.rpartition("/")[2], found.fate, found.repair


def test_every_key_has_a_place_and_a_fate(tmp_path: Path) -> None:
    made = migrate(lay(tmp_path, values__yaml=VALUES, server__yaml=SERVER.replace("port: 1", "prot: x\nport: 1", 1)))
    assert row(made, "stages.*.stageName") == ("values.yaml:7:9", Fate.REPAIRED, "R1")
    assert row(made, "stages.*.timeout") == ("values.yaml:8:9", Fate.MAPPED, "")
    assert row(made, "stages.*.colour") == ("values.yaml:9:9", Fate.KEPT, "")
    assert row(made, "workflows.*") == ("values.yaml:13:2", Fate.REPAIRED, "R2")
    assert row(made, "workflows.*.waitLocks[]") == ("values.yaml:16:2", Fate.MAPPED, "")
    assert row(made, "workflows.*.ioFolders[]") == ("values.yaml:17:2", Fate.REPAIRED, "R7")
    assert row(made, "prot") == ("server.yaml:2:1", Fate.KEPT, "")
    assert row(made, "workflows[].name") == ("server.yaml:8:1", Fate.REPAIRED, "R3")
    assert row(made, "dicom.scp.sources[].host-ip") == ("server.yaml:5:32", Fate.MAPPED, "")


def test_what_nobody_knows_of_an_adapter_stays_in_comments(tmp_path: Path) -> None:
    odd = 'prot: "a\\nport: 1"\n"x\\nhost: y": {deep: [1]}\nport: 1'
    made = migrate(lay(tmp_path, server__yaml=SERVER.replace("port: 1", odd, 1)))
    text = made.texts["adapter.yaml"]
    assert text.endswith('# "prot": "a\\nport: 1"\n# "x\\nhost: y": {"deep": ["1"]}\n')
    assert adapter.read(text)[0] == adapter.read(SERVER)[0]


@pytest.mark.parametrize(("spool", "new"), [("../../spool", "spool"), ("/var/spool", "/var/spool"), ("spool", "spool")])
def test_a_spool_does_not_move_with_the_file(tmp_path: Path, spool: str, new: str) -> None:
    made = migrate(lay(tmp_path, server__yaml=f"spool: {spool}\n{SERVER}"))
    assert adapter.read(made.texts["adapter.yaml"])[0].spool == new
    assert any(finding.code == "spool" for finding in made.findings) is (spool != new)


def test_a_wrong_value_is_said_of_its_key(tmp_path: Path) -> None:
    made = migrate(lay(tmp_path, server__yaml=SERVER.replace("port: 11112", "port: x", 1)))
    assert row(made, "dicom.scp.port") == ("server.yaml:2:1", Fate.REFUSED, "") and made.failed and not made.texts


def test_json_and_what_kubectl_printed_are_one_adapter(tmp_path: Path) -> None:
    dump = DUMP.replace("  status: {enabled: true}", "  status: {enabled: true}\n  stray: 1")
    made = migrate(lay(tmp_path, appsettings__json=APPSETTINGS, values__yaml=VALUES, dump__yaml=dump))
    assert not made.failed
    (route,) = adapter.read(made.texts["adapter.yaml"])[0].routes
    assert (route.name, route.called, route.sources) == ("user-workflow", "CT_AI", ("CT1",))
    assert route.workflows == ("user-workflow",)  # the platform's id is nobody's; the name is
    assert route.destinations == ("pacs",)
    codes = {finding.code for finding in made.findings}
    assert {"R6", "disabled", "unknown-workflow"} <= codes
    assert row(made, "items[].stray")[1] is Fate.KEPT and made.texts["adapter.yaml"].endswith('# "stray": "1"\n')
    assert row(made, "items[].metadata.name") == ("dump.yaml:6:14", Fate.MAPPED, "")
    assert row(made, "items[].spec") == ("dump.yaml:7:3", Fate.MAPPED, "")


def test_a_pipeline_of_operators_and_the_adapter_of_its_time(tmp_path: Path) -> None:
    title = (
        '"aeTitles": [{"name": "L", "aeTitle": "L", "processorSettings": {"pipeline-l": "liver-pipeline"}}], "sources"'
    )
    to = '{"name": "%s", "aeTitle": "%s", "hostIp": "10.0.0.9", "port": 104}'
    places = f'}}, "scu": {{"destinations": [{to % ("PACS1", "P1")}, {to % ("PACS2", "P2")}]}}}},}}'
    text = APPSETTINGS.replace('"sources"', title).replace("}},}", places)
    paths = lay(tmp_path, pipeline__yaml=PIPELINE, appsettings__json=text, values__yaml=VALUES)
    made = migrate(paths, values={"THRESHOLD": "0.5"})
    assert not made.failed and not made.copies  # the reader is the shipped one
    made.write(tmp_path / "new")
    old = project.graph(paths[0], values={"THRESHOLD": "0.5"})
    new = strict(tmp_path / "new", "workflows/liver-pipeline.yaml")
    for name in ("liver-ai", "writer"):
        assert new.node(name).spec == replace(old.node(name).spec, folder=new.node(name).spec.folder, extra=NOTHING)
        assert (new.node(name).reads, new.node(name).waits_for) == (old.node(name).reads, old.node(name).waits_for)
    assert (new.results, new.workflow.pull_secrets) == (old.results, ("ngc",))
    assert new.node("liver-ai").spec.command == ("python3", "main.py", "0.5", "${{JOB_ID}}")
    (route,) = adapter.read(made.texts["adapter.yaml"])[0].routes
    assert route.destinations == ("PACS2",)  # what register-results names, as far as there is such a destination
    assert {"unknown-destination", "left-out", "R4"} <= {finding.code for finding in made.findings}
    assert row(made, "colour")[1] is row(made, "operators[].size")[1] is Fate.KEPT
    assert row(made, "operators[].container.shade")[1:] == (Fate.UNUSED, "")
    assert row(made, "operators[].container.variables")[1:] == (Fate.REPAIRED, "R4")


SERVER_AT = {"CLARA_TRITON_URL": "host:8001"}
NOTHING: MappingProxyType[str, str] = MappingProxyType({})
GOLDEN = sorted((Path(__file__).parent / "operators").glob("*.yaml"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_migrated_pipeline_is_the_same_graph(tmp_path: Path, path: Path) -> None:
    values = SERVER_AT | ({"site-name": "x"} if "site-name" in path.read_text() else {})
    migrate([path], values=values).write(tmp_path / "new")
    old, new = project.graph(path, values=values), project.graph(tmp_path / "new" / "workflow.yaml")
    said = project.check(tmp_path / "new" / "workflow.yaml")
    assert {finding.code for finding in said if finding.level is not Level.NOTICE} <= {"name-dns"}
    for one, other in zip(old.nodes, new.nodes, strict=True):
        shipped = other.spec.folder is not None and not other.spec.folder.is_relative_to(tmp_path)
        known = replace(one.spec, timeout=other.spec.timeout) if shipped else one.spec
        assert replace(other.spec, folder=None) == replace(known, folder=None, extra=NOTHING)
        assert (other.reads, other.waits_for, other.step.args) == (one.reads, one.waits_for, one.step.args)
    assert (new.results, new.workflow.id) == (old.results, old.workflow.id)
    assert new.digest == old.digest or "dicom-reader" in path.read_text()
    migrate([tmp_path / "new" / "workflow.yaml"]).write(tmp_path / "again")
    assert content(tmp_path / "again") == content(tmp_path / "new")


def test_there_are_pipelines_of_every_version() -> None:
    assert len(GOLDEN) >= 6


def test_each_pipeline_sends_where_it_did(tmp_path: Path) -> None:
    """Two of one AE title with destinations of their own, and one whose destination is not there any more."""
    runs = '"pipeline-one": "1", "pipeline-other": "2", "pipeline-away": "3"'
    title = f'"aeTitles": [{{"name": "L", "aeTitle": "L", "processorSettings": {{{runs}}}}}], "sources"'
    to = '{"name": "%s", "aeTitle": "%s", "hostIp": "10.0.0.9", "port": 104}'
    places = f'}}, "scu": {{"destinations": [{to % ("A", "A")}, {to % ("B", "B")}]}}}},}}'
    text = APPSETTINGS.replace('"sources"', title).replace("}},}", places)
    steps = '- name: {0}\n  container: {{image: r/{0}, tag: "1"}}\n  input: [{{path: /i}}]\n  output: [{{path: /o}}]\n'
    register = PIPELINE[PIPELINE.index("- name: register") :].replace("from: writer", "from: {0}")
    paths = lay(tmp_path, a__json=text)
    for name, words in (("one", '"A"'), ("other", '"B"'), ("away", '"C"')):
        body = steps.format(f"s-{name}") + register.replace("{0}", f"s-{name}").replace('"PACS2", "X"', words)
        paths += lay(tmp_path, **{f"{name}__yaml": f"api-version: 0.4.0\nname: {name}\noperators:\n{body}"})
    made = migrate(paths)
    routes = adapter.read(made.texts["adapter.yaml"])[0].routes
    assert [(route.name, route.called, route.workflows, route.destinations) for route in routes] == [
        ("L", "L", ("one",), ("A",)), ("L-2", "L", ("other",), ("B",)), ("L-3", "L", ("away",), ()),
    ]  # fmt: skip
    (finding,) = (finding for finding in made.findings if finding.code == "unknown-destination")
    assert "'C'" in finding.message and finding.where.startswith(str(tmp_path / "away.yaml:2:"))


ONE = PIPELINE.replace("liver-ai", "liver-a").replace("THRESHOLD", "FIRST")
TWO = PIPELINE.replace("liver-pipeline", "other").replace("liver-ai", "liver-b").replace("THRESHOLD", "SECOND")


def test_pipelines_with_parameters_of_their_own(tmp_path: Path) -> None:
    paths = lay(tmp_path, one__yaml=ONE, two__yaml=TWO)
    made = migrate(paths, values={"FIRST": "1", "SECOND": "2"})
    assert not made.failed
    assert '- "1"' in made.texts["stages/liver-a/stage.yaml"].replace("'", '"')
    assert '- "2"' in made.texts["stages/liver-b/stage.yaml"].replace("'", '"')


def test_a_value_that_no_file_asks_for_is_an_error(tmp_path: Path) -> None:
    paths = lay(tmp_path, one__yaml=ONE, values__yaml=VALUES)
    for some in (paths, paths[1:]):
        made = migrate(some, values={"first": "1", "FRIST": "1"} if some is paths else {"FRIST": "1"})
        (finding,) = (finding for finding in made.findings if finding.code == "parameter")
        assert made.failed and "'FRIST'" in finding.message


def test_a_key_steers_no_terminal(tmp_path: Path) -> None:
    odd = APPSETTINGS.replace('"port"', '"\\u001b[2J\\nx": {"\\u009b": 1}, "port"')
    made = migrate(lay(tmp_path, appsettings__json=odd, dump__yaml=DUMP))
    assert not made.failed and all(line.isprintable() for line in rows.lines(made.rows))


def test_a_parameter_without_a_value_is_named(tmp_path: Path) -> None:
    made = migrate(lay(tmp_path, pipeline__yaml=PIPELINE))
    assert made.failed and any("THRESHOLD" in finding.message for finding in made.findings)


def test_answers_of_the_adapter_of_0_8(tmp_path: Path) -> None:
    titles = (
        '[{"name": "a", "aeTitle": "A", "overwriteSameInstance": false, "processorSettings": {"pipeline-x": "ct-ai"}}]'
    )
    sources, to = (
        '[{"aeTitle": "S", "hostIp": "10.0.0.1"}]',
        '{"name": "D", "aeTitle": "D", "hostIp": "h", "port": 104}',
    )
    made = migrate(lay(tmp_path, a__json=titles, s__json=sources, d__json=to))
    configuration = adapter.read(made.texts["adapter.yaml"])[0]
    assert configuration.sources == (Source(name="S", ae_title="S", host="10.0.0.1"),)
    assert configuration.routes[0].workflows == ("ct-ai",) and configuration.routes[0].destinations == ("D",)


def test_answers_with_nulls_and_comments(tmp_path: Path) -> None:
    """As a program and kubectl print what is not set."""
    title = '{"name": "a", "aeTitle": "A", "ignoredSopClasses": null, "processor": null, "processorSettings": {%s}}'
    title %= '"timeout": null, /* ours */ "pipeline-x": "ct-ai"'
    dump = DUMP.replace("    aeTitle: CT_AI\n", "    aeTitle: CT_AI\n    ignoredSopClasses: null\n    processor: ~\n")
    made = migrate(lay(tmp_path, a__json=f"[{title},]", app__json=APPSETTINGS, dump__yaml=dump))
    assert not made.failed, made.findings
    assert {route.called for route in adapter.read(made.texts["adapter.yaml"])[0].routes} == {"A", "CT_AI"}


def test_one_broken_file_is_one_complaint(tmp_path: Path) -> None:
    made = migrate(lay(tmp_path, app__json=APPSETTINGS.replace(":", ";", 1), dump__yaml=DUMP))
    assert made.failed and {finding.code for finding in made.findings} == {"R6", "json", "disabled"}


def test_answers_without_entries(tmp_path: Path) -> None:
    """An installation without destinations: results stay in the spool."""
    titles = '[{"name": "a", "aeTitle": "A", "processorSettings": {"pipeline-x": "ct-ai"}}]'
    sources, none = '[{"aeTitle": "S", "hostIp": "10.0.0.1"}]', "apiVersion: v1\nitems: []\nkind: List\n"
    made = migrate(lay(tmp_path, a__json=titles, s__json=sources, d__json="[]\n", e__yaml=none))
    assert adapter.read(made.texts["adapter.yaml"])[0].destinations == ()
    assert sum(finding.code == "no-entries" for finding in made.findings) == 2
    for name in ("d.json", "e.yaml"):
        alone = migrate([tmp_path / name])
        assert alone.failed and "nothing" in {finding.code for finding in alone.findings}


def test_a_json_file_without_titles_says_where_they_are(tmp_path: Path) -> None:
    made = migrate(lay(tmp_path, appsettings__json=APPSETTINGS))
    (finding,) = (finding for finding in made.findings if finding.code == "no-ae-titles")
    assert made.failed and "kubectl" in finding.hint and not made.texts


MERCURE = '{"rules": {}, "targets": {}, "modules": {}}'
REFUSED = [
    ("mercure", MERCURE, "mercure"),
    ("map", '{"command": "x", "input": {}, "output": {}}', "MAP"),
    ("monai", '{"informatics_gateway": {}, "tasks": []}', "MONAI"),
    ("gateway", '{"InformaticsGateway": {}}', "MONAI"),
    ("stage", "stageName: x\nimage: y\n", "stage definition"),
    ("empty", "", "empty"),
    ("tab", "stages:\n\t- x\n", "tab"),
    ("nothing", "a: b\n", "no workflow"),
    ("object", DUMP.replace("kind: Source", "kind: Pod"), "ClaraAeTitle"),
    ("hole", VALUES.replace("##END_ai-vnet##", ""), "##END_ai-vnet##"),
    ("name", VALUES.replace("ai-vnet", "../vnet"), "cannot be the name"),
]


@pytest.mark.parametrize(("text", "word"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_refused_is_named_and_nothing_is_written(tmp_path: Path, text: str, word: str) -> None:
    old, to = tmp_path / "file.yaml", tmp_path / "new"
    old.write_text(text)
    result = CliRunner().invoke(main, ["migrate", str(old), "--output", str(to)])
    assert result.exit_code == DefinitionError.exit_code and not to.exists()
    assert word in result.stderr and f"{old}:" in result.stderr


def test_bytes_and_size_are_refused(tmp_path: Path) -> None:
    for name, data in (("binary", b"\xff\x00"), ("large", b" " * (1 << 20) + b"a")):
        (tmp_path / name).write_bytes(data)
        assert migrate([tmp_path / name]).failed
    with pytest.raises(NotFound):
        migrate([tmp_path / "away.yaml"])


def test_two_files_may_not_say_the_same_thing_twice(tmp_path: Path) -> None:
    other = VALUES.replace("20.10", "21")
    made = migrate(lay(tmp_path, a__yaml=VALUES, b__yaml=other, c__yaml=SERVER, d__yaml=SERVER))
    assert {"duplicate-name", "duplicate-stage", "two-configurations"} <= {finding.code for finding in made.findings}


def test_programs_of_stages_come_along(tmp_path: Path) -> None:
    other = VALUES[VALUES.index(f" {ID}") :].replace(ID, ID.replace("7", "8")).replace("user-w", "other-w")
    lay(tmp_path / "old", values__yaml=VALUES + other)  # two workflows with the stage
    program = tmp_path / "old" / "stages" / "ai-vnet"
    (program / "inner").mkdir(parents=True)
    (program / "stage.yaml").write_text("command: [python3, main.py]\nstageName: ai-vnet\n")
    (program / "main.py").write_text("print('here')\n")
    (program / "main.py").chmod(0o755)
    (program / "inner" / "weights").write_bytes(b"\0\1")
    (program / "secret").symlink_to("/etc/passwd")
    migrate([tmp_path / "old" / "values.yaml"]).write(tmp_path / "new")
    files = content(tmp_path / "new")
    assert (tmp_path / "new" / "stages" / "ai-vnet" / "main.py").stat().st_mode & 0o111
    assert files["stages/ai-vnet/inner/weights"] == b"\0\1" and "stages/ai-vnet/secret" not in files
    old = project.graph(tmp_path / "old" / "values.yaml", name="user-workflow")
    new = strict(tmp_path / "new", "workflows/user-workflow.yaml")
    assert new.digest == old.digest and new.node("ai-vnet").spec.command == ("python3", "main.py")


def test_no_file_takes_the_place_of_the_marker(tmp_path: Path) -> None:
    path = tmp_path / project.MARKER
    path.write_text(
        f"id: {ID}\nname: n\nstages: [dicom-reader]\nioFolders: [dicom-reader/input, dicom-reader/output]\n"
    )
    made = migrate([path])
    assert made.copies == {"workflow.yaml": path} and set(made.texts) == {project.MARKER}


STRANGE = "".join(f"  k{number}: x\n" for number in range(1001))
STRANGERS = {
    "json": APPSETTINGS.replace('"port"', "".join(f'"k{number}": 1, ' for number in range(1001)) + '"port"'),
    "server": SERVER.replace("port:", STRANGE.replace("  k", "k") + "port:", 1),
    "operators": PIPELINE.replace("  size: big\n", STRANGE),
    "values": VALUES.replace("        stageName", STRANGE.replace("  k", "        k") + "        stageName"),
}


@pytest.mark.parametrize("text", STRANGERS.values(), ids=STRANGERS)
def test_a_file_of_strange_keys_is_refused_in_one_word(tmp_path: Path, text: str) -> None:
    made = migrate(lay(tmp_path, a__txt=text))
    (row,) = made.rows
    assert made.failed and (row.key, row.fate) == ("(the file)", Fate.REFUSED) and row.line and "1000" in row.becomes
    few = migrate(lay(tmp_path, a__txt=re.sub(r' *k(99.|1000): x\n|"k1000": 1, ', "", text)))
    assert len(few.rows) > 900


def test_what_is_in_a_strange_key_has_one_row(tmp_path: Path) -> None:
    inner = "odd: {" + ", ".join(f"k{number}: x" for number in range(2000)) + "}\n"
    made = migrate(lay(tmp_path, server__yaml=inner + SERVER))
    found = {row.key: row.places for row in made.rows if row.key.startswith("odd")}
    assert not made.failed and found == {"odd": 1, "odd.*": 2000}


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    made = migrate(lay(tmp_path / "old", values__yaml=VALUES))
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(TryAgain):
        made.write(tmp_path / "new")
    assert content(tmp_path / "new") == {}


KILLED = """
import os, shutil, sys
from pathlib import Path
from clara_argo.migrate import migrate
made = migrate([Path(sys.argv[1])])
made.copies["zz"] = Path(sys.argv[1])
shutil.copy = lambda *_: os._exit(9)
made.write(Path(sys.argv[2]))
"""


def test_who_is_killed_leaves_no_half_of_a_project(tmp_path: Path) -> None:
    (path,) = lay(tmp_path / "old", values__yaml=VALUES)
    to = tmp_path / "new"
    assert subprocess.run([sys.executable, "-c", KILLED, path, to], check=False).returncode == 9
    assert not to.exists() and len(list(tmp_path.iterdir())) == 2
    migrate([path]).write(to)
    assert len(list(tmp_path.iterdir())) == 2 and len(content(to)) == 3


def test_where_nothing_can_be_made_is_named(tmp_path: Path) -> None:
    (path,) = lay(tmp_path / "old", values__yaml=VALUES)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "away")
    for to in (tmp_path / "file" / "new", tmp_path / "link"):
        with pytest.raises(UsageError, match=f"^{to}: Not a directory"):
            migrate([path]).write(to)
    assert len(list(tmp_path.iterdir())) == 3


def test_an_empty_folder_stays_the_same_one(tmp_path: Path) -> None:
    """Somebody may stand in it, it may be a link or have its own rights."""
    (path,) = lay(tmp_path / "old", values__yaml=VALUES)
    to, link = tmp_path / "new", tmp_path / "link"
    to.mkdir(mode=0o750)
    link.symlink_to(to)
    before = to.stat()
    migrate([path]).write(link)
    assert (to.stat().st_ino, to.stat().st_mode) == (before.st_ino, before.st_mode) and len(content(to)) == 3


NATIVE = (
    f"id: {ID[::-1].replace('-', '')}\nname: n\nstages: [dicom-reader]\n"
    "ioFolders: [dicom-reader/input, dicom-reader/output]\n"
)


def test_no_two_things_become_one_file(tmp_path: Path) -> None:
    """A workflow of ours whose file is called like the configuration; one whose name differs by case; long names."""
    made = migrate(lay(tmp_path, adapter__yaml=NATIVE, server__yaml=SERVER))
    assert set(made.copies) == {"workflow.yaml"} and made.texts["adapter.yaml"].startswith("ae-title:")
    made = migrate(lay(tmp_path, Workflow__yaml=NATIVE, values__yaml=VALUES))
    assert set(made.copies) == {"Workflow.yaml"} and "workflows/user-workflow.yaml" in made.texts
    name = "w" * 220
    more = VALUES[VALUES.index(f" {ID}") :].replace(ID, ID.replace("7", "8")).replace("user-workflow", f"{name}b")
    made = migrate(lay(tmp_path, values__yaml=VALUES.replace("user-workflow", f"{name}a") + more))
    assert {f"workflows/{'w' * 200}.yaml", f"workflows/{'w' * 200}-2.yaml"} < set(made.texts)
    made = migrate([*lay(tmp_path / "a", ct__yaml=NATIVE), *lay(tmp_path / "b", CT__yaml=NATIVE.replace("n\n", "m\n"))])
    assert made.failed and "two-files" in {finding.code for finding in made.findings}


def test_what_a_configuration_of_ours_includes_comes_along(tmp_path: Path) -> None:
    inner = (
        "destinations: [{name: d, ae-title: D, host: 10.0.0.2, port: 104}]\n"
        "routes: [{name: r, sources: [s], workflows: [n], destinations: [d]}]\n"
    )
    ours = (
        "ae-title: A\nspool: spool\ninclude: ['routes/*.yaml']\n"
        "sources: [{name: s, ae-title: S, host: 10.0.0.1}]\nroutes: []\n"
    )
    (tmp_path / "old" / "routes").mkdir(parents=True)
    (tmp_path / "old" / "routes" / "ct.yaml").write_text(inner)
    made = migrate(lay(tmp_path / "old", adapter__yaml=ours, n__yaml=NATIVE))
    made.write(tmp_path / "new")
    assert not [finding for finding in made.findings if finding.code != "shipped-stage"]
    assert adapter.load(tmp_path / "new" / "adapter.yaml")[0].routes[0].destinations == ("d",)
    assert content(tmp_path / "new")["routes/ct.yaml"] == inner.encode()


def test_comments_hold_no_secret_and_end_nowhere(tmp_path: Path) -> None:
    odd = 'result: "a\\nx: y"\n apiToken: HUSH\n other: {password: HUSH}\n name: "user'
    made = migrate(lay(tmp_path, values__yaml=VALUES.replace('name: "user', odd)))
    text = made.texts["workflow.yaml"]
    assert '\n# "result": "a\\nx: y"\n' in text and "HUSH" not in text and text.count("may be a secret") == 2


def test_a_gateway_is_refused_also_as_json(tmp_path: Path) -> None:
    (path,) = lay(tmp_path, a__json='{"InformaticsGateway": {}}')
    result = CliRunner().invoke(main, ["migrate", "-o", "json", str(path)])
    assert json.loads(result.stdout)["failed"] and result.exit_code == DefinitionError.exit_code


def test_a_stage_without_a_workflow_is_a_stage(tmp_path: Path) -> None:
    made = migrate(lay(tmp_path, values__yaml=VALUES[: VALUES.index("workflows:")]))
    assert set(made.texts) == {"clara.yaml", "stages/ai-vnet/stage.yaml"}


def test_several_workflows_are_several_files(tmp_path: Path) -> None:
    more = VALUES + VALUES[VALUES.index(f" {ID}") :].replace(ID, ID.replace("7", "8")).replace("user-w", "other-w")
    made = migrate(lay(tmp_path, values__yaml=more))
    assert {"workflows/user-workflow.yaml", "workflows/other-workflow.yaml"} < set(made.texts)


def test_the_command_prints_files_or_only_the_table(tmp_path: Path) -> None:
    paths = [str(path) for path in lay(tmp_path, values__yaml=VALUES, server__yaml=SERVER)]
    printed = CliRunner().invoke(main, ["migrate", *paths])
    assert printed.exit_code == 0 and "repaired R7" in printed.stderr and "KEY" not in printed.stdout
    names = [str(node.get("name", "")) if isinstance(node, dict) else "" for node in documents(printed.stdout)]
    assert len(names) == 4  # adapter, marker (empty), workflow, stage
    checked = CliRunner().invoke(main, ["migrate", "--check", *paths])
    assert checked.exit_code == 0 and "repaired R7" in checked.stdout
    strict = CliRunner().invoke(main, ["migrate", "--check", "--strict", *paths])
    assert strict.exit_code == DefinitionError.exit_code


def test_the_command_as_json(tmp_path: Path) -> None:
    (path,) = lay(tmp_path, values__yaml=VALUES)
    result = CliRunner().invoke(main, ["migrate", "-o", "json", str(path), "--output", str(tmp_path / "new")])
    value = json.loads(result.stdout)
    assert value["output"] == str(tmp_path / "new") and not value["failed"]
    assert set(content(tmp_path / "new")) == {*value["files"], *value["copies"]}
    assert {"key", "fate", "becomes", "line", "column", "repair"} <= set(value["keys"][0])


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path: Path) -> None:
    (path,) = lay(tmp_path, values__yaml=VALUES)
    result = CliRunner().invoke(main, ["migrate", str(path), "--output", str(tmp_path)])
    assert result.exit_code == UsageError.exit_code and list(content(tmp_path)) == ["values.yaml"]
    both = CliRunner().invoke(main, ["migrate", str(path), "--check", "--output", str(tmp_path / "new")])
    assert both.exit_code == UsageError.exit_code and not (tmp_path / "new").exists()


# What is written reads back to the same value.

TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"]), max_size=12)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
ODD = st.sampled_from(["0300", "1_0", "on", "yes", "~", "12:30:45", "1e3", ".5", "# x", "a: b", "- x", "'", "%", "{}"])
PATHS = st.from_regex(r"/[a-z0-9_]{1,6}(/[a-z]{1,4})?", fullmatch=True)


@st.composite
def specs(draw: st.DrawFn) -> StageSpec:
    tag = draw(st.sampled_from(["", "latest", "20.10", "1_0", "0x10"]))
    digest = draw(st.sampled_from(["", "sha256:" + "0" * 64]))
    extra = draw(st.dictionaries(TEXTS.map(lambda text: f"x{text}"), WORDS | ODD | st.just('{"a": ["1"]}'), max_size=2))
    return StageSpec(
        name=draw(NAMES),
        image=Image(repository="host:5000/ai", tag=tag, digest=digest) if tag or digest else Image(),
        command=draw(st.just(()) | st.lists(TEXTS | ODD, min_size=1, max_size=3).map(tuple)),
        app_dir=draw(PATHS),
        inputs=draw(st.sampled_from(["input", "in/put", "08"])),
        input_paths=draw(st.lists(PATHS, max_size=2).map(tuple)),
        output_paths=MappingProxyType(draw(st.dictionaries(st.sampled_from(["", "seg", "y"]), PATHS, max_size=2))),
        lock_name=draw(st.sampled_from(["", "x.lock", "1.50"])),
        log_name=draw(st.sampled_from(["", "/app/logs/x.log"])),
        mount_in=draw(st.sampled_from(["input", "other"])),
        timeout=draw(st.integers(1, 9999)),
        retries=draw(st.integers(0, 5)),
        study=draw(st.booleans()),
        publish=draw(st.booleans()),
        resources=Resources(cpu=draw(st.sampled_from(["", "2", "0.50", "500m"])), gpu=draw(st.integers(0, 2))),
        env=MappingProxyType(draw(st.dictionaries(st.sampled_from(["A", "on", "Y"]), WORDS | ODD, max_size=3))),
        models=draw(st.lists(NAMES, max_size=2).map(tuple)),
        takes=draw(st.lists(st.sampled_from(["dicom", "volume"]), max_size=2).map(tuple)),
        extra=MappingProxyType(extra),
    )


@settings(max_examples=30, deadline=None)
@given(specs())
def test_a_stage_is_written_as_it_is(spec: StageSpec) -> None:
    findings = Findings()
    text = as_yaml(written.stage(spec)) + kept(spec.extra)
    assert stage.spec(parse(text), spec.name, findings) == replace(spec, extra=NOTHING)
    assert not findings.all and text.count("\n# ") >= len(spec.extra)


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    names = draw(
        st.lists(NAMES, min_size=1, max_size=5, unique=True).filter(lambda n: not {"payload", "result"} & {*n})
    )
    steps = []
    for number, name in enumerate(names):
        before = draw(st.lists(st.sampled_from(names[:number]), max_size=3, unique=True)) if number else []
        reads = tuple(f"{other}/output" for other in before) or (f"{name}/input",)
        args = tuple(draw(st.lists(WORDS | ODD, max_size=3)))
        steps.append(Step(stage=name, reads=reads, waits_for=tuple(f"{other}.lock" for other in before), args=args))
    extra = draw(st.dictionaries(TEXTS.map(lambda text: f"x{text}"), WORDS | ODD, max_size=2))
    return Workflow(
        id=draw(st.uuids()).hex,
        name=draw(NAMES),
        steps=tuple(steps),
        results=(f"{names[-1]}/output",),
        description=draw(WORDS).strip(),
        extra=MappingProxyType(extra),
    )


@settings(max_examples=30, deadline=None)
@given(workflows())
def test_a_workflow_is_written_as_it_is(workflow: Workflow) -> None:
    specs = {step.stage: StageSpec(name=step.stage) for step in workflow.steps}
    try:
        graph = Graph.of(workflow, specs)
    except DefinitionError:  # a name that is taken
        return
    findings = Findings()
    (read,) = native.read(documents(as_yaml(written.workflow(graph)) + kept(workflow.extra)), findings)
    assert read == replace(workflow, extra=NOTHING) and not findings.failed
    assert Graph.of(read, specs).digest == graph.digest


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    hosts = st.sampled_from(["10.0.0.5", "pacs", "::1"])
    names = draw(st.lists(NAMES | ODD.filter(lambda text: "~" not in text), min_size=1, max_size=3, unique=True))
    sources = tuple(Source(name=name, ae_title="A", host=draw(hosts | st.just(""))) for name in names)
    to = tuple(Destination(name=name, ae_title=name[:16], host=draw(hosts), port=104) for name in names)
    quiet = draw(st.sampled_from([0.001, 2.5, 10.0, 7200.0]))
    routes = tuple(
        Route(
            name=name,
            called="08",
            sources=tuple(names),
            workflows=tuple(names[:2]),
            destinations=tuple(names[:1]),
            settle=Settle(quiet=quiet, max=max(quiet, 3600.0)),
        )
        for name in names
    )
    return Configuration(
        ae_title="1e3", spool=draw(st.sampled_from(["spool", "/var/spool", "0 x"])), sources=sources,
        destinations=to, routes=routes, host=draw(hosts), port=draw(st.integers(1, 65535)), runner="local",
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(configurations())
def test_a_configuration_is_written_as_it_is(configuration: Configuration) -> None:
    assert adapter.read(as_yaml(written.configuration(configuration)))[0] == configuration


PIECES = [*VALUES.splitlines(), *SERVER.splitlines(), *DUMP.splitlines(), APPSETTINGS, "- x", "{", "---", "\t", "[]"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("\n".join) | st.text(max_size=60))
def test_whatever_is_in_a_file_nothing_but_findings(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    made = migrate([path])
    assert made.failed is not bool(made.texts or made.copies) or not made.rows
