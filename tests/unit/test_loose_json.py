"""JSON with comments and lost commas: what it means, where each repair is, and what stays an error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara_argo.errors import DefinitionError, Finding
from clara_argo.formats import loose_json
from clara_argo.source import Findings, List, Map, Node, parse

PRINTED = """\
// of the adapter
{
  "DicomAdapter": {
    "port": 1040, /* privileged */
    "export": {
      "retries": 3
      "failureThreshold" 0.5,
      "url": "http://host//path",
    },
    "titles": ["A" "B",],
    "none": null, "on": true
  }
}
"""


def plain(node: Node) -> object:
    if isinstance(node, Map):
        return {str(key): plain(node[key]) for key in node}
    return [plain(item) for item in node] if isinstance(node, List) else str(node)


def read(text: str | bytes, strict: bool = False) -> tuple[Node, tuple[Finding, ...]]:
    findings = Findings("a.json", strict=strict)
    return loose_json.parse(text, findings), findings.all


def test_each_repair_has_its_place() -> None:
    node, findings = read(PRINTED)
    assert plain(node) == {
        "DicomAdapter": {
            "port": "1040",
            "export": {"retries": "3", "failureThreshold": "0.5", "url": "http://host//path"},
            "titles": ["A", "B"],
            "none": "",
            "on": "true",
        }
    }
    assert {finding.code for finding in findings} == {"R6"}
    places = [(finding.line, finding.column) for finding in findings]
    assert places == [(1, 1), (4, 19), (7, 7), (7, 26), (8, 33), (10, 20), (10, 23)]


def test_places_survive_windows_line_ends() -> None:
    assert [finding.where for finding in read(PRINTED.replace("\n", "\r\n"))[1]] == [f.where for f in read(PRINTED)[1]]


def test_under_strict_a_repair_is_an_error() -> None:
    with pytest.raises(DefinitionError):
        read(PRINTED, strict=True)


def test_repairs_without_end_are_said_once() -> None:
    assert len(read("//\n" * 5000 + "{}")[1]) == loose_json.MAX_REPAIRS


BROKEN = [
    ("", "empty", "a.json"),
    ("// nothing", "empty", "a.json"),
    ("{", "json", "a.json:1:1"),
    ('{"a": [1', "json", "a.json:1:7"),
    ("{'a': 1}", "json", "a.json:1:2"),
    ("{a: 1}", "json", "a.json:1:2"),
    ('{"a": b}', "json", "a.json:1:7"),
    ('{"a": 01}', "json", "a.json:1:7"),
    ('{"a":}', "json", "a.json:1:6"),
    ('{"a"}', "json", "a.json:1:5"),
    ('{"a"::1}', "json", "a.json:1:6"),
    ("{,}", "json", "a.json:1:2"),
    ('{"a": 1,,}', "json", "a.json:1:9"),
    ("[1}", "json", "a.json:1:3"),
    ("]", "json", "a.json:1:1"),
    ("{}{}", "json", "a.json:1:3"),
    ('"a\nb"', "json", "a.json:1:1"),
    ('"\\q"', "json", "a.json:1:1"),
    ('"\\u0000"', "control-character", "a.json:1:1"),
    ('"\\ud800"', "control-character", "a.json:1:1"),
    ('{"a": 1, "a": 2}', "duplicate-key", "a.json:1:10"),
    ("/* no end", "json", "a.json:1:1"),
    ("{} /", "json", "a.json:1:4"),
    ("[" * 65, "depth", "a.json:1:65"),
    (" " * (1 << 20) + "{}", "too-large", "a.json"),
]


@pytest.mark.parametrize(("text", "code", "place"), BROKEN, ids=[f"{n}-{b[1]}" for n, b in enumerate(BROKEN)])
def test_what_is_not_repaired(text: str, code: str, place: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        read(text)
    assert (code, place) in [(finding.code, finding.where) for finding in raised.value.findings]
    assert all(finding.hint for finding in raised.value.findings)


@pytest.mark.parametrize(
    ("text", "place"), [('{"a":\xa0"b"}', "a.json:1:6"), ('{"a": 1,\n\u2003"b": 2}', "a.json:2:1")]
)
def test_a_blank_of_a_web_page_is_named(text: str, place: str) -> None:
    with pytest.raises(DefinitionError, match="where JSON wants blanks; replace it with a blank") as raised:
        loose_json.parse(text, Findings("a.json"))
    assert [finding.where for finding in raised.value.findings] == [place]


VALUES = st.recursive(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab#{[,/\" ", max_size=3), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_what_is_json_means_the_same(value: object) -> None:
    text = json.dumps(value)
    node, findings = read(text)
    assert findings == () and plain(node) == value
    loose = loose_json.parse(json.dumps(value, indent=1).replace("\n", " // c\n"), Findings())
    assert plain(loose) == value


PIECES = ["{", "}", "[", "]", ":", ",", '"a"', '"b', "1", "true", "//", "/*", "*/", "\n", " ", "\\", "nul"]


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=20).map("".join), st.text(max_size=50)))
def test_nothing_but_our_own_error(text: str) -> None:
    try:
        node, _ = read(text)
    except DefinitionError as error:
        assert error.findings
    else:
        assert isinstance(node, (str, List, Map))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_raise_nothing_but_our_own_error(data: bytes) -> None:
    try:
        read(data)
    except DefinitionError as error:
        assert error.findings


def test_places_are_those_of_the_yaml_reader() -> None:
    text = '{"a": ["b", {"c": "d"}]}'
    ours, theirs = read(text)[0], parse(text)
    assert isinstance(ours, Map) and isinstance(theirs, Map)
    assert [(node.line, node.column) for node in (ours, ours["a"])] == [
        (node.line, node.column) for node in (theirs, theirs["a"])
    ]


def test_many_comments_before_nothing_take_one_look_each() -> None:
    assert not loose_json.begins_like("/**/" * 1000 + '"a"')  # a pattern would try every way to split them
    assert loose_json.begins_like("/**/ // x\n" * 1000 + "{")
