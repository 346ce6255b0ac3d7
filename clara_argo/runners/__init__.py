"""What executes a graph. Everybody outside talks to the `Runner` protocol and does not ask which one it holds."""

from clara_argo.runners.protocol import LogLine, Runner

__all__ = ["LogLine", "Runner"]
