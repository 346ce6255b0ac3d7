"""Adapter configurations of both dialects: what they mean, and what is said about what is wrong with them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import examples

from clara_argo.errors import DefinitionError, Finding, Level
from clara_argo.formats import adapter
from clara_argo.model.route import Configuration, Destination, Route, Settle, Source

OURS = """\
ae-title: CT_AI
host: 0.0.0.0
port: 11112
spool: /var/lib/clara/spool
runner: local
sources:      [{name: CT1, ae-title: CT1, host: 10.0.0.5}]
destinations: [{name: PACS, ae-title: DCM4CHEE, host: 10.0.0.9, port: 11112}]
routes:
  - name: ct
    called: CT_AI
    sources: [CT1]
    settle: {quiet: 2.5, max: 60}
    workflows: [ct-organs]
    destinations: [PACS]
"""

PRINTED = """\
name: user-workflow
     clara-ae-title: CT_AI
     destination-name: DCM4CHEE
     workflow: 7b413e24-d018-4689-8c41-73272f6649d4
"""

EARLY = (
    """\
host: 0.0.0.0
port: 11112
ae-titles: [CT_AI]
sources: [{ae-title: DCM4CHEE, host-ip: 10.0.0.9}]
destinations: [{name: DCM4CHEE, ae-title: DCM4CHEE, host-ip: 10.0.0.9, port: 11112}]
workflows:
"""
    + PRINTED
)


def findings_of(text: str) -> tuple[Finding, ...]:
    try:
        return adapter.read(text, "a.yaml")[1]
    except DefinitionError as error:
        return error.findings


def places(text: str, code: str) -> list[str]:
    return [finding.where for finding in findings_of(text) if finding.code == code]


def test_our_own_form() -> None:
    configuration, findings = adapter.read(OURS, "a.yaml")
    assert findings == ()
    assert configuration == Configuration(
        ae_title="CT_AI",
        spool="/var/lib/clara/spool",
        host="0.0.0.0",
        sources=(Source(name="CT1", ae_title="CT1", host="10.0.0.5"),),
        destinations=(Destination(name="PACS", ae_title="DCM4CHEE", host="10.0.0.9", port=11112),),
        routes=(
            Route(
                name="ct",
                called="CT_AI",
                sources=("CT1",),
                workflows=("ct-organs",),
                destinations=("PACS",),
                settle=Settle(quiet=2.5, max=60),
            ),
        ),
    )


@pytest.mark.parametrize("spelling", ["ae_title", "aeTitle", "AE-TITLE", "aetitle"])
def test_keys_compare_without_dashes_and_case(spelling: str) -> None:
    assert adapter.read(OURS.replace("ae-title", spelling)) == adapter.read(OURS)


def test_what_may_be_left_out() -> None:
    text = """\
ae-title: CT_AI
spool: s
sources: [{ae-title: CT1, host: 10.0.0.5}]
destinations: [{ae-title: PACS, host: 10.0.0.9, port: 104}]
routes: [{sources: [CT1], workflows: [a], destinations: [PACS]}]
"""
    configuration, findings = adapter.read(text)
    assert findings == ()
    assert (configuration.host, configuration.port, configuration.runner) == ("127.0.0.1", 11112, "local")
    assert configuration.routes[0].name == configuration.routes[0].called == "CT_AI"
    assert configuration.routes[0].settle == Settle()


def test_the_printed_form_of_the_article() -> None:
    configuration, findings = adapter.read(EARLY, "a.yaml")
    assert [(finding.code, finding.level, finding.where) for finding in findings] == [
        ("R3", Level.WARNING, "a.yaml:7:1")
    ]
    assert configuration.ae_title == "ClaraSCU"
    assert configuration.sources == (Source(name="DCM4CHEE", ae_title="DCM4CHEE", host="10.0.0.9"),)
    (route,) = configuration.routes
    assert (route.name, route.called, route.destinations) == ("user-workflow", "CT_AI", ("DCM4CHEE",))
    assert route.workflows == ("7b413e24-d018-4689-8c41-73272f6649d4",)
    assert route.settle.quiet == 5.0


@pytest.mark.parametrize(
    "item",
    [
        "  - name: user-workflow\n    clara-ae-title: CT_AI\n    destination-name: DCM4CHEE\n    workflow: w\n",
        "  - name: user-workflow\n        clara-ae-title: CT_AI\n     destination-name: DCM4CHEE\n       workflow: w\n",
        "  name: user-workflow\n    clara-ae-title: CT_AI\n\n    destination_name: DCM4CHEE\n    workflow: w\n",
        "  name: user-workflow\n  clara-ae-title: CT_AI\n  destination-name: DCM4CHEE\n  workflow: w\n",
        "  - {name: user-workflow, claraAeTitle: CT_AI, destinationName: DCM4CHEE, workflow: w}\n",
    ],
    ids=["indented", "R3 with a dash", "R3 without", "no dash", "flow"],
)
def test_spellings_of_one_item(item: str) -> None:
    route = adapter.read(EARLY.replace(PRINTED, item))[0].routes[0]
    assert (route.name, route.called, route.workflows, route.destinations) == (
        "user-workflow", "CT_AI", ("w",), ("DCM4CHEE",),
    )  # fmt: skip


def test_two_printed_items() -> None:
    second = PRINTED.replace("user-workflow", "other").replace("7b413e24", "8b413e24")
    (route,) = adapter.read(EARLY + second)[0].routes
    assert [workflow[:8] for workflow in route.workflows] == ["7b413e24", "8b413e24"]


def test_a_repair_passes_comments_and_line_ends_of_windows() -> None:
    text = EARLY.replace("     destination-name", "# where results go\n     destination-name").replace("\n", "\r\n")
    assert adapter.read(text)[0] == adapter.read(EARLY)[0]


def test_nothing_is_repaired_that_means_what_it_shows() -> None:
    text = EARLY.replace(PRINTED, "  - name: w\n    # a comment\n    clara-ae-title: CT_AI\n    workflow: w\n")
    assert "R3" not in {finding.code for finding in findings_of(text)}


def test_columns_of_a_repaired_line_are_those_of_the_file() -> None:
    text = EARLY.replace("destination-name: DCM4CHEE", "destination-name: DCM4CHEX")
    assert places(text, "unknown-destination") == ["a.yaml:9:24"]
    (finding,) = [finding for finding in findings_of(text) if finding.code == "unknown-destination"]
    assert "'DCM4CHEE'" in finding.hint


def test_the_printed_item_alone_says_what_is_missing() -> None:
    assert {"nobody", "unknown-destination"} <= {finding.code for finding in findings_of(PRINTED)}


def test_sections_below_dicom() -> None:
    text = """\
host: 0.0.0.0
dicom:
  scp:
    port: 11113
    aeTitles: [{ae-title: NVIDIADGX100, timeout: 7}, {ae-title: IDLE}]
    sources: [{ae_title: DCM4CHEE, hostIp: 1.2.3.4}]
    read-sources-from-crd: true
  scu:
    ae-title: CLARA
    destinations:
      - {name: A, ae-title: A, host-ip: 1.2.3.5, port: 104}
      - {name: B, ae-title: B, host-ip: 1.2.3.6, port: 104}
pipeline-mappings:
  - {name: a, clara-ae-title: NVIDIADGX100, pipeline-id: ct_ai_pipeline, destination-name: A}
  - {name: b, clara-ae-title: NVIDIADGX100, pipeline-id: other, destination-name: B}
  - {name: c, clara-ae-title: NVIDIADGX100, pipeline-id: third, destination-name: A}
"""
    configuration, findings = adapter.read(text)
    assert (configuration.ae_title, configuration.port) == ("CLARA", 11113)
    assert [
        (route.name, route.workflows, route.destinations, route.settle.quiet) for route in configuration.routes
    ] == [
        ("a", ("ct_ai_pipeline", "third"), ("A",), 7.0),
        ("b", ("other",), ("B",), 7.0),
    ]
    assert {finding.code for finding in findings} == {"crd", "no-workflow"}


EARLY_NOTES = [
    ("port: 11112", "port: 104", "port", Level.WARNING),
    ("host: 0.0.0.0\n", "", "host", Level.WARNING),
    ("ae-titles: [CT_AI]", "ae-titles: [OTHER]", "ae-title", Level.WARNING),
    ("ae-titles: [CT_AI]", "ae-titles: [{ae-title: CT_AI, timeout-group: 3}]", "timeout-group", Level.NOTICE),
    ("ae-titles: [CT_AI]", "ae-titles: [{ae-title: CT_AI, overwrite-same-instance: true}]", "overwrite", Level.WARNING),
    ("ae-titles: [CT_AI]", "ae-titles: [CT_AI, CT_AI]", "duplicate-name", Level.ERROR),
    ("ae-titles:", "log-dimse-datasets: true\nae-titles:", "log", Level.NOTICE),
    ("ae-titles:", "max-associations: 25\nae-titles:", "limits", Level.NOTICE),
    ("ae-titles:", "reject-unknown-sources: false\nae-titles:", "unknown-sources", Level.WARNING),
    ("sources: [{ae-title: DCM4CHEE, host-ip: 10.0.0.9}]", "reject-unknown-sources: true", "nobody", Level.ERROR),
    ("sources: [{ae-title: DCM4CHEE, host-ip: 10.0.0.9}]", "sources: [DCM4CHEE]", "any-address", Level.WARNING),
    ("     destination-name: DCM4CHEE\n", "", "destination", Level.NOTICE),
    ("workflows:\n" + PRINTED, "", "no-workflow", Level.ERROR),
    (PRINTED, PRINTED + PRINTED, "duplicate-entry", Level.WARNING),
]


@pytest.mark.parametrize(("old", "new", "code", "level"), EARLY_NOTES, ids=[f"{n[2]}-{n[1][:20]}" for n in EARLY_NOTES])
def test_what_the_early_form_is_told(old: str, new: str, code: str, level: Level) -> None:
    assert old in EARLY
    found = [finding for finding in findings_of(EARLY.replace(old, new, 1)) if finding.code == code]
    assert [finding.level for finding in found][:1] == [level]


MISTAKES = [
    ("ae-title: CT_AI", "ae-title: SEVENTEEN_LETTERS", "ae-title", "a.yaml:1:11"),
    ("ae-title: CT_AI", "ae-title: 'A\\B'", "ae-title", "a.yaml:1:11"),
    ("ae-title: CT_AI", "ae-title: '   '", "ae-title", "a.yaml:1:11"),
    ("ae-title: CT_AI", "ae-title: ÄCT", "ae-title", "a.yaml:1:11"),
    ("ae-title: CT_AI", 'ae-title: "CT\\tAI"', "ae-title", "a.yaml:1:11"),
    ("ae-title: CT_AI\n", "", "missing-key", "a.yaml:1:1"),
    ("port: 11112\n", "port: 0\n", "value", "a.yaml:3:7"),
    ("port: 11112\n", "port: 65536\n", "value", "a.yaml:3:7"),
    ("port: 11112\n", "port: 1_1\n", "value", "a.yaml:3:7"),
    ("host: 0.0.0.0", "host: 'a b'", "value", "a.yaml:2:7"),
    ("host: 0.0.0.0", "host: 999.1.1.1", "value", "a.yaml:2:7"),
    ("host: 0.0.0.0", "host: 10.1", "value", "a.yaml:2:7"),
    ("host: 0.0.0.0", "host: '10.0.0.5:104'", "value", "a.yaml:2:7"),
    ("host: 0.0.0.0", "host: a..b", "value", "a.yaml:2:7"),
    ("runner: local", "runner: [argo]", "value", "a.yaml:5:9"),
    ("runner: local", "runner: a/b", "value", "a.yaml:5:9"),
    ("spool: /var/lib/clara/spool", 'spool: "a\\x07b"', "value", "a.yaml:4:8"),
    ("port: 11112}]", "port: 11112}, {name: B, ae-title: DCM4CHEE, host: 10.0.0.9, port: 11112}]",
     "same-destination", "a.yaml:7:79"),
    ("host: 10.0.0.9, ", "host: 127.0.0.1, ", "loop", "a.yaml:7:16"),
    ("host: 10.0.0.9, ", "host: 0.0.0.0, ", "loop", "a.yaml:7:16"),
    (OURS[OURS.index("routes:") :], "routes: []\n", "no-route", "a.yaml"),
    ("host: 10.0.0.9, ", "", "missing-key", "a.yaml:7:16"),
    (", port: 11112}]", "}]", "missing-key", "a.yaml:7:16"),
    ("spool: /var/lib/clara/spool\n", "", "missing-key", "a.yaml:1:1"),
    ("runner: local", "runnner: local", "unknown-key", "a.yaml:5:1"),
    ("runner: local", "host: x", "duplicate-key", "a.yaml:5:1"),
    ("sources: [CT1]", "sources: [CT2]", "unknown-source", "a.yaml:11:15"),
    ("destinations: [PACS]", "destinations: [PACT]", "unknown-destination", "a.yaml:14:20"),
    ("    sources: [CT1]\n", "", "nobody", "a.yaml:9:5"),
    ("    workflows: [ct-organs]\n", "", "no-workflow", "a.yaml:9:5"),
    ("    destinations: [PACS]\n", "", "no-destination", "a.yaml:9:5"),
    ("quiet: 2.5", "quiet: 61", "value", "a.yaml:12:30"),
    ("quiet: 2.5", "quiet: soon", "value", "a.yaml:12:21"),
    ("quiet: 2.5", "quite: 2.5", "unknown-key", "a.yaml:12:14"),
    ("  - name: ct", "  - {called: X, name: ct, sources: [CT1], workflows: [w], destinations: [PACS]}\n  - name: ct",
     "duplicate-name", "a.yaml:10:11"),
    ("[{name: CT1, ae-title: CT1, host: 10.0.0.5}]", "CT1", "value", "a.yaml:6:15"),
    ("10.0.0.5}]", "10.0.0.5}, {name: CT1, ae-title: B, host: b}]", "duplicate-name", "a.yaml:6:67"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "code", "place"), MISTAKES, ids=[f"{m[2]}-{m[1][:20]!a}" for m in MISTAKES])
def test_mistakes_have_a_place(old: str, new: str, code: str, place: str) -> None:
    assert old in OURS
    assert place in places(OURS.replace(old, new, 1), code)


@pytest.mark.parametrize("host", ["::1", "fe80::1%eth0", "pacs", "pacs-1.my_clinic.example", "10.0.0.5", "1.2.3.4a"])
def test_hosts_that_can_be(host: str) -> None:
    assert adapter.read(OURS.replace("0.0.0.0", f"'{host}'", 1))[0].host == host


@pytest.mark.parametrize("listening, host, port", [("10.0.0.7", "127.0.0.1", 11112), ("127.0.0.1", "127.0.0.1", 104)])
def test_a_neighbour_on_this_machine_is_no_loop(listening: str, host: str, port: int) -> None:
    text = OURS.replace("0.0.0.0", listening, 1).replace("host: 10.0.0.9, port: 11112", f"host: {host}, port: {port}")
    assert findings_of(text) == ()


def test_the_early_form_is_compared_too() -> None:
    text = EARLY.replace("host-ip: 10.0.0.9, port: 11112", "host-ip: 127.0.0.1, port: 11112")
    assert places(text, "loop") and places(text + "runner: no target\n", "value")


def test_a_runner_is_a_name_with_its_place() -> None:
    runner = adapter.read(OURS.replace("runner: local", "runner: hospital-2"), "a.yaml")[0].runner
    assert (runner, getattr(runner, "line", 0), getattr(runner, "column", 0)) == ("hospital-2", 5, 9)


def test_everything_is_said_at_once() -> None:
    text = OURS.replace("[CT1]", "[CT2]").replace("[PACS]", "[PACT]").replace("port: 11112\n", "port: x\n")
    with pytest.raises(DefinitionError) as raised:
        adapter.read(text.replace("runner", "runnner"), "a.yaml")
    codes = {finding.code for finding in raised.value.findings}
    assert codes == {"unknown-source", "unknown-destination", "value", "unknown-key"}
    hints = " ".join(finding.hint for finding in raised.value.findings)
    assert "'CT1'" in hints and "'PACS'" in hints and "'runner'" in hints


PIECES = [*OURS.splitlines(), *EARLY.splitlines(), "dicom:", "  scp:", "  scu:", "- a", "{", "}", "[", ": x", "&a *a"]


@settings(max_examples=examples(150), deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=16).map("\n".join)))
def test_nothing_but_our_own_error(text: str) -> None:
    try:
        configuration, findings = adapter.read(text)
    except DefinitionError as error:
        assert error.findings
    else:
        assert configuration.ae_title and all(finding.level is not Level.ERROR for finding in findings)


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(max_size=200))
def test_bytes_raise_nothing_but_our_own_error(text: bytes) -> None:
    try:
        adapter.read(text)
    except DefinitionError as error:
        assert error.findings
