"""The engine of containers: each stage in its own image, with the folders, variables, rights and limits of a cluster.

Where the folders are in the container says `compile.container`, so that it is the same place everywhere; on this
machine they are those of a process. An image is known by its id: what runs is what was looked at before the start.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path, PurePosixPath

from clara_argo import environment
from clara_argo.artifacts import tree
from clara_argo.compile import Cluster
from clara_argo.compile.container import Containers as Compiled
from clara_argo.compile.container import base, folders, input_path
from clara_argo.errors import DefinitionError, Level, NotInstalled
from clara_argo.graph import Graph, Node
from clara_argo.model.workflow import StageSpec
from clara_argo.runners import process
from clara_argo.runners.attempt import Attempt, tail
from clara_argo.runners.engines.engine import Start
from clara_argo.runners.engines.programs import LABELS, Container, Mount, Program, surroundings
from clara_argo.source import Findings
from clara_driver import contract
from clara_driver.driver import one_line

USER = 1000  # whom stages run as when root runs `clara`, as on a cluster
CANNOT_START = {125, 126, 127}  # exit codes of the engine, and of a stage that happens to use them
COMPLAINT = re.compile(r"^(?:Error|docker): (.+)$", re.MULTILINE)
NOT_OURS = {"argo-tag", "no-command"}  # findings that only matter to Argo
SUFFIXES = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
DOCKERFILE = "Dockerfile"


@dataclass(frozen=True, kw_only=True, slots=True)
class Containers:
    """`images`: stage -> id of its image; `locks`: stage -> its lock in the workflow; `home` marks our containers."""

    program: Program
    images: Mapping[str, str]
    locks: Mapping[str, str]
    home: str

    @property
    def name(self) -> str:
        return self.program.name

    def made_of(self, node: Node) -> Mapping[str, str]:
        return {"image": self.images[node.name]}

    def start(self, attempt: Attempt) -> Start:
        node, spec, where = attempt.node, attempt.spec, folders(attempt.node)
        run = attempt.folder.attempt / "run"
        mounts = tuple(_mounts(attempt, run))
        for lock in (self.locks[name] for name in node.waits_for):
            (attempt.folder.locks / PurePosixPath(lock).name).touch()
        facts = {**attempt.facts, contract.ATTEMPT: str(attempt.number)}
        name = _name(attempt)
        variables = environment.variables(spec, where, facts, base())
        container = Container(
            name=name,
            labels=dict(zip(LABELS, (self.home, attempt.facts[contract.JOB]), strict=True)),
            image=self.images[node.name],
            words=[environment.filled(word, variables) for word in spec.command],
            arguments=[environment.filled(word, variables) for word in node.step.args],
            environment=variables,
            mounts=mounts,
            folder=spec.app_dir,
            user=user(),
            network=contract.TRITON_URL in spec.env,
            memory=amount(spec.resources.memory),
            gpus=spec.resources.gpu,
        )
        end = self.program.end(name)
        command = attempt.command(self.program.run(container), surroundings(), attempt.folder.attempt, end)
        return Start(command=command, progress=run / where.progress.name)

    def meant(self, ending: process.Ending, attempt: Attempt) -> process.Ending:
        """The program ends with the stage's exit code, or one of its own."""
        code = ending.exit_code
        if ending.stopped or ending.timed_out or code is None:
            return ending
        if code in CANNOT_START and (said := _complaint(attempt.logs / "stderr.log")):
            return replace(ending, exit_code=None, cannot_start=said)
        return replace(ending, signal=code - 128 if code - 128 in set(signal.Signals) else ending.signal)

    def what_next(self, attempt: Attempt) -> str:
        image = attempt.spec.image
        return f"look at 'command' and 'resources' of its stage.yaml, and at what the image {image} holds"


def _complaint(log: Path) -> str:
    """What the program itself says last; "" when it said nothing, so that it was the stage that ended so."""
    found = COMPLAINT.findall(tail(log))
    return one_line(found[-1]) if found else ""


def containers(program: Program, graph: Graph, home: str) -> Containers:
    """Raises NotInstalled when program or images are not here, DefinitionError for what can be no container."""
    check(graph)
    wanted = {node.name: node.spec.image.within("") for node in graph.nodes}
    here = program.images(list(wanted.values()))
    lacking = [_lacking(program, node.spec, wanted[node.name]) for node in graph.nodes if wanted[node.name] not in here]
    if lacking:
        raise NotInstalled("\n".join(lacking))
    return Containers(
        program=program,
        images={stage: here[image] for stage, image in wanted.items()},
        locks={node.name: node.spec.lock for node in graph.nodes},
        home=home,
    )


def check(graph: Graph) -> None:
    """What a cluster would refuse, too, with its place in the file. Raises DefinitionError."""
    findings = Findings(graph.workflow.source)
    Compiled(graph=graph, cluster=Cluster()).check(findings)
    errors = [found for found in findings.all if found.level is Level.ERROR and found.code not in NOT_OURS]
    if errors:
        raise DefinitionError(errors)


def _lacking(program: Program, spec: StageSpec, image: str) -> str:
    if spec.folder is not None and (spec.folder / DOCKERFILE).is_file():
        how = f"clara images build {spec.name} --builder {program.name}"
    else:
        how = f"{program.name} pull {image}"
    return f"stage '{spec.name}': its image {image} is not here, and a run fetches nothing; get it with: {how}"


def _name(attempt: Attempt) -> str:
    """Nobody has had it, also when a job of the same id was deleted: a program may still clear the old one away."""
    job, stage = attempt.facts[contract.JOB], attempt.node.name[:40]
    return f"clara-{job}-{stage}-{attempt.number}-{secrets.token_hex(4)}"


def user() -> tuple[int, int]:
    """Whoever runs `clara` owns what its stages write; root lends them to a user without rights."""
    return (os.geteuid(), os.getegid()) if os.geteuid() else (USER, USER)


def _mounts(attempt: Attempt, run: Path) -> Iterator[Mount]:
    """Every folder of the contract. `run`: the folder with the progress file, which a stage may replace."""
    node, where, temporary = attempt.node, folders(attempt.node), attempt.folder.attempt / "tmp"
    payload = _plain(attempt) if attempt.payload in attempt.sources.values() or attempt.spec.study else attempt.payload
    for read in node.reads:
        source = attempt.sources[read.name]
        source = payload if source == attempt.payload else source
        yield Mount(source=source, target=input_path(node, read), read_only=True)
    if where.study is not None:
        yield Mount(source=payload, target=where.study, read_only=True)
    ours = {attempt.output: where.output, attempt.folder.locks: where.locks, attempt.logs: where.logs}
    ours |= {temporary: where.temporary, run: where.progress.parent}
    if attempt.publish is not None and where.publish is not None:
        ours[attempt.publish] = where.publish
    for name, path in where.outputs.items():
        if path != where.output / name:
            ours[attempt.output / name] = path
    for source, target in ours.items():
        source.mkdir(parents=True, exist_ok=True)
        yield Mount(source=source, target=target)
    lock = PurePosixPath(attempt.spec.input_lock)
    if lock != where.locks / contract.INPUT_LOCK:
        yield Mount(source=attempt.folder.locks / contract.INPUT_LOCK, target=lock, read_only=True)
    _lend([*ours, *attempt.written])


def _lend(writable: list[Path]) -> None:
    if os.geteuid() == 0:
        for folder in writable:
            os.chown(folder, USER, USER)


def _plain(attempt: Attempt) -> Path:
    """The payload, or a copy of it: a link leads nowhere in a container, and what is root's alone cannot be read."""
    payload = attempt.payload
    names = [".", *(name for name, _ in tree.entries(payload, follow=True))]
    seen = [os.lstat(payload / name).st_mode for name in names]
    unreadable = os.geteuid() == 0 and not all(map(_for_others, seen))
    if not (unreadable or any(map(stat.S_ISLNK, seen))):
        return payload
    copy = attempt.folder.attempt / "payload"
    copy.mkdir(parents=True, exist_ok=True)
    tree.copy(payload, copy, link=not unreadable, follow=True)
    if unreadable:
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return copy


def _for_others(mode: int) -> bool:
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted == wanted


def amount(quantity: str) -> int:
    """Bytes of a Kubernetes quantity that the stage's reader took: 512Mi, 2G, 1e9; 0 for none."""
    found = re.fullmatch(r"([0-9.]+)(?:([kKMGTPE]?)(i?)|[eE]([0-9]+))", quantity)
    if found is None:
        return 0
    number, suffix, binary, exponent = found.groups()
    if exponent is not None:
        return int(Decimal(number) * 10 ** int(exponent))
    return int(Decimal(number) * (1024 if binary else 1000) ** SUFFIXES[(suffix or "").replace("K", "k")])
