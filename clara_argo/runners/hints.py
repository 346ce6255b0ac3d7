"""Paths that only a container has: found in a command, and in what a failed program said.

What a program's code names cannot be known before it runs; what it said when it did not find it can.
"""

from __future__ import annotations

import re
from pathlib import Path

from clara_argo.model.workflow import StageSpec

ENGINE = "run it with --engine podman or docker"
# Where Clara's operators, MONAI's packages and our own containers have their folders.
FOLDERS = frozenset({
    "/app", "/input", "/output", "/publish", "/dcm", "/dicom", "/var/monai", "/var/holoscan", "/opt/monai",
    "/opt/holoscan",
})  # fmt: skip
BEFORE, AFTER = r"(?<![\w./-])", r"(?![\w-]|\.\w)"  # a path is not a part of a longer one, nor of a longer name
PLACES = ("/input", "/output", "/dcm", "/dicom", "/var/monai", "/var/holoscan")  # of what operators read and write
LINES = 20  # of a log: what was said long before the end is not why it failed
MISSING = re.compile(
    r"No such file or directory|Permission denied|Read-only file system|[Cc]annot (open|access|create)|[Cc]an't open"
    r"|[Nn]ot found|[Dd]oes not exist|PermissionError"
)
SEVERAL = re.compile(r"/[^\s'\";]{0,1000};[\w.-]+\b(?!:)")  # NVIDIA_CLARA_INPUTPATHS.split(":")[1] with several inputs
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
                return f"its container has no {path}: if that is where it reads or writes, say inputPaths, outputPaths"
    return ""
