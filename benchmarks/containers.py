"""What an engine costs: a chain of three stages that copy one small file, each in its image by podman, against
`podman run` of the same image with the same words, one after the other.

    python benchmarks/containers.py [--rounds N]

Both use a store of the benchmark's own and are measured in turn. The peer mounts two folders and shuts the network,
and does nothing else. Where podman cannot run containers, it says so and ends well. Aim: at most 1.5 x the peer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cluster.shells import Shells, payload
from engines import box

from clara_argo.graph import Graph
from clara_argo.model.job import JobState, Payload
from clara_argo.runners.local import LocalRunner

AIM = 1.5  # times the peer
RESULTS = Path(__file__).resolve().parent / "results"
COPY = "cp /app/input/* /app/output/"


def by_runner(runner: LocalRunner, graph: Graph, study: Payload) -> float:
    job = uuid.uuid4().hex
    start = time.perf_counter()
    runner.submit(graph, job, study)
    ended = list(runner.watch(job))[-1]
    took = time.perf_counter() - start
    if ended.state is not JobState.SUCCEEDED:
        sys.exit(f"the chain failed: {ended.message}")
    return took


def by_hand(podman: box.Box, graph: Graph, study: Payload, root: Path) -> float:
    folder, source = Path(tempfile.mkdtemp(dir=root)), study.folder
    start = time.perf_counter()
    for node in graph.nodes:
        output = folder / node.name
        output.mkdir()
        mounts = ["-v", f"{source}:/app/input:ro", "-v", f"{output}:/app/output"]
        podman("run", "--rm", "--network", "none", *mounts, box.SHELL, *node.spec.command)
        source = output
    return time.perf_counter() - start


def measured(podman: box.Box, root: Path, rounds: int) -> list[tuple[float, float]]:
    os.environ |= podman.environment()
    shells, study = Shells(box.SHELL, "chain"), payload(root / "ct", image="x" * 1000)
    graph = shells.chain(*(shells.stage(name, COPY) for name in ("one", "two", "three")))
    with LocalRunner(root / "home", engine="podman") as runner:
        pairs = [(by_runner(runner, graph, study), by_hand(podman, graph, study, root)) for _ in range(rounds + 1)]
    return pairs[1:]  # the first warms up


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="clara-bench-") as name:
        try:
            with box.opened() as podman:
                version = podman("--version").split()[-1]
                pairs = measured(podman, Path(name), rounds)
        except LookupError as error:
            print(f"not measured: {error}")
            return
    ours, own = (statistics.median(column) for column in zip(*pairs, strict=True))
    result = {
        "benchmark": "containers", "rounds": rounds, "runner_s": round(ours, 4), "by_hand_s": round(own, 4),
        "ratio": round(ours / own, 3), "aim_ratio": AIM, "podman": version,
        "python": platform.python_version(), "processors": os.cpu_count(),
    }  # fmt: skip
    print(f"three stages by the runner {ours:.3f} s, by podman run {own:.3f} s: ratio {ours / own:.2f} (aim {AIM})")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "containers.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
