"""The variables that a stage starts with, as a process and in a container.

The contract's, their twins of older systems, the stage's own; as a process also a clean PATH, and nothing else of the
runner's environment. Twins: `NVIDIA_CLARA_*` (Clara Deploy's operators), `MONAI_*` and `HOLOSCAN_*` (application
packages 0.x and 1.0), so that programs written for them run unchanged.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Generic, TypeVar

from clara_argo import shim
from clara_argo.model.workflow import StageSpec
from clara_driver import contract

PLACEHOLDER = re.compile(r"\$\{\{([A-Z][A-Z0-9_]*)\}\}")
JOB_ID = "JOB_ID"
CALLED = {JOB_ID: contract.JOB}
TRITON_HTTP = 8000  # Triton's own port for HTTP; 8001 is gRPC

P = TypeVar("P", bound=PurePath)


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders(Generic[P]):
    """Where the folders of one attempt are. None = the stage does not ask for it."""

    input: P
    inputs: Mapping[str, P]  # each with its name, when there are several
    output: P
    locks: P
    logs: P
    work: P  # working directory
    temporary: P
    progress: P  # a file
    study: P | None = None
    publish: P | None = None
    models: P | None = None
    application: P | None = None  # the stage's code
    outputs: Mapping[str, P] = field(default_factory=dict)  # parts of the output that have names


def variables(
    spec: StageSpec, folders: Folders[P], facts: Mapping[str, str], base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """`facts`: the contract's variables that are no folders (job, names, attempt, created); `base` gives way to all."""
    own = _contract(spec, folders) | dict(facts)
    ours = dict(base or {}) | _twins(spec, folders, own)
    return ours | {name: filled(text, ours | own) for name, text in spec.env.items()} | own


def filled(text: str, values: Mapping[str, str]) -> str:
    """`${{CLARA_OUTPUT}}` in what a stage starts with is the value of that variable; what is none stays as written.

    Clara called the job `${{JOB_ID}}`.
    """
    return PLACEHOLDER.sub(lambda found: values.get(CALLED.get(found[1], found[1]), found[0]), text)


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Every variable of ours that a stage may start with."""
    here = PurePath("/")
    folders = Folders(
        input=here, inputs={"a": here, "b": here}, output=here, locks=here, logs=here, work=here, temporary=here,
        progress=here, study=here, publish=here, models=here, application=here,
    )  # fmt: skip
    facts = {str(value): "host:1" for name, value in vars(contract).items() if name.isupper()}
    contracted = {name for name in facts if name.startswith("CLARA_")}
    return frozenset(variables(StageSpec(name="any"), folders, facts).keys() - facts.keys() | contracted)


def of_a_process(folders: Folders[Path], library: Path) -> dict[str, str]:
    """PATH begins with the interpreter's folder: `python3` in a shell script is the Python that runs `clara`.

    `library` holds clara_driver only; operators of Clara Deploy find the library that they import.
    """
    libraries = [library, shim.folder()] if folders.application and shim.wanted(folders.application) else [library]
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(folders.temporary),
        "TMPDIR": str(folders.temporary),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(map(str, libraries)),
        "PYTHONDONTWRITEBYTECODE": "1",  # the code of a stage is not ours to write to
        "PYTHONUNBUFFERED": "1",  # logs are live
    }


def _contract(spec: StageSpec, folders: Folders[P]) -> dict[str, str]:
    values: dict[str, P | None] = {
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
    if folders.inputs and not spec.input_paths:
        texts[contract.INPUTS] = " ".join(folders.inputs)
    return texts | {name: str(path) for name, path in values.items() if path is not None}


def _twins(spec: StageSpec, folders: Folders[P], own: Mapping[str, str]) -> dict[str, str]:
    inputs = folders.inputs or {spec.mount_in: folders.input}
    whole = {spec.mount_out: folders.output} if not folders.outputs or "" in spec.output_paths else {}
    outputs = whole | dict(folders.outputs)  # the main folder first: programs take the first entry
    texts = {
        "NVIDIA_CLARA_INPUTPATHS": ";".join(f"{name}:{path}" for name, path in inputs.items()),
        "NVIDIA_CLARA_OUTPUTPATHS": ";".join(f"{name}:{path}" for name, path in outputs.items()),
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
        "HOLOSCAN_LOGS_PATH": own[contract.LOGS],
    }
    if folders.publish is not None:
        texts["NVIDIA_CLARA_PUBLISHING"] = str(folders.publish)
    if folders.models is not None:
        texts |= {"MONAI_MODELPATH": str(folders.models), "HOLOSCAN_MODEL_PATH": str(folders.models)}
    if folders.application is not None:
        texts |= {"MONAI_APPLICATION": str(folders.application), "HOLOSCAN_APPLICATION": str(folders.application)}
    return texts | _server(own.get(contract.TRITON_URL) or spec.env.get(contract.TRITON_URL, ""))


def _server(address: str) -> dict[str, str]:
    """Clara's names for an inference server, from the gRPC `host:port` of the contract. Never with a scheme.

    Programs split them at the colon and take two parts. HTTP is on the port that Triton has for it.
    """
    host = address.rpartition(":")[0]
    if not host:
        return {}
    http = f"{host}:{TRITON_HTTP}"
    return {
        "NVIDIA_TRITON_GRPCURI": address,
        "NVIDIA_TRITON_HTTPURI": http,
        "NVIDIA_CLARA_TRTISURI": http,
        "CLARA_TRITON_URI": http,
    }
