"""An SDK folder from the outside: `clara init --sdk`, and what clara-wf does with its stages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.sdk.typed import Done, typed

from clara_adapter import plan
from clara_adapter.spool import Spool
from clara_adapter.store import Store
from clara_argo import project
from clara_argo.errors import NotFound, UsageError
from clara_argo.sdk import layout

ARTICLE = Path(__file__).parents[2] / "article"
ID = "7b413e24-d018-4689-8c41-73272f6649d4"
Type = Callable[..., Done]


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str]) -> Type:
    return typed(capsys)


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: Type) -> Path:
    """A new SDK folder; we are where the article is."""
    type_(f"clara init --sdk {tmp_path}/sdk")
    monkeypatch.chdir(tmp_path / "sdk" / "clara-reference-workflow")
    return tmp_path / "sdk"


@pytest.fixture
def values(sdk: Path) -> Path:
    return sdk / "clara-reference-workflow" / "charts" / "clara-workflow" / "values.yaml"


def paste(values: Path, name: str = "workflow.yaml") -> None:
    with open(values, "a") as file:
        file.write((ARTICLE / name).read_text())


def test_init_makes_what_it_says(tmp_path: Path, type_: Type) -> None:
    said = type_(f"clara init --sdk {tmp_path}/new").out
    names = [line.split()[0] for line in said.split("Next:")[0].splitlines()[1:] if line.strip()]
    assert len(names) == 5 and all((tmp_path / "new" / name).exists() for name in names)
    assert "not an empty folder" in type_(f"clara init --sdk {tmp_path}/new", 64).err
    assert project.find_root(tmp_path / "new" / names[0]) == tmp_path / "new"


def test_the_adapters_file_wants_only_the_articles_block(sdk: Path, type_: Type) -> None:
    file = sdk / layout.ADAPTER
    said = type_(f"clara adapter check --config {file}", 2).out
    assert "no workflow is named" in said and said.count(": error: ") == 1
    type_("clara-wf cs user-ai")
    paste(layout.values_of(sdk)[0])
    paste(file, "adapter.yaml")
    said = type_(f"clara adapter check --config {file}").out
    assert "route user-workflow: called CT_AI" in said and "user-ai -> dicom-writer" in said
    assert [line for line in said.splitlines() if "warning: " in line and str(file) in line and "R3" not in line] == []


def test_a_workflow_that_is_being_edited_hides_no_job_of_the_adapter(sdk: Path, values: Path, type_: Type) -> None:
    """What runs is read at the adapter's start; to look needs only where its state is."""
    type_("clara-wf cs user-ai")
    paste(values)
    file = sdk / layout.ADAPTER
    paste(file, "adapter.yaml")
    config = plan.read(file).configuration
    assert config is not None
    state = Spool(Path(plan.spool(file))).state
    state.parent.mkdir(parents=True, exist_ok=True)
    Store(state).close()
    values.write_text(values.read_text() + "  x: [\n")
    assert type_(f"clara adapter status --config {file}").out.startswith("0 studies")
    assert type_(f"clara adapter retry --all --config {file}").out == "nothing has failed\n"
    assert plan.spool(file) == config.spool


def test_a_stage_comes_and_goes(sdk: Path, values: Path, type_: Type) -> None:
    before = values.read_bytes()
    said = type_("clara-wf cs user-ai").out
    assert "##BEGIN_user-ai##" in said and f"..{os.sep}stages{os.sep}user-ai" in said
    assert type_("clara-wf list").out.splitlines()[0].split() == ["user-ai", "../stages/user-ai"]
    found = json.loads(type_("clara-wf ls -o json").out)
    assert found["schema"] == 1 and {stage["name"] for stage in found["stages"]} >= {"user-ai", "dicom-reader"}
    assert (found["stages"][0]["image"], found["stages"][0]["block"]) == ("user-ai:latest", True)
    assert "stays in ../stages/user-ai" in type_("clara-wf ds user-ai").out
    assert values.read_bytes() == before and (sdk / "stages" / "user-ai" / "main.py").is_file()
    assert "is kept" in type_("clara-wf create user-ai").out


def test_the_program_calls_itself_as_its_stage(sdk: Path, type_: Type) -> None:
    type_("clara-wf create_stage user-ai")
    assert not [path for path in (sdk / "stages" / "user-ai").iterdir() if "my-stage" in path.read_text()]


def test_where_the_program_of_a_stage_is(values: Path, type_: Type) -> None:
    """Two stages may be one program; one that nobody has here is in its image."""
    for name in ("user-ai", "second", "elsewhere"):
        type_(f"clara-wf cs {name}")
    text = values.read_text().replace("repository: second", "repository: user-ai")
    values.write_text(text.replace("repository: elsewhere", "repository: registry.example/elsewhere"))
    found = dict(line.split(maxsplit=1) for line in type_("clara-wf ls").out.splitlines())
    assert (found["user-ai"], found["second"]) == ("../stages/user-ai", "../stages/user-ai")
    assert found["elsewhere"] == "in its image only" and found["dicom-reader"] == "comes with clara-argo"


@pytest.mark.parametrize("where", [".", "charts/clara-workflow", "..", "../clara-platform/files", "../stages"])
def test_the_folder_is_found_from_below(sdk: Path, where: str, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(where)
    type_("clara-wf cs user-ai")
    assert (sdk / "stages" / "user-ai").is_dir()


def test_outside_of_an_sdk_folder(tmp_path: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in ("clara-wf ls", "clara-wf cs x", "clara-wf ds x"):
        assert "clara init --sdk DIR" in type_(line, NotFound.exit_code).err


def test_both_spellings_of_the_folder(sdk: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a folder that was there before us: without clara.yaml."""
    (sdk / "clara.yaml").unlink()
    (sdk / "clara-reference-workflow").rename(sdk / "clara-reference-workflows")
    monkeypatch.chdir(sdk)
    type_("clara-wf cs user-ai")
    (values,) = layout.values_of(sdk)
    paste(values)
    assert [node.name for node in project.workflow(project.find_root(values), "user-workflow").nodes][1] == "user-ai"
    other = sdk / "clara-reference-workflow" / "charts" / "clara-workflow"
    other.mkdir(parents=True)
    (other / "values.yaml").touch()
    assert "remove the other" in type_("clara-wf ls", UsageError.exit_code).err


REFUSED = {
    "capitals": ("clara-wf cs User_AI", 64, "for example user-ai"),
    "nothing left of it": ("clara-wf cs _", 64, "Kubernetes wants"),
    "too long": (f"clara-wf cs {'a' * 64}", 64, "1 to 63"),
    "a path": ("clara-wf cs ../x", 64, "Kubernetes wants"),
    "shipped": ("clara-wf cs dicom-reader", 64, "comes with clara-argo.*my-dicom-reader"),
    "a key of a stage": ("clara-wf cs mount", 64, "mount is a key of stage definitions.*my-mount"),
    "there": ("clara-wf cs other", 64, r"values.yaml:\d+:\d+: stage 'other' is there already.*clara-wf ds other"),
    "a folder that is no stage": ("clara-wf cs mine", 64, "stages/mine is there already, and is no stage"),
    "unknown": ("clara-wf ds othr", 6, "no stage 'othr'; did you mean 'other'"),
    "not ours": ("clara-wf ds dicom-writer", 6, "there is nothing to delete"),
    "without markers": ("clara-wf ds plain", 64, r"values.yaml:\d+:\d+: .*without ##BEGIN_plain##.*by hand"),
    "no name": ("clara-wf cs", 64, "Missing argument"),
    "no such word": ("clara-wf deploy", 64, "no command 'deploy'"),
}


@pytest.mark.parametrize(("line", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_changes_nothing(
    sdk: Path, values: Path, type_: Type, line: str, code: int, message: str
) -> None:
    type_("clara-wf cs other")
    values.write_text(values.read_text().replace("stages:\n", "stages:\n    plain:\n        image: x\n"))
    (sdk / "stages" / "mine").mkdir()
    (sdk / "stages" / "mine" / "code.py").write_text("mine")
    before = {path: path.read_bytes() for path in sdk.rglob("*") if path.is_file()}
    assert re.search(message, type_(line, code).err)
    assert {path: path.read_bytes() for path in sdk.rglob("*") if path.is_file()} == before


def test_a_stage_in_use_is_deleted_by_force_only(values: Path, type_: Type) -> None:
    type_("clara-wf cs user-ai")
    paste(values)
    before = values.read_text()
    said = type_("clara-wf ds user-ai", UsageError.exit_code).err
    line = before.splitlines().index(f" {ID}") + 1
    assert f"is used by 'user-workflow' (line {line})" in said and "--force" in said
    assert values.read_text() == before
    type_("clara-wf ds user-ai --force")
    assert "user-ai" in values.read_text() and "##BEGIN_user-ai##" not in values.read_text()


def test_who_uses_a_stage_must_be_readable(values: Path, type_: Type) -> None:
    type_("clara-wf cs user-ai")
    with open(values, "a") as file:
        file.write(f"{ID}:\n name: [\n")
    assert "[yaml]" in type_("clara-wf ds user-ai", 2).err and "##BEGIN_user-ai##" in values.read_text()
    said = type_("clara-wf ls", 2)
    assert "error:" in said.err and said.out.startswith("user-ai ")
    type_("clara-wf ds user-ai --force")


@pytest.mark.parametrize("line", ["clara-wf cs user-ai", "clara-wf ds other", "clara-wf ls"])
def test_broken_markers_stop_every_command(sdk: Path, values: Path, type_: Type, line: str) -> None:
    values.write_text("stages:\n    ##BEGIN_other##\n    ##BEGIN_user-ai##\n    ##END_other##\n")
    before = values.read_bytes()
    assert "values.yaml:2:5: error: ##BEGIN_other## has no ##END_other##" in type_(line, 2).err
    assert values.read_bytes() == before and not (sdk / "stages" / "user-ai").exists()


def test_a_folder_that_was_made_goes_when_the_block_cannot(sdk: Path, values: Path, type_: Type) -> None:
    values.chmod(0o444)
    assert "read-only" in type_("clara-wf cs user-ai", UsageError.exit_code).err
    assert not (sdk / "stages" / "user-ai").exists()


def test_of_two_who_make_a_stage_one_makes_all_of_it(sdk: Path) -> None:
    """The other is told, and takes nothing away."""
    code = (
        "import sys; from pathlib import Path; from clara_argo.errors import Held, UsageError\n"
        "from clara_argo import graph; from clara_argo.sdk import layout, stages\n"
        "place = layout.find(Path.cwd()); print('ready', flush=True); sys.stdin.readline()\n"
        "for number in range(12):\n"
        "    try:\n        stages.create(place, f'x{number}', ())\n"
        "    except (Held, UsageError):\n        pass\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
    for writer in writers:
        writer.communicate(b"go\n", timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    (values,) = layout.values_of(sdk)
    made = {path.parent.name for path in (sdk / "stages").glob("*/main.py")}
    assert made and made == set(re.findall(r"##BEGIN_(\S+)##", values.read_text()))
    assert {path.name for path in (sdk / "stages").iterdir()} == {*made, "README.md"}


def test_killed_while_it_makes_the_program_it_is_made_again(sdk: Path, type_: Type) -> None:
    code = (
        "import os; from pathlib import Path; from clara_argo.sdk import layout, stages\n"
        "Path.rename = lambda *_: os._exit(9)\nstages.create(layout.find(Path.cwd()), 'user-ai', ())"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 9
    assert "user-ai" not in type_("clara-wf ls").out and not (sdk / "stages" / "user-ai").exists()
    assert type_("clara-wf cs user-ai").out.endswith("user-ai/main.py\n")
    assert {path.name for path in (sdk / "stages").iterdir()} == {"README.md", "user-ai"}


def test_a_block_that_would_make_the_file_unreadable_is_not_written(sdk: Path, values: Path, type_: Type) -> None:
    with open(values, "a") as file:
        file.write("#" * ((1 << 20) - values.stat().st_size))
    before = values.read_bytes()
    assert "would be larger than 1 MiB" in type_("clara-wf cs user-ai", UsageError.exit_code).err
    assert values.read_bytes() == before and not (sdk / "stages" / "user-ai").exists()


def test_in_a_folder_that_is_gone(sdk: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    (sdk / "gone").mkdir()
    monkeypatch.chdir(sdk / "gone")
    (sdk / "gone").rmdir()
    for line in ("clara-wf ls", "clara-wf test", "clara stages list"):
        assert "the folder that you are in is gone" in type_(line, UsageError.exit_code).err


def test_workflows_of_the_file_are_found_by_name_and_id(sdk: Path, values: Path, type_: Type) -> None:
    type_("clara-wf cs user-ai")
    paste(values)
    for name in ("user-workflow", ID, ID.replace("-", "")):
        graph = project.workflow(sdk, name)
        assert [node.name for node in graph.nodes] == ["dicom-reader", "user-ai", "dicom-writer"]
    assert graph.nodes[1].spec.folder == sdk / "stages" / "user-ai"
    assert str(graph.nodes[1].spec.image) == "registry.example/user-ai:0.1"
    assert "user-workflow" in [workflow.name for workflow in project.workflows(sdk)]
    assert set(project.files_of(sdk, [ID])) == {str(values.relative_to(sdk)), "stages/user-ai/stage.yaml"}


def test_a_program_without_an_image_has_its_blocks(sdk: Path, values: Path, type_: Type) -> None:
    type_("clara-wf cs user-ai")
    paste(values)
    (sdk / "stages" / "user-ai" / "stage.yaml").write_text("command: [python3, main.py]\n")
    assert str(project.workflow(sdk, ID).nodes[1].spec.image) == "user-ai:latest"


def test_what_a_block_says_of_the_image_and_is_not_followed_is_said(sdk: Path, values: Path, type_: Type) -> None:
    type_("clara-wf cs user-ai")
    paste(values)
    assert "[image]" not in type_(f"clara lint {values}").out
    values.write_text(values.read_text().replace("tag: latest", 'tag: "2.0"'))
    line = next(line for line in type_(f"clara lint {values}").out.splitlines() if "[image]" in line)
    assert (
        "warning: the tag '2.0' of stage 'user-ai' is not followed: its image is registry.example/user-ai:0.1" in line
    )
    assert "stages/user-ai/stage.yaml" in line and ":10:22:" in line
    values.write_text(values.read_text().replace("repository: user-ai", "repository: r.example/own"))
    line = next(line for line in type_(f"clara lint {values}").out.splitlines() if "[image]" in line)
    assert "notice: stage 'user-ai' is the image 'r.example/own:2.0'; the program in" in line and "is not used" in line


def test_no_name_steers_a_terminal(sdk: Path, values: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda stream, color: False)  # as on a terminal
    values.write_text(values.read_text().replace("stages:\n", 'stages:\n  "\\e[2Jx": {image: {repository: a}}\n'))
    (sdk / "stages" / "\x1b[31my").mkdir()
    (sdk / "stages" / "\x1b[31my" / "stage.yaml").write_text("command: [x]\n")
    lines = type_("clara-wf ls").out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == [r"\x1b[2Jx", r"\x1b[31my"] and "\x1b" not in "".join(lines)
    said = type_("clara-wf ds \x1b[2Jx", 64)
    assert r"##BEGIN_\x1b[2Jx##" in said.err and "\x1b" not in said.err
    sdk.rename(sdk.with_name("\x1b[1m"))
    monkeypatch.chdir(sdk.with_name("\x1b[1m"))
    assert "\x1b[1m" not in type_(f"clara lint {sdk.with_name(chr(27) + '[1m') / 'clara-reference-workflow'}", 2).out
    assert r"\x1b[1m" in type_("clara lint nothing.yaml ../\x1b[1m/none.yaml", 6).err


def test_a_folder_read_without_its_lock_is_repaired_and_named(values: Path, type_: Type) -> None:
    """R7; an error under --strict."""
    type_("clara-wf cs user-ai")
    paste(values)
    values.write_text(values.read_text().replace('"user-ai.lock"]', '""]'))
    said = type_(f"clara lint {values}")
    assert "[R7]" in said.out
    strict = type_(f"clara lint --strict {values}", 2).out.splitlines()
    assert [": error: " in line for line in strict if "[R7]" in line] == [True]


def test_without_words_it_prints_the_articles_list(type_: Type) -> None:
    said = type_("clara-wf").out
    for words in ("list_stages | list | ls", "create_stage | create | cs NAME", "delete_stage | delete | ds NAME"):
        assert words in said
    assert "set_ngc_api_key | setkey" in said and "trtis" not in said


def test_listing_loads_nothing_heavy(sdk: Path) -> None:
    code = "import sys; from clara_argo.cli.clara_wf import main\ntry: main(['ls'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    modules = set(done.stdout.splitlines()[-1].split())
    heavy = {"numpy", "pydicom", "hera", "minio", "ssl", "asyncio", "clara_argo.runners", "clara_argo.compile"}
    assert "clara_argo.sdk" in modules and not modules & heavy
