"""Text -> values with places, within bounds; nothing but DefinitionError for anything."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara_argo import source
from clara_argo.errors import DefinitionError, Level, NotFound
from clara_argo.source import Findings, List, Map, Text, documents, nearest, parse


def one(text: str | bytes) -> str:
    """The single finding that a text gives: `line:column code`."""
    with pytest.raises(DefinitionError) as caught:
        parse(text, "f.yaml")
    (finding,) = caught.value.findings
    assert finding.level is Level.ERROR and finding.source == "f.yaml" and finding.message and finding.hint
    return f"{finding.line}:{finding.column} {finding.code}"


@pytest.mark.parametrize(
    "written",
    ["0300", "1_0", "20.10", "on", "yes", "null", "~", "12:30:45", "0x10", "1e3", "2026-01-31", "00000001", ".5"],
)
@pytest.mark.parametrize("form", ["key: {}", "key: '{}'", 'key: "{}"', "key: [{}]"])
def test_scalars_stay_text(written: str, form: str) -> None:
    top = parse(form.format(written))
    assert isinstance(top, Map)
    value = top["key"]
    assert (value[0] if isinstance(value, List) else value) == written


def test_every_value_knows_its_place() -> None:
    top = parse('a: 1\nb:\n  - x\n  - {c: d}\n"e": [f,\n  "g"]\n', "f.yaml")
    assert isinstance(top, Map)
    b, e = top["b"], top["e"]
    assert isinstance(b, List) and isinstance(e, List)
    nodes = [top, top.key("b"), b, b[0], b[1], top.key("e"), e[1]]
    places = [(node.line, node.column) for node in nodes if isinstance(node, Text | List | Map)]
    assert places == [(1, 1), (2, 1), (3, 3), (3, 5), (4, 5), (5, 1), (6, 3)]
    assert list(top) == ["a", "b", "e"]
    assert isinstance(b[0], Text) and b[0].source == top.key("b").source == "f.yaml"


def test_a_part_of_a_text_may_begin_anywhere() -> None:
    top = parse("- x", line=7, column=5)
    assert (top.line, top.column) == (7, 5)
    assert (top[0].line, top[0].column) == (7, 7)  # type: ignore[index, union-attr]


def test_text_is_a_str_that_keeps_its_place() -> None:
    text = Text("a, b", "f.yaml", 3, 5)
    for other in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
        assert other == "a, b" and (other.source, other.line, other.column) == ("f.yaml", 3, 5)
    part = text.part(3, 4)
    assert part == "b" and (part.line, part.column) == (3, 8)
    assert (Text("x").line, Text("xy").part(1, 2).column) == (0, 0)


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "duplicate": ("a: 1\nb: 2\na: 3\n", "3:1 duplicate-key"),
    "duplicate, other quotes": ("a: 1\n'a': 3\n", "2:1 duplicate-key"),
    "alias of nothing": ("a: *b", "1:4 alias"),
    "alias of itself": ("a: &a [*a]", "1:8 alias"),
    "merge": ("a: &a {x: y}\nb:\n  <<: *a\n", "3:3 merge-key"),
    "list as key": ("? [a]\n: b", "1:3 key"),
    "tag": ("a: !!python/object/apply:os.system [ls]", "1:4 tag"),
    "binary": ("- !!binary aGVsbG8=", "1:3 tag"),
    "tab": ("a:\n\tb: c", "2:1 yaml"),
    "blank of a web page before a key": ("a: b\n\xa0c: d\n", "2:1 blank"),
    "blank of a web page behind a colon": ("a:\xa0b\nc: d\n", "1:3 blank"),
    "blank of a web page behind the only colon": ("a:\n  b:\xa0c\n", "2:5 blank"),
    "blank of a web page in a list": ("a: [b,\xa0c]", "1:7 blank"),
    "blank of a web page before a quote": ('a: ["b",\u3000"c"]', "1:9 blank"),
    "blank of a web page at the end": ("a: b\u202f\n", "1:5 blank"),
    "open list": ("a: [b", "1:4 yaml"),
    "open quote": ('a: "b', "1:6 yaml"),
    "two colons": ("a: b: c", "1:5 yaml"),
    "not a value": ("a: @b", "1:4 yaml"),
    "unknown escape": (r'a: "\q"', "1:5 yaml"),
    "two documents": ("--- a\n--- b\n", "2:5 documents"),
    "empty": ("", "0:0 empty"),
    "comment only": ("# nothing\n", "0:0 empty"),
    "NUL": ("a: b\nc: \0", "2:4 control-character"),
    "escape": ("a: \x1b[31m", "1:4 control-character"),
    "byte order mark inside": ("a: \ufeffb", "1:4 control-character"),
    "lone surrogate": ("a: \ud800", "1:4 control-character"),
    "NUL as an escape": ('a: "\\0"', "1:4 control-character"),
    "UTF-16": ("a: b".encode("utf-16"), "1:1 encoding"),
    "Latin-1": ("a: b\nä: c".encode("latin-1"), "2:1 encoding"),
    "too large": ("#" * (source.MAX_BYTES + 1), "0:0 too-large"),
    "too large in bytes": (b"\xff" * (source.MAX_BYTES + 1), "0:0 too-large"),
    "deep": ("[" * 500_000, "1:1001 depth"),
    "deep mappings": ("{a: " * 500, "1:257 depth"),
    "deep blocks": ("\n".join(" " * n + "a:" for n in range(500)), "65:65 depth"),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(text: str | bytes, expected: str) -> None:
    assert one(text) == expected


def test_a_blank_of_a_web_page_inside_a_text_is_text() -> None:
    text = "# a:\xa0b\na: b\xa0c d:\xa0e\nb: '\xa0x: y\xa0'\nc: |\n  x:\xa0y\n"
    assert dict(parse(text)) == {"a": "b\xa0c d:\xa0e", "b": "\xa0x: y\xa0", "c": "x:\xa0y\n"}  # type: ignore[call-overload]


def test_depth_up_to_the_bound_is_read() -> None:
    node = parse("[" * source.MAX_DEPTH + "]" * source.MAX_DEPTH)
    for _ in range(source.MAX_DEPTH - 1):
        assert isinstance(node, List)
        node = node[0]
    assert isinstance(node, List) and len(node) == 0


def test_an_alias_stands_for_its_value() -> None:
    top = parse("a: &a [x, y]\nb: *a\n")
    assert isinstance(top, Map) and list(top["b"]) == ["x", "y"]


def test_aliases_are_bounded_by_what_they_expand_to() -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert one("\n".join(["a0: &a0 x", *levels])).endswith("alias-bomb")
    many = "a: &a x\nb: [" + ", ".join(["*a"] * source.MAX_ALIASED) + "]"
    parse(many)
    assert one(many.replace("]", ", *a]")).endswith("alias-bomb")


def test_all_duplicates_are_reported() -> None:
    with pytest.raises(DefinitionError) as caught:
        parse("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert [(finding.line, finding.column) for finding in caught.value.findings] == [(2, 1), (3, 11)]


def test_byte_order_mark_and_line_ends_do_not_count() -> None:
    top = parse(b"\xef\xbb\xbfa: b\r\nc: d\r\n")
    assert isinstance(top, Map) and list(top) == ["a", "c"] and top["c"] == "d"


def test_several_documents() -> None:
    first, second = documents("a: &x 1\n---\na: 2\n")
    assert isinstance(first, Map) and isinstance(second, Map)
    assert (first["a"], second["a"], second.line) == ("1", "2", 3)


def test_read_says_which_file_and_why(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent.yaml: no such file"):
        source.read(tmp_path / "absent.yaml")
    with pytest.raises(DefinitionError, match="cannot be read"):
        source.read(tmp_path)
    (tmp_path / "a.yaml").write_bytes("a: ä".encode())
    assert source.read(tmp_path / "a.yaml") == "a: ä"


def test_findings_are_collected_in_the_order_of_the_file() -> None:
    findings = Findings("f.yaml")
    findings.notice("n", "third", Text("x", "f.yaml", 3, 1))
    findings.warning("w", "second", Text("x", "f.yaml", 2, 9), "do this")
    findings.warning("w", "second", Text("x", "f.yaml", 2, 9), "do this")
    findings.notice("n", "first")
    assert [finding.message for finding in findings.check()] == ["first", "second", "third"]
    findings.error("e", "bad", Text("x", "f.yaml", 2, 10))
    with pytest.raises(DefinitionError) as caught:
        findings.check()
    assert len(caught.value.findings) == 4 and "f.yaml:2:9: warning: second; do this [w]" in str(caught.value)


def test_strict_makes_warnings_errors_but_not_notices() -> None:
    findings = Findings("f.yaml", strict=True)
    findings.notice("n", "fine")
    assert not findings.failed
    findings.warning("w", "not fine")
    assert findings.failed


@pytest.mark.parametrize(
    ("word", "expected"),
    [("waitlock", "waitLocks"), ("wait-locks", "waitLocks"), ("io_folders", "ioFolders"), ("arg", "args"), ("zzz", "")],
)
def test_nearest_word(word: str, expected: str) -> None:
    assert nearest(word, ["waitLocks", "ioFolders", "args", "stages"]) == expected


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary(), st.text(alphabet="a:-[]{},&*!|>'\"#%@`? \n\t\\")))
def test_nothing_raises_anything_else(text: str | bytes) -> None:
    try:
        nodes = documents(text)
    except DefinitionError as error:
        assert error.findings
    else:
        assert all(node.line > 0 and node.column > 0 for node in nodes)


def test_pure_python_yaml_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    text = "a: &a [1, 'x', {b: \"c\"}]\nd: *a\ne: |\n  f\n  g\n"
    with_c = repr(parse(text))
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert repr(parse(text)) == with_c
    assert one("a: 1\na: 2") == "2:1 duplicate-key"
    assert one("[" * 20_000).endswith("depth")


def test_yaml_is_imported_only_to_parse() -> None:
    code = "import sys, clara_argo.source, clara_argo.cli.workflows; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
