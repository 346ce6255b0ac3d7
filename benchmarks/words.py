"""What the words of clara-wf cost, each against the least that it could: Python alone, and the stages' own time.

    python benchmarks/words.py [--rounds N]

`ls` of an SDK folder against Python that does nothing; `test` of a chain of three stages that copy one small file
against the time that the stages themselves took; and without a peer `publish` of that chain, with hera, and `clara
migrate` of a pipeline of 500 operators to its 502 files. Measured in turn, with modules compiled before, as an
installation has them. Aims: 0.2 s and 0.5 s over the peer; 1.5 s, 1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from clara_argo.sdk import folder, layout, stages

RESULTS = Path(__file__).resolve().parent / "results"
AIMS = {"ls": 0.2, "test": 0.5, "publish": 1.5, "migrate": 1.0}  # seconds
SAID = {
    "ls": "clara-wf ls over its peer",
    "test": "clara-wf test over its peer",
    "publish": "clara-wf publish",
    "migrate": "clara migrate, 500 operators,",
}
OPERATORS = 500
ID = "7b413e24-d018-4689-8c41-73272f6649d4"
NAMES = ("one", "two", "three")
COMMAND = "from clara_argo.cli.clara_wf import main; main()"  # what the console script does
CLARA = COMMAND.replace("cli.clara_wf", "cli")
OPERATOR = """\
- name: op-{number}
  container: {{image: reg/ai-{number}, tag: "1.{number}", command: [python3, main.py, --number, "{number}"]}}
  variables: {{A: b, NUMBER: "{number}"}}
  requests: {{gpu: 1, memory: 512}}
  input: [{{{reads}path: /input}}]
  output: [{{path: /output}}]
"""


def make(root: Path) -> layout.Layout:
    """An SDK folder with a chain of stages, and an input beside it."""
    folder.init(root / "sdk")
    place = layout.find(root / "sdk")
    for name in NAMES:
        stages.create(place, name, ())
        (place.stages / name / "stage.yaml").write_text("command: [sh, run.sh]\n")
        (place.stages / name / "run.sh").write_text('cp "$CLARA_INPUT"/x "$CLARA_OUTPUT"/x\n')
    locks = ["", *(f"{name}.lock" for name in NAMES[:-1])]
    folders = [f"{NAMES[0]}/input", *(f"{name}/output" for name in NAMES)]
    with open(place.values, "a") as file:
        file.write(f" {ID}\n name: chain\n stages: {json.dumps(NAMES)}\n waitLocks: {json.dumps(locks)}\n")
        file.write(f' ioFolders: {json.dumps(folders)}\n args: ["", "", ""]\n')
    (root / "in").mkdir()
    (root / "in" / "x").write_text("7")
    return place


def pipeline(path: Path) -> None:
    """A chain of operators, as of 0.4."""
    texts = (OPERATOR.format(number=n, reads=f"from: op-{n - 1}, " if n else "") for n in range(OPERATORS))
    path.write_text("api-version: 0.4.0\nname: long\noperators:\n" + "".join(texts))


def migrated(root: Path, number: int) -> float:
    """Seconds."""
    to = root / f"migrated-{number}"
    command = [sys.executable, "-c", CLARA, "migrate", str(root / "pipeline.yaml"), "--output", str(to)]
    seconds, _ = timed(root, root, command)
    assert sum(path.is_file() for path in to.rglob("*")) == OPERATORS + 2
    return seconds


def published(place: layout.Layout, root: Path) -> float:
    """Seconds. From the second round on, the chart is renewed."""
    seconds, said = typed(place, root, "publish", ID, "chain", str(root / "chart"))
    assert "templates/workflowtemplate.yaml" in said
    return seconds


def typed(place: layout.Layout, root: Path, *words: str) -> tuple[float, str]:
    """Seconds, and what was said on stdout."""
    return timed(place.root, root, [sys.executable, "-c", COMMAND, *words])


def timed(where: Path, root: Path, command: list[str]) -> tuple[float, str]:
    compiled = {"PYTHONPYCACHEPREFIX": str(root / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    environment = {**os.environ, **compiled, "CLARA_HOME": str(root / "home")}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


def own_time(job: dict[str, object]) -> float:
    """From the start of the first stage to the end of the last, without what lies between them."""
    found = 0.0
    assert isinstance(job["stages"], list)
    for run in job["stages"]:
        found += (datetime.fromisoformat(run["finished"]) - datetime.fromisoformat(run["started"])).total_seconds()
    return found


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds, over the peer where there is one, by word and round."""
    over: dict[str, list[float]] = {word: [] for word in AIMS}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        place = make(root)
        pipeline(root / "pipeline.yaml")
        for number in range(rounds + 1):
            bare, _ = timed(place.root, root, [sys.executable, "-c", "pass"])
            listed, said = typed(place, root, "ls")
            assert said.split()[0] == NAMES[0]
            output = root / f"out-{number}"
            tested, job = typed(place, root, "test", ID, "--input", f"{root}/in", "--output", str(output), "-o", "json")
            assert (output / "x").read_text() == "7"
            chart, files = published(place, root), migrated(root, number)
            if number:  # the first one warms the disk, and compiles
                over["ls"].append(listed - bare)
                over["publish"].append(chart)
                over["migrate"].append(files)
                over["test"].append(tested - own_time(json.loads(job)))
    return over


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    over = measure(parser.parse_args().rounds)
    found = {}
    for word, values in over.items():
        middle, best = statistics.median(values), min(values)
        found[word] = {"median": round(middle, 3), "best": round(best, 3), "aim": AIMS[word]}
        print(f"{SAID[word]} {middle:.2f} s (best {best:.2f}, aim {AIMS[word]})")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "words.json").write_text(json.dumps({"machine": platform.platform(), "over": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
