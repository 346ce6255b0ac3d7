"""The images of stages and of the adapter: which there are, what they are called, and how one is made.

An image is built from the folder with its Dockerfile and what `buildcontext` lays beside it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import clara_argo
from clara_argo import shim, shipped
from clara_argo.errors import NotFound, UsageError
from clara_argo.graph import Graph
from clara_argo.model.workflow import Image, StageSpec
from clara_argo.platform import buildcontext, builders
from clara_argo.platform.builders import Builder, Say
from clara_argo.project import Stages
from clara_argo.source import did_you_mean

ADAPTER = "adapter"
ADAPTER_IMAGE = Image(repository="clara-argo/adapter", tag=clara_argo.__version__)
DOCKERFILE = "Dockerfile"
BASE = "BASE"  # the argument of our Dockerfiles that names the image they begin with
# A line of a Dockerfile that takes the folder `clara`, or everything, out of the context.
TAKES_SHIM = re.compile(r"^\s*(?:COPY|ADD)\s+(?:\S+\s+)*(?:\./)?(?:clara/?|\.)\s+\S", re.IGNORECASE | re.MULTILINE)
VERSION_LABEL = "org.opencontainers.image.version"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One image to build."""

    name: str  # the stage, or "adapter"
    image: str  # its full name, registry and tag
    version: str
    folder: Path  # with its Dockerfile


def choose(stages: Stages, names: Sequence[str] = (), registry: str = "") -> tuple[Wanted, ...]:
    """The images of these stages, the adapter being one by the name "adapter"; of all that can be if none is.

    Raises NotFound, UsageError when something cannot be built or two would get the same name, DefinitionError.
    """
    chosen = names or [name for name in stages if name != ADAPTER and _has_dockerfile(stages[name])] + [ADAPTER]
    found = [_wanted(name, stages, registry) for name in dict.fromkeys(chosen)]
    owners: dict[str, str] = {}
    for one in found:
        if (owner := owners.setdefault(one.image, one.name)) != one.name:
            message = f"{owner!r} and {one.name!r} both have the image {one.image}"
            raise UsageError(f"{message}; give one of them another name or tag in its stage.yaml")
    return tuple(found)


def without_dockerfile(stages: Stages) -> tuple[str, ...]:
    """The stages that `choose` leaves out."""
    return tuple(name for name in stages if name != ADAPTER and not _has_dockerfile(stages[name]))


def _has_dockerfile(spec: StageSpec) -> bool:
    return spec.folder is not None and (spec.folder / DOCKERFILE).is_file()


def _wanted(name: str, stages: Stages, registry: str) -> Wanted:
    if name == ADAPTER:
        image, folder = ADAPTER_IMAGE, shipped.folder("adapter")
        return Wanted(name=name, image=image.within(registry), version=image.tag, folder=folder)
    if name not in stages:
        known = [*stages, ADAPTER]
        raise NotFound(f"no stage {name!r} in {stages.root}; {did_you_mean(name, known, 'known: ' + ', '.join(known))}")
    spec = stages[name]
    assert spec.folder is not None  # it was read from there
    if not _has_dockerfile(spec):
        raise NotFound(f"{spec.folder} has no {DOCKERFILE}; write one (docs/images.md has an example)")
    if not spec.image.repository:
        raise UsageError(f"{spec.folder}/stage.yaml names no image; add image: {{repository: …, tag: …}}")
    if spec.image.digest:
        message = f"{spec.folder}/stage.yaml names its image by a digest, which a new one will not have"
        raise UsageError(f"{message}; give it a tag while you build it")
    return Wanted(name=name, image=spec.image.within(registry), version=spec.image.tag, folder=spec.folder)


def advice(one: Wanted) -> str:
    """What an image may lack: Clara's own library, when the code imports it and the Dockerfile does not copy ours."""
    if one.name == ADAPTER or not shim.wanted(one.folder):
        return ""
    if TAKES_SHIM.search((one.folder / DOCKERFILE).read_text(encoding="utf-8", errors="replace")):
        return ""
    return (
        f"its code imports '{shim.PACKAGE}', which its Dockerfile does not copy; unless the image that it begins with "
        f"has it, add: COPY {shim.PACKAGE} /opt/clara/{shim.PACKAGE}"
    )


def of_workflow(graph: Graph, registry: str = "") -> dict[str, tuple[str, ...]]:
    """Image -> the stages of the workflow that run in it. Raises UsageError for a stage that names none."""
    found: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        if not node.spec.image.repository:
            raise UsageError(f"stage {node.name!r} names no image; add image: to its stage.yaml")
        image = node.spec.image.within(registry)
        found[image] = (*found.get(image, ()), node.name)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is done with each image."""

    builder: Builder
    base: str = ""  # the image it begins with; empty = the Dockerfile's own
    push: bool = False
    archives: Path | None = None  # a folder for one archive each
    extra: tuple[str, ...] = ()  # options of the builder's, for building

    def archive(self, one: Wanted) -> Path | None:
        return self.archives / f"{one.name}.tar" if self.archives else None

    def commands(self, one: Wanted, context: Path | str, archive: Path | str | None) -> Iterator[list[str]]:
        arguments = {BASE: self.base} if self.base else {}
        labels = {VERSION_LABEL: one.version} if one.version else {}
        yield self.builder.build(one.image, context, arguments=arguments, labels=labels, extra=self.extra)
        if archive is not None:
            yield self.builder.save(one.image, archive)
        if self.push:
            yield self.builder.push(one.image)


def build(one: Wanted, plan: Plan, say: Say = lambda line: None) -> None:
    """Build it, and save and push it as planned; an archive is there whole or not at all. Raises BuildFailed."""
    target = plan.archive(one)
    part = target.with_name(f".{target.name}.part") if target else None
    with context(one) as folder:
        if part:
            part.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)  # buildah does not write over one
        try:
            for command in plan.commands(one, folder, part):
                builders.run(command, what=one.name, say=say)
            if part and target:
                part.replace(target)
        finally:
            if part:
                part.unlink(missing_ok=True)


@contextmanager
def context(one: Wanted) -> Iterator[Path]:
    """A folder to build from, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="clara-image-") as room:
        folder = Path(room) / one.name
        lay(one, folder)
        yield folder


def lay(one: Wanted, folder: Path) -> None:
    """Make `folder`, which must not be there, hold everything that the image is built from."""
    (buildcontext.adapter if one.name == ADAPTER else buildcontext.stage)(one.folder, folder)
