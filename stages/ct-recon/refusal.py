"""What the stage says when it does not reconstruct: a refusal with its code. README.md lists the codes."""

from __future__ import annotations


class Refuse(Exception):
    """The sinogram is not reconstructed. `code` names the reason; `reason` what was found and what to do next."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"
