"""The keys of an early-access values.yaml: what becomes of each, and where they stand in a file."""

from __future__ import annotations

from collections.abc import Iterator

from clara_argo.errors import DefinitionError
from clara_argo.formats import clara_wf, stage
from clara_argo.formats.keys import Fate, Key
from clara_argo.source import Findings, List, Map, Node, Text

STAGES, WORKFLOWS = ("stages", "*"), ("workflows", "*")
DEPTHS = (3,)  # of the keys of a stage or workflow; those that are not known are kept
_S = "stages.*."
_W = "workflows.*."
TABLE = (
    Key("stages.*", Fate.REPAIRED, "`stages/<name>/stage.yaml`; keys beside the name: R1"),
    Key(_S + "stageName", Fate.MAPPED, "`stageName`"),
    Key(
        _S + "image", Fate.MAPPED, "`image`; a bare name of a shipped stage, or of a folder in `stages/`, is that stage"
    ),
    Key(_S + "image.repository", Fate.MAPPED, "`image.repository`"),
    Key(_S + "image.tag", Fate.MAPPED, "`image.tag`"),
    Key(_S + "image.digest", Fate.MAPPED, "`image.digest`, a key of ours"),
    Key(_S + "mount.in.name", Fate.MAPPED, "`mount.in.name`"),
    Key(_S + "mount.out.name", Fate.MAPPED, "`mount.out.name`"),
    Key(_S + "appDir", Fate.MAPPED, "`appDir`"),
    Key(_S + "inputs", Fate.MAPPED, "`inputs`"),
    Key(_S + "outputs", Fate.MAPPED, "`outputs`"),
    Key(_S + "inputLock", Fate.MAPPED, "`inputLock`"),
    Key(_S + "lockDir", Fate.MAPPED, "`lockDir`"),
    Key(_S + "lockName", Fate.MAPPED, "`lockName`"),
    Key(_S + "logName", Fate.KEPT, "`logName`; what a stage prints is its log, too"),
    Key(_S + "timeout", Fate.MAPPED, "`timeout`, seconds; 300 when absent"),
    Key(_S + "command[]", Fate.MAPPED, "`command`, a key of ours"),
    Key(_S + "retries", Fate.MAPPED, "`retries`, a key of ours"),
    Key(_S + "study", Fate.MAPPED, "`study`, a key of ours"),
    Key(_S + "publish", Fate.MAPPED, "`publish`, a key of ours"),
    Key(_S + "resources.cpu", Fate.MAPPED, "`resources.cpu`, a key of ours"),
    Key(_S + "resources.memory", Fate.MAPPED, "`resources.memory`, a key of ours"),
    Key(_S + "resources.gpu", Fate.MAPPED, "`resources.gpu`, a key of ours"),
    Key(_S + "env.*", Fate.MAPPED, "`env`, a key of ours"),
    Key(_S + "models[]", Fate.MAPPED, "`models`, a key of ours"),
    Key(_S + "takes", Fate.MAPPED, "`takes`, a key of ours"),
    Key(_S + "gives", Fate.MAPPED, "`gives`, a key of ours"),
    Key(_S + "inputPaths[]", Fate.MAPPED, "`inputPaths`, a key of ours"),
    Key(_S + "outputPaths.*", Fate.MAPPED, "`outputPaths`, a key of ours"),
    Key("workflows.*", Fate.REPAIRED, "`id`; an id alone in its line, or with its keys beside it: R2"),
    Key(_W + "id", Fate.MAPPED, "`id`, where workflows are a list"),
    Key(_W + "name", Fate.MAPPED, "`name`"),
    Key(_W + "stages[]", Fate.MAPPED, "`stages[].name`"),
    Key(_W + "waitLocks[]", Fate.MAPPED, "`stages[].wait`; a missing lock of a folder that is read is added: R7"),
    Key(_W + "ioFolders[]", Fate.MAPPED, "`stages[].input`; the last one `result`"),
    Key(_W + "args[]", Fate.MAPPED, "`stages[].args`; a short list is filled up, with a warning"),
)


def written(text: str, source: str) -> Iterator[tuple[tuple[str, ...], Text]]:
    """Every key with its path. Keys beside a stage's name count as its own."""
    try:
        stages, workflows, rest = clara_wf.pieces(text, Findings(source))
    except DefinitionError:
        return  # reading has said why
    for name, node in stages:
        yield from _stages(node, only=name)
    for name, node in workflows:
        yield WORKFLOWS, name
        yield from _inner(node, WORKFLOWS)
    for node in rest:
        yield from _rest(node)


def _rest(node: Node) -> Iterator[tuple[tuple[str, ...], Text]]:
    if not isinstance(node, Map):
        return
    if "ioFolders" in node:  # a workflow alone
        yield from _inner(node, WORKFLOWS)
        return
    for key in node:
        if key == "stages":
            yield from _stages(node[key])
        elif key == "workflows":
            yield from _workflows(node[key])
        else:
            yield (str(key),), key


def _stages(node: Node, only: str = "") -> Iterator[tuple[tuple[str, ...], Text]]:
    if not isinstance(node, Map):
        return
    for key in node:
        beside = key != only if only else key in stage.KEYS
        if beside:
            yield (*STAGES, str(key)), key
            yield from _inner(node[key], (*STAGES, str(key)))
        else:
            yield STAGES, key
            yield from _inner(node[key], STAGES)


def _workflows(node: Node) -> Iterator[tuple[tuple[str, ...], Text]]:
    if isinstance(node, List):
        for item in node:
            yield from _inner(item, WORKFLOWS)
    elif isinstance(node, Map):
        for key in node:
            yield WORKFLOWS, key
            yield from _inner(node[key], WORKFLOWS)


def _inner(node: Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Text]]:
    if not isinstance(node, Map):
        return
    for key in node:
        yield (*path, str(key)), key
        yield from _inner(node[key], (*path, str(key)))
