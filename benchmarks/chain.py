"""What the local runner costs: a chain of three stages that copy one small file, against the same commands run by hand.

    python benchmarks/chain.py [--rounds N]

The peer runs the three processes one after the other with the same environment and folders, and nothing else: no
guard, no digests, no fsync, no records. Both are measured in turn. Aim: at most 0.5 s over the stages' own time.
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
import uuid
from pathlib import Path

from clara_argo import home
from clara_argo.graph import PAYLOAD, Graph, Node, Read
from clara_argo.model.job import JobState, Payload
from clara_argo.model.workflow import StageSpec, Step, Workflow
from clara_argo.runners.local import LocalRunner

AIM = 0.5  # seconds
RESULTS = Path(__file__).resolve().parent / "results"
MAIN = """
import shutil, clara_driver
with clara_driver.stage() as stage:
    shutil.copy(stage.input / "image", stage.output / "image")
"""


def chain(root: Path) -> Graph:
    names = ["one", "two", "three"]
    nodes = []
    for before, name in zip([PAYLOAD, *names], names, strict=False):
        folder = root / "stages" / name
        folder.mkdir(parents=True)
        (folder / "main.py").write_text(MAIN)
        spec = StageSpec(name=name, command=("python3", "main.py"), folder=folder)
        step = Step(stage=name, reads=(f"{before or name}/{'output' if before else 'input'}",))
        nodes.append(Node(step=step, spec=spec, reads=(Read(before),), waits_for=(before,) if before else ()))
    workflow = Workflow(
        id=str(uuid.uuid4()), name="chain", steps=tuple(n.step for n in nodes), results=("three/output",)
    )
    return Graph(workflow=workflow, nodes=tuple(nodes), results=("three",), digest="0" * 64)


def by_runner(runner: LocalRunner, graph: Graph, payload: Payload) -> float:
    job = uuid.uuid4().hex
    start = time.perf_counter()
    runner.submit(graph, job, payload)
    ended = list(runner.watch(job))[-1]
    took = time.perf_counter() - start
    if ended.state is not JobState.SUCCEEDED:
        sys.exit(f"the chain failed: {ended.message}")
    return took


def by_hand(graph: Graph, payload: Payload, root: Path, library: Path) -> float:
    folder, source = Path(tempfile.mkdtemp(dir=root)), payload.folder
    start = time.perf_counter()
    for node in graph.nodes:
        output = folder / node.name
        output.mkdir()
        environment = {
            "PATH": os.defpath, "PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1", "CLARA_CONTRACT": "1",
            "CLARA_INPUT": str(source), "CLARA_OUTPUT": str(output), "CLARA_STAGE": node.name,
        }  # fmt: skip
        subprocess.run([sys.executable, f"{node.spec.folder}/main.py"], env=environment, check=True)
        source = output
    return time.perf_counter() - start


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="clara-bench-") as name:
        root = Path(name)
        graph = chain(root)
        (root / "ct").mkdir()
        (root / "ct/image").write_bytes(bytes(1000))
        payload = Payload(id="bench", folder=root / "ct")
        library = home.driver_path(root / "home")
        with LocalRunner(root / "home") as runner:
            pairs = [
                (by_runner(runner, graph, payload), by_hand(graph, payload, root, library)) for _ in range(rounds + 1)
            ][1:]  # the first warms up
    ours, own = (statistics.median(column) for column in zip(*pairs, strict=True))
    result = {
        "benchmark": "chain", "rounds": rounds, "runner_s": round(ours, 4), "by_hand_s": round(own, 4),
        "overhead_s": round(ours - own, 4), "ratio": round(ours / own, 3), "aim_overhead_s": AIM,
        "python": platform.python_version(), "processors": os.cpu_count(),
    }  # fmt: skip
    print(f"three stages by the runner {ours:.3f} s, by hand {own:.3f} s: overhead {ours - own:.3f} s (aim {AIM} s)")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "chain.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
