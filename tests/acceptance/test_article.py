"""The steps of Clara's article, typed as docs/article.md shows them: every command runs, and what is seen is seen.

What the fences of the guide say: `sh` is typed; `sh stays` goes on in another terminal, and listens on its port; `sh
soon` is looked at again until it shows what it will; `text` is what the command before it shows, line by line, with `…`
for anything; `yaml file=F below=L` is pasted into F below its line L. Only ports are replaced, by free ones.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest

from clara_argo.demo.pacs import free_port, wait_for_port

ROOT = Path(__file__).parents[2]
GUIDE, PRINTED = ROOT / "docs" / "article.md", ROOT / "tests" / "article"
FENCE = re.compile(r"^```(\S+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORTS = ("11112", "11113")
SECONDS = 120.0  # for a test that will fail


@dataclass(frozen=True)
class Step:
    kind: str
    words: tuple[str, ...]
    text: str

    @property
    def options(self) -> dict[str, str]:
        return dict(word.split("=", 1) for word in self.words if "=" in word)


def steps() -> list[Step]:
    return [Step(kind, tuple(words.split()), text) for kind, words, text in FENCE.findall(GUIDE.read_text())]


def shows(wanted: str, output: str) -> str:
    """The first line that is not seen; "" when all are, in their order."""
    rest = output
    for line in wanted.splitlines():
        pattern = "^" + ".*".join(re.escape(part) for part in line.split("…")) + "$"
        found = re.search(pattern, rest, re.MULTILINE)
        if found is None:
            return line
        rest = rest[found.end() :]
    return ""


@dataclass
class Terminal:
    """A person's shell: the folder they are in, and programs that go on in other terminals."""

    home: Path
    folder: Path
    ports: dict[str, str]
    shown: str = ""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def words(self, text: str) -> str:
        for port, free in self.ports.items():
            text = text.replace(port, free)
        return text

    @property
    def environment(self) -> dict[str, str]:
        known = {"HOME": str(self.home), "PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        return known | {"LANG": "C.UTF-8", "TCP_NODELAY": "1"}

    def type(self, text: str) -> None:
        script = f"set -e\n{self.words(text)}\npwd > {shlex.quote(str(self.home / 'pwd'))}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.folder = Path((self.home / "pwd").read_text().strip())
        self.shown = done.stderr + done.stdout

    def start(self, text: str, port: str) -> None:
        log = self.home / f"{port}.log"
        *before, last = self.words(text).splitlines()
        with open(log, "wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", "\n".join([*before, f"exec {last}"])], cwd=self.folder, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        self.running.append(process)
        wait_for_port(process, int(self.words(port)), last.split()[0], log)

    def soon(self, text: str, wanted: str) -> None:
        end = time.monotonic() + SECONDS
        while True:
            self.type(text)
            missing = shows(self.words(wanted), self.shown)
            if not missing:
                return
            logs = "\n".join(path.read_text() for path in self.home.glob("*.log"))
            assert time.monotonic() < end, f"{missing!r} is not seen in {self.shown!r}\n{logs}"
            time.sleep(0.2)

    def paste(self, step: Step) -> None:
        path, line = self.folder / step.options["file"], step.options["below"]
        before, found, after = path.read_text().partition(f"\n{line}\n")
        assert found
        path.write_text(before + found + step.text + after)

    def end(self) -> None:
        for process in reversed(self.running):
            process.terminate()
            process.wait(timeout=SECONDS)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    commands = {"clara": "clara_argo", "clara-wf": "clara_argo.cli.clara_wf"}
    (tmp_path / "bin").mkdir()
    for name, module in commands.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    made = Terminal(tmp_path, tmp_path, {port: str(free_port()) for port in PORTS})
    yield made
    made.end()


def test_the_snippets_are_pasted_as_they_were_printed() -> None:
    assert [step.text for step in steps() if step.kind == "yaml"] == [
        (PRINTED / name).read_text() for name in ("workflow.yaml", "adapter.yaml")
    ]


@pytest.mark.skipif(not (shutil.which("storescu") and shutil.which("storescp")), reason="dcmtk is not installed")
def test_the_article_word_for_word(terminal: Terminal) -> None:
    guide = steps()
    for step, after in zip(guide, [*guide[1:], None], strict=True):
        seen = after.text if after is not None and after.kind == "text" else ""
        if step.kind == "sh" and "stays" in step.words:
            terminal.start(step.text, step.options["port"])
        elif step.kind == "sh" and "soon" in step.words:
            terminal.soon(step.text, seen)
        elif step.kind == "sh":
            terminal.type(step.text)
            assert not shows(terminal.words(seen), terminal.shown), terminal.shown
            set_ports(terminal)
        elif step.kind == "yaml":
            terminal.paste(step)
        else:
            assert step.kind == "text"
    judge(terminal)


def set_ports(terminal: Terminal) -> None:
    """Of the file that the first step made, before anybody reads it."""
    for path in terminal.home.glob("my-sdk/clara-platform/files/*.yaml"):
        path.write_text(terminal.words(path.read_text()))


def judge(terminal: Terminal) -> None:
    """What DCM4CHEE has is a segmentation of the patient and study that were sent; that of the test has its pixels."""
    (sent,) = {
        (image.PatientID, image.StudyInstanceUID)
        for path in (terminal.home / ".local/state/clara-argo/samples").rglob("*.dcm")
        for image in [pydicom.dcmread(path, stop_before_pixels=True)]
    }
    (returned,) = map(pydicom.dcmread, (terminal.folder / "received").iterdir())
    (tested,) = map(pydicom.dcmread, (terminal.folder / "test-user-workflow").iterdir())
    assert (returned.PatientID, returned.StudyInstanceUID) == sent
    assert returned.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4" and returned.SegmentSequence[0].SegmentLabel
    assert returned.PixelData == tested.PixelData
