"""Whatever a values.yaml holds: what goes wrong is said with its place, and the file is as before."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara_argo import project, source
from clara_argo.errors import ClaraError, DefinitionError
from clara_argo.sdk import folder, layout, stages

ARTICLE = Path(__file__).parents[2] / "article"
PIECES = st.sampled_from([
    *(part.read_text().rstrip("\n") for part in sorted(ARTICLE.glob("*.yaml"))),
    "stages:", "stages: {}", "workflows:", "workflows: []", "    ##BEGIN_user-ai##", "    ##END_user-ai##", "##END_x##",
    "        user-ai:", "  - a", "---", "\t", "&a [*a]", "<<: *a", "'", '"', "{", "name: x", "# ##BEGIN_x##", "",
])  # fmt: skip
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=20)), max_size=8)


@given(TEXTS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_errors_are_ours_and_change_nothing(lines: list[str], end: str, force: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = sdk(Path(name))
        data = end.join(lines).encode("utf-8", "surrogatepass")
        place.values.write_bytes(data)
        with suppress(ClaraError):
            stages.read(place)
        for change in (
            lambda: stages.create(place, "user-ai", ()),
            lambda: stages.delete(place, "user-ai", (), force=force),
        ):
            before = place.values.read_bytes()
            try:
                change()
            except ClaraError as error:
                assert place.values.read_bytes() == before
                if isinstance(error, DefinitionError):
                    assert all(finding.source == str(place.values) and finding.hint for finding in error.findings)
        assert {path.name for path in Path(name).iterdir()} <= {"clara-reference-workflow", "stages"}


def sdk(root: Path) -> layout.Layout:
    values = root.resolve() / layout.CHARTS[0] / layout.VALUES
    values.parent.mkdir(parents=True)
    values.write_text("")
    return layout.find(root)


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 20))
BROKEN = {
    "tabs": ("stages:\n\tx:\n", 2, 1),
    "blanks of a web page": ("stages:\n\u00a0 x:\n", 2, 1),
    "a bracket": ("stages:\n  x: [\n", 3, 1),
    "an alias bomb": (BOMB, 0, 0),
    "deep": ("stages:\n  x: " + "[" * 100 + "\n", 2, 0),
    "NUL": ("stages:\n  \0\n", 2, 3),
    "too large": ("stages:\n" + "#" * source.MAX_BYTES, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_with_its_place(tmp_path: Path, text: str, line: int, column: int) -> None:
    place = sdk(tmp_path)
    place.values.write_text(text)
    _, _, findings = _read(place)
    where = f"{place.values}:{line}:{column or ''}" if line else str(place.values)
    assert any(finding.where.startswith(where) and finding.hint for finding in findings)


def _read(place: layout.Layout) -> tuple[object, object, tuple[object, ...]]:
    try:
        workflows, specs, findings = stages.read(place)
    except DefinitionError as error:
        return (), (), error.findings
    return workflows, specs, findings.all


def test_a_new_folder_is_found_whole_and_says_what_is_missing(tmp_path: Path) -> None:
    made = folder.init(tmp_path / "sdk")
    assert all((tmp_path / "sdk" / name).exists() for name in made)
    (values,) = layout.values_of(tmp_path / "sdk")
    (finding,) = project.check(values)
    assert "the file holds no workflow" in finding.message
