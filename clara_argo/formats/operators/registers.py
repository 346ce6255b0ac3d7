"""`register-results`: an operator that ran nothing of its own, but told Clara where a result goes.

`register.py --agent ClaraSCU --data '["MYPACS"]'` sends its input to these destinations. Here the result is what the
workflow says, and the route of the adapter says where it goes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from clara_argo.formats.fields import short
from clara_argo.source import Findings, Node

IMAGE, PROGRAM = "register-results", "register.py"
SEND, STOW, RENDER = "clarascu", "dicomweb", "renderserver"
NAMES = {SEND: "ClaraSCU", STOW: "DICOMweb", RENDER: "renderserver"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Register:
    """`agent`: one of SEND, STOW, RENDER; empty when it cannot be told. `data`: what the agent is to do with it."""

    agent: str
    data: tuple[str, ...] = ()


def is_one(image: str, command: Sequence[str]) -> bool:
    last = image.rpartition("/")[2].partition(":")[0].partition("@")[0].lower()
    return last == IMAGE or any(word.rpartition("/")[2] == PROGRAM for word in command)


def read(what: str, command: Sequence[str], at: Node, findings: Findings) -> Register:
    """What it is told to do. A command that cannot be understood is a finding."""
    agent, data = _option(command, "--agent"), _option(command, "--data")
    known = agent.lower()
    if known not in NAMES:
        message = f"{what} names the agent {short(agent)}" if agent else f"{what} names no agent"
        hint = findings.did_you_mean(agent, NAMES.values(), f"known: {', '.join(NAMES.values())}")
        findings.error("register-results", message, at, hint)
        return Register(agent="")
    found = Register(agent=known, data=_list(what, data, at, findings))
    _say(what, found, at, findings)
    return found


def _say(what: str, found: Register, at: Node, findings: Findings) -> None:
    if found.agent == SEND:
        if not found.data:
            message = f"{what} names no destination"
            findings.error("register-results", message, at, """write --data '["NAME"]'""")
            return
        names = ", ".join(map(short, found.data))
        hint = "name it under 'destinations' of the adapter's route"
        findings.notice("register-results", f"{what}: its input is the result, meant for {names}", at, hint)
    elif found.agent == STOW:
        message = f"{what}: its input is a result, but nothing here sends by DICOMweb"
        hint = "fetch it with 'clara result', or name a destination in the adapter's route"
        findings.warning("dicomweb", message, at, hint)
    else:
        message = f"{what}: there is no render server; its input stays in the job"
        findings.notice("render", message, at, "look into the folder of the job, below that operator's output")


def _option(command: Sequence[str], name: str) -> str:
    for word, following in zip_longest(command, command[1:], fillvalue=""):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return ""


def _list(what: str, data: str, at: Node, findings: Findings) -> tuple[str, ...]:
    """The JSON list of names behind --data, also with backslashes that a shell was to take away."""
    if not data:
        return ()
    for text in (data, data.replace('\\"', '"')):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, list) and all(isinstance(item, str) and item.isprintable() for item in value):
            return tuple(value)
    message = f"the --data of {what} is {short(data)}, not a list of names"
    findings.error("register-results", message, at, """write --data '["NAME"]'""")
    return ()
