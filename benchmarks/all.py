"""Run every benchmark beside this file, one after the other; each verifies its output and prints ratios to its peer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    codes = []
    for path in sorted(HERE.glob("*.py")):
        if path.name != "all.py":
            print(f"\n== {path.stem} ==", flush=True)
            codes.append(subprocess.run([sys.executable, str(path)], check=False).returncode)
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main())
