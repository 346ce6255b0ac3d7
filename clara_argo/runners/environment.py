"""The variables that a stage starts with: the contract's, their twins of older systems, its own, and a clean PATH.

Nothing else of the runner's environment goes in. Twins: `NVIDIA_CLARA_*` (Clara Deploy's operators), `MONAI_*` and
`HOLOSCAN_*` (application packages 0.x and 1.0), so that programs written for them run unchanged.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clara_argo.model.workflow import StageSpec
from clara_driver import contract


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """Where the folders of one attempt are. None = the stage does not ask for it."""

    input: Path
    inputs: Mapping[str, Path]  # of each producer, when there are several
    output: Path
    locks: Path
    logs: Path
    work: Path  # working directory
    temporary: Path
    progress: Path  # a file
    library: Path  # holds clara_driver only
    study: Path | None = None
    publish: Path | None = None
    models: Path | None = None


def variables(spec: StageSpec, folders: Folders, facts: Mapping[str, str]) -> dict[str, str]:
    """`facts`: the contract's variables that are no folders (job, names, attempt, created)."""
    own = _contract(spec, folders) | dict(facts)
    return _base(folders) | _twins(spec, folders, own) | dict(spec.env) | own


def _base(folders: Folders) -> dict[str, str]:
    """PATH begins with the interpreter's folder: `python3` in a shell script is the Python that runs `clara`."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(folders.temporary),
        "TMPDIR": str(folders.temporary),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(folders.library),
        "PYTHONDONTWRITEBYTECODE": "1",  # the code of a stage is not ours to write to
        "PYTHONUNBUFFERED": "1",  # logs are live
    }


def _contract(spec: StageSpec, folders: Folders) -> dict[str, str]:
    values: dict[str, Path | None] = {
        contract.INPUT: folders.input,
        contract.OUTPUT: folders.output,
        contract.LOCKS: folders.locks,
        contract.LOGS: folders.logs,
        contract.PROGRESS_FILE: folders.progress,
        contract.STUDY: folders.study,
        contract.PUBLISH: folders.publish,
        contract.MODELS: folders.models,
    }
    texts = {
        contract.CONTRACT: contract.VERSION,
        contract.STAGE: spec.name,
        contract.TIMEOUT: str(spec.timeout),
    }
    if folders.inputs:
        texts[contract.INPUTS] = " ".join(folders.inputs)
    return texts | {name: str(path) for name, path in values.items() if path is not None}


def _twins(spec: StageSpec, folders: Folders, own: Mapping[str, str]) -> dict[str, str]:
    inputs = folders.inputs or {spec.mount_in: folders.input}
    texts = {
        "NVIDIA_CLARA_INPUTPATHS": ";".join(f"{name}:{path}" for name, path in inputs.items()),
        "NVIDIA_CLARA_OUTPUTPATHS": f"{spec.mount_out}:{folders.output}",
        "NVIDIA_CLARA_INPUT": own[contract.INPUT],
        "NVIDIA_CLARA_OUTPUT": own[contract.OUTPUT],
        "NVIDIA_CLARA_LOGS": own[contract.LOGS],
        "NVIDIA_CLARA_NOSYNCLOCK": "1",  # run without lock files
        "MONAI_INPUTPATH": own[contract.INPUT],
        "MONAI_OUTPUTPATH": own[contract.OUTPUT],
        "MONAI_WORKDIR": str(folders.work),
        "MONAI_JOBID": own.get(contract.JOB, ""),
        "MONAI_TIMEOUT": own[contract.TIMEOUT],
        "HOLOSCAN_INPUT_PATH": own[contract.INPUT],
        "HOLOSCAN_OUTPUT_PATH": own[contract.OUTPUT],
        "HOLOSCAN_WORKDIR": str(folders.work),
        "HOLOSCAN_LOGS": own[contract.LOGS],
    }
    if folders.publish is not None:
        texts["NVIDIA_CLARA_PUBLISHING"] = str(folders.publish)
    if folders.models is not None:
        texts |= {"MONAI_MODELPATH": str(folders.models), "HOLOSCAN_MODEL_PATH": str(folders.models)}
    if spec.folder is not None:
        texts["MONAI_APPLICATION"] = str(spec.folder)
    return texts
