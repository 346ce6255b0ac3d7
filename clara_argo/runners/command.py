"""What a stage's `command` is on this machine, or why it cannot run here as a process.

`python3` at its head is the Python that runs `clara`, when that has what the stage's requirements.txt asks for; nothing
is ever installed. Files are looked for in the stage's folder. It starts nothing.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from pathlib import Path

from clara_argo.errors import NotInstalled
from clara_argo.model.workflow import StageSpec
from clara_argo.runners import hints

PYTHON = re.compile(r"python(3(\.\d+)?)?")
REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(.*)")
RELATION = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*([0-9][0-9A-Za-z.*+!-]*)")


def words(spec: StageSpec, arguments: tuple[str, ...] = ()) -> list[str]:
    """The command and the step's arguments as the process gets them. Raises NotInstalled; the text says what to do."""
    if spec.folder is None:
        raise NotInstalled(
            f"stage '{spec.name}' is only an image ({spec.image}); as a process it needs a folder with its code: "
            f"give it one, or {hints.ENGINE}"
        )
    if not spec.command:
        raise NotInstalled(f"{spec.folder / 'stage.yaml'}: stage '{spec.name}' has no command; add 'command: [...]'")
    for word in (*spec.command, *arguments):
        if path := hints.path_in(word, spec):
            raise NotInstalled(
                f"stage '{spec.name}': its command needs {path}, a path inside its image, so it runs in a container "
                f"only: {hints.ENGINE}; as a process, write paths relative to the stage's folder, and take folders "
                f"from the variables of the contract"
            )
    head, *rest = spec.command
    if PYTHON.fullmatch(head):
        _check_requirements(spec.name, spec.folder)
        head = sys.executable
    return [_in_folder(spec.folder, head), *(_in_folder(spec.folder, word) for word in rest), *arguments]


def _in_folder(folder: Path, word: str) -> str:
    """Absolute when it names something in the stage's folder; otherwise as it is."""
    if not word or word.startswith(("-", "/")) or "\0" in word:
        return word
    path = folder / word
    return str(path.absolute()) if len(word) < 4096 and path.exists() else word


def uses_module(spec: StageSpec) -> bool:
    """`python3 -m x`: the stage's folder is where the module is."""
    return "-m" in spec.command


def _check_requirements(stage: str, folder: Path) -> None:
    file = folder / "requirements.txt"
    if not file.is_file():
        return
    trouble = missing(file.read_text(encoding="utf-8", errors="replace"))
    if trouble:
        raise NotInstalled(
            f"stage '{stage}' needs {', '.join(trouble)} in {sys.executable}; pip install 'clara-argo[local]' has what "
            f"the shipped stages need, pip install -r {file} what this one needs"
        )


@lru_cache(maxsize=64)
def missing(requirements: str) -> tuple[str, ...]:
    """What is not installed here in the version that a requirements.txt asks for.

    Lines with options, addresses or markers are pip's to judge and are left out.
    """
    from importlib.metadata import PackageNotFoundError, version

    trouble = []
    for line in requirements.splitlines():
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        match = REQUIREMENT.fullmatch(text)
        if match is None or text.startswith("-") or ";" in text or "@" in text:
            continue
        name, relations = match.groups()
        try:
            found = version(name)
        except PackageNotFoundError:
            trouble.append(text)
            continue
        if not all(_holds(found, *pair) for pair in RELATION.findall(relations)):
            trouble.append(f"{text} (found {found})")
    return tuple(trouble)


def _numbers(text: str) -> tuple[int, ...]:
    """Release numbers without trailing zeros: 3.0 equals 3."""
    numbers = [int(part[:18]) for part in re.match(r"[0-9.]*", text)[0].split(".") if part]  # type: ignore[index]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _holds(found: str, relation: str, wanted: str) -> bool:
    have, want = _numbers(found), _numbers(wanted)
    if wanted.endswith(".*"):
        same = _padded(have, len(want)) == want
        return same if relation == "==" else not same
    if relation == "~=":
        return have >= want and _padded(have, wanted.count(".")) == _padded(want, wanted.count("."))
    return {
        "===": found == wanted, "==": have == want, "!=": have != want,
        "<=": have <= want, ">=": have >= want, "<": have < want, ">": have > want,
    }[relation]  # fmt: skip


def _padded(numbers: tuple[int, ...], length: int) -> tuple[int, ...]:
    return (*numbers, *(0,) * length)[:length]
