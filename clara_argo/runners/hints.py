"""Paths that only a container has: found in a command, and in what a failed program said.

What a program uses of what its code names cannot be known before it runs: what it said when it did not find it can, and
when it said nothing and did nothing, what its code names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from clara_argo import shim
from clara_argo.model.workflow import StageSpec
from clara_driver.driver import one_line

ENGINE = "run it with --engine podman or docker"
# Where Clara's operators, MONAI's packages and our own containers have their folders.
FOLDERS = frozenset({
    "/app", "/input", "/output", "/logs", "/publish", "/dcm", "/dicom", "/var/monai", "/var/holoscan", "/opt/monai",
    "/opt/holoscan",
})  # fmt: skip
BEFORE, AFTER = r"(?<![\w./-])", r"(?![\w-]|\.\w)"  # a path is not a part of a longer one, nor of a longer name
PLACES = ("/input", "/output", "/logs", "/publish", "/dcm", "/dicom", "/var/monai", "/var/holoscan")  # of its folders
SAY = "say inputPaths, outputPaths, or appDir: / for all of them"
LINES = 20  # of a log: what was said long before the end is not why it failed
MISSING = re.compile(
    r"No such file or directory|Permission denied|Read-only file system|[Cc]annot (open|access|create)|[Cc]an't open"
    r"|[Nn]ot found|[Dd]oes not exist|PermissionError"
)
SEVERAL = re.compile(r"/[^\s'\";]{0,1000};[\w.-]+\b(?!:)")  # NVIDIA_CLARA_INPUTPATHS.split(":")[1] with several inputs
NAMELESS = re.compile(r"[^'\"/]*")  # C's perror says no path
CODE = ("", ".py", ".sh", ".bash")  # suffixes of programs; a compiled one has none
COMMENT = re.compile(rb"^[ \t]*#.*$", re.MULTILINE)
OLD_SERVER = re.compile(r"/api/(status|health/(ready|live))\b|\btensorrtserver\b")


def path_in(text: str, spec: StageSpec) -> str:
    """The first path of the stage's container that stands in a text, "" when none does."""
    roots = {spec.app_dir.rstrip("/"), *spec.input_paths, *spec.output_paths.values(), *FOLDERS} - {""}
    choice = "|".join(map(re.escape, sorted(roots, key=len, reverse=True)))
    found = re.search(rf"{BEFORE}({choice}){AFTER}(/[^\s'\",:;)]*)?", text)
    return found[0] if found else ""


def advice(said: str, spec: StageSpec, *, contained: bool = False) -> str:
    """What to do next, from the last lines that a failed stage left; "" when they say nothing that we know.

    `contained`: it ran in its container, where only its definition says which folders there are.
    """
    for line in reversed(said.splitlines()[-LINES:]):
        if OLD_SERVER.search(line):
            return (
                "it speaks to a TensorRT inference server 1.x (/api/status), which Triton 2 is not: update its client "
                "to tritonclient, which asks /v2/health/ready"
            )
        if MISSING.search(line) and SEVERAL.search(line):
            return (
                "it takes NVIDIA_CLARA_INPUTPATHS for one folder and has several inputs: split at ';' first, or take "
                "payload.input_entries"
            )
        if MISSING.search(line) and (path := path_in(line, spec)):
            if not contained and not Path(path).exists():
                return (
                    f"it needs {path}, a path of a container: {ENGINE}, or let it read its folders from the environment"
                )
            if contained and path.startswith(PLACES):
                return f"its container has no {path}: if that is where it reads or writes, {SAY}"
    return ""


def silent(said: str, spec: StageSpec, *, contained: bool = False) -> str:
    """What to do when a stage wrote nothing, or did not say which file it missed: "" when its code names no such path.

    `said`: its last words, "" when it ended well.
    """
    if said and not (MISSING.search(said) and NAMELESS.fullmatch(said)):
        return ""
    given = (*spec.input_paths, *spec.output_paths.values()) if contained else ()
    for file, path in _named(spec.folder) if spec.folder else ():
        if any(path == place or path.startswith(f"{place}/") for place in given):
            continue
        what = SAY if contained else f"{ENGINE}, or let it read them from the environment"
        return f"its code names {path} ({one_line(file, 100)}): if that is where its folders are, {what}"
    return ""


def _named(folder: Path) -> Iterator[tuple[str, str]]:
    """The files of a stage's code that name places of operators, and which."""
    choice = "|".join(map(re.escape, PLACES))
    pattern = re.compile(rf"{BEFORE}(?:{choice}){AFTER}(?:/[\w./-]*)?".encode())
    for path in shim.programs(folder, CODE):
        text = COMMENT.sub(b"", shim.beginning(path))
        for found in pattern.finditer(text):
            yield str(path.relative_to(folder)), found[0].decode().rstrip("/.")
