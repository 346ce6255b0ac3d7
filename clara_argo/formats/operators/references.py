"""`$(VAR)` in what an operator starts with: Kubernetes put in the variables of its container.

Those that the operator sets are put in here. Those that we set are known when the stage starts, and become `${{VAR}}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clara_argo.environment import PLACEHOLDER, names
from clara_argo.formats.operators.services import HOW, Server
from clara_argo.formats.operators.templating import Budget
from clara_argo.source import Findings, Text, short

REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")  # other words are commands of a shell: $(date)
OF_SERVER = frozenset({
    "CLARA_TRITON_URL", "CLARA_TRITON_URI", "NVIDIA_CLARA_TRTISURI", "NVIDIA_TRITON_HTTPURI", "NVIDIA_TRITON_GRPCURI",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """`server`: it names a variable with the address of an inference server."""

    command: tuple[str, ...]
    variables: dict[str, str]
    server: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Expander:
    """`address`: of the inference server; `lenient`: somebody only looks, and a server may be named later."""

    findings: Findings
    budget: Budget
    address: str = ""
    lenient: bool = False
    ours: frozenset[str] = field(default_factory=names)

    def expanded(self, what: str, command: Iterable[str], variables: Mapping[str, str], server: Server) -> Started:
        """As the container gets them. In a variable, only those above it are known, as Kubernetes has it."""
        known = server.variables(self.address)
        for name, text in variables.items():
            known[name] = self._text(what, text, known, server)
        words = tuple(self._text(what, word, known, server) for word in command)
        used = {found for text in (*known.values(), *words) for found in PLACEHOLDER.findall(text)}
        return Started(command=words, variables=known, server=bool(used & OF_SERVER))

    def _text(self, what: str, text: str, known: Mapping[str, str], server: Server) -> str:
        if "$" not in text:
            return text

        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name is None:
                return "$"
            if name in known:
                return known[name] if self.budget.take(len(known[name]), text_, self.findings) else ""
            if name in self.ours:
                return f"${{{{{name}}}}}"
            if name not in server.ports and VARIABLE.fullmatch(name):
                message = f"{what} names the unknown variable {short(found[0])}"
                hint = self.findings.did_you_mean(name, {*known, *self.ours}, "add it to 'variables'")
                self.findings.error("variable", message, text_, hint)
            return found[0]

        text_ = text if isinstance(text, Text) else Text(text)
        made = REFERENCE.sub(value, text)
        return Text(made, text_.source, text_.line, text_.column)


def need_server(what: str, at: Text, expander: Expander) -> None:
    """An error when there is no server for it; who only looks gets a notice."""
    if expander.address:
        return
    say = expander.findings.notice if expander.lenient else expander.findings.error
    say("server", f"{what} needs an inference server, and none is started here", at, HOW)
