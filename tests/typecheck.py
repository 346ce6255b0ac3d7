"""Run mypy --strict over the packages, over what only a cluster or an engine runs, and over each stage by itself, as
its container would see it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGES = sorted(path.parent for path in (ROOT / "stages").glob("*/stage.yaml"))


def mypy(*arguments: str, cwd: Path = ROOT, path: str = "tests") -> int:
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--strict", *arguments]
    folders = os.pathsep.join(str(ROOT / folder) for folder in path.split(":"))
    environment = {**os.environ, "MYPYPATH": folders}
    return subprocess.run(command, cwd=cwd, env=environment, check=False).returncode


def main() -> int:
    codes = [mypy("-p", "clara_argo", "-p", "clara_adapter", "-p", "clara_driver")]
    codes.append(mypy("--explicit-package-bases", "tests/cluster", "benchmarks/argo.py"))
    codes.append(mypy("--explicit-package-bases", "tests/engines/test_containers.py", "benchmarks/containers.py"))
    codes.append(mypy("-p", "clara", path="stages/shim:stages"))
    for stage in STAGES:
        print(f"stage {stage.name}", flush=True)
        files = sorted(path.name for path in stage.glob("*.py"))
        codes.append(mypy("--cache-dir", str(ROOT / ".mypy_cache" / stage.name), *files, cwd=stage))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
