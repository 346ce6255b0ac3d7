"""What a workflow file and a stage file say.

Texts that came out of a file may be `clara_argo.source.Text`, a `str` that knows its line and column; nothing here
depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """A container image: repository with a tag, or with a digest."""

    repository: str = ""
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        if self.digest:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.tag}" if self.tag else self.repository

    def within(self, registry: str) -> str:
        """Its name in a registry, which goes before a name whose first part is no host, as `docker pull` sees it."""
        first, slash, _ = self.repository.partition("/")
        has_registry = bool(slash) and (any(mark in first for mark in ".:") or first == "localhost")
        prefix = "" if has_registry or not registry else registry.rstrip("/") + "/"
        return f"{prefix}{self}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a stage asks of its machine; texts are Kubernetes quantities, empty = nothing asked."""

    cpu: str = ""
    memory: str = ""
    gpu: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSpec:
    """A stage definition: `stages/<name>/stage.yaml`, or the stage block of an early-access values.yaml."""

    name: str
    image: Image = Image()
    command: tuple[str, ...] = ()
    app_dir: str = "/app"
    inputs: str = "input"  # folder below app_dir
    outputs: str = "output"
    input_paths: tuple[str, ...] = ()  # absolute, of each folder it reads, in their order; empty = below app_dir
    output_paths: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # folder in the output -> absolute; "" = all
    input_lock: str = "/app/locks/input.lock"
    lock_dir: str = "/app/locks"
    lock_name: str = ""  # empty = "<name>.lock"
    log_name: str = ""
    mount_in: str = "input"
    mount_out: str = "output"
    timeout: int = 300  # seconds
    retries: int = 2  # after exit 75 or being killed
    study: bool = False  # also gets the payload's DICOM
    publish: bool = False
    resources: Resources = Resources()
    env: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    models: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()  # what it reads and writes, for people: dicom, volume, labels, sinogram, …
    gives: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # unknown keys, kept as written
    folder: Path | None = None  # where its code is; None = only an image

    @property
    def lock(self) -> str:
        return self.lock_name or f"{self.name}.lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One use of a stage in a workflow.

    `reads` are folders as written (`dicom-reader/output`, or a part of one: `seg/output/masks`), `waits_for` are lock
    names as written (`dicom-reader.lock`); what they mean is decided by `clara_argo.graph`.
    """

    stage: str
    reads: tuple[str, ...]
    waits_for: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Workflow:
    """A chain or graph of steps. `results` are the folders whose content is the result (the last of `ioFolders`)."""

    id: str
    name: str
    steps: tuple[Step, ...]
    results: tuple[str, ...]
    stages: tuple[StageSpec, ...] = ()  # defined in the same file (early-access dialect)
    description: str = ""  # for people, may have several lines
    pull_secrets: tuple[str, ...] = ()  # of the cluster, for the registries of the images
    dialect: str = "native"  # or "early-access", "operators"
    source: str = ""  # the file's name, for messages
    extra: Mapping[str, str] = field(default_factory=lambda: EMPTY)
