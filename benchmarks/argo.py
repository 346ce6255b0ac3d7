"""Three short stages on a real Argo: under our controller settings, under Argo's defaults, and fused into one pod.

    python benchmarks/argo.py [--rounds N]

Needs what tests/cluster needs for a cluster of its own (it says what is missing). The three contenders take turns; the
clock runs from the call of `submit` until the runner says that the job has succeeded; each result is compared with
what the stages must have written. Aims: DAG at most 0.6 of Argo's defaults, fused at most 0.6 of the DAG, 2.5 s from
submit to the first stage running.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from cluster import objects, onenode  # noqa: E402
from cluster.onenode import OneNode  # noqa: E402
from cluster.shells import Shells, payload  # noqa: E402

from clara_argo.graph import Graph  # noqa: E402
from clara_argo.model.job import JobState, Payload, StageState  # noqa: E402
from clara_argo.runners import Runner  # noqa: E402
from clara_argo.runners.targets import open_runner  # noqa: E402

AIMS = {"ours / defaults": 0.6, "fused / ours": 0.6, "submit to first stage": 2.5}
DEFAULT, OURS = "10s", "1s"  # DEFAULT_REQUEUE_TIME of the controller
RESULTS = Path(__file__).resolve().parent / "results"


def one_job(runner: Runner, graph: Graph, given: Payload, folder: Path) -> tuple[float, float]:
    """Seconds until the job has succeeded, and until its first stage was seen running."""
    job, start, first = secrets.token_hex(16), time.perf_counter(), 0.0
    runner.submit(graph, job, given)
    for ended in runner.watch(job):
        if not first and any(stage.state is not StageState.PENDING for stage in ended.stages):
            first = time.perf_counter() - start
    took = time.perf_counter() - start
    if ended.state is not JobState.SUCCEEDED:
        sys.exit(f"job failed: {ended.message}")
    trace = (runner.result(job, folder / job) / "trace").read_text()
    if trace != "one\ntwo\nthree\n":
        sys.exit(f"wrong result: {trace!r}")
    runner.delete(job)
    return took, first


def requeue(node: OneNode, value: str) -> None:
    """The controller again, with that setting."""
    memory = node.run / "commands/workflow-controller.json"
    words, environment = json.loads(memory.read_text())
    if environment["DEFAULT_REQUEUE_TIME"] == value:
        return
    node.stop("workflow-controller")
    memory.write_text(json.dumps([words, environment | {"DEFAULT_REQUEUE_TIME": value}]))
    node.start("workflow-controller")
    node.wait_for_controller()
    time.sleep(3)  # its caches fill


def measure(node: OneNode, folder: Path, rounds: int) -> dict[str, list[float]]:
    shells = Shells("localhost/busybox:1", "benchmark")
    graph = shells.chain(*map(shells.stage, ("one", "two", "three")))
    given = payload(folder / "input", a="a")
    found: dict[str, list[float]] = {name: [] for name in ("defaults", "ours", "fused", "first")}
    with open_runner("argo", apply=True) as runner, open_runner("one-pod", apply=True) as fused:
        requeue(node, OURS)
        for warm in (runner, fused):
            one_job(warm, graph, given, folder)
        for turn in range(rounds):
            requeue(node, DEFAULT)
            found["defaults"].append(one_job(runner, graph, given, folder)[0])
            requeue(node, OURS)
            took, first = one_job(runner, graph, given, folder)
            found["ours"].append(took)
            found["first"].append(first)
            found["fused"].append(one_job(fused, graph, given, folder)[0])
            print(f"round {turn + 1}: " + ", ".join(f"{name} {values[-1]:.1f} s" for name, values in found.items()))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    running = os.environ.get("CLARA_TEST_CLUSTER_RUN")
    if not running and (lacking := onenode.missing()):
        print(f"no cluster to measure on: {lacking}")
        return 0
    with tempfile.TemporaryDirectory(prefix="clara-bench-") as text:
        folder = Path(text)
        node = OneNode(Path(running) if running else folder / "cluster")
        try:
            if not running:
                node.up()
            os.environ |= environment(node, folder)
            found = measure(node, folder, args.rounds)
        finally:
            if not running:
                node.down()
    report({name: statistics.median(values) for name, values in found.items()}, args.rounds)
    return 0


def environment(node: OneNode, folder: Path) -> dict[str, str]:
    settings = folder / "config/clara-argo/targets.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("one-pod: {fused: true}\n")
    return {
        "XDG_CONFIG_HOME": str(folder / "config"),
        "KUBECONFIG": str(node.kubeconfig),
        "CLARA_S3_ENDPOINT": objects.ENDPOINT,
        "CLARA_S3_BUCKET": objects.BUCKET,
        "CLARA_S3_ACCESS_KEY": objects.ACCESS,
        "CLARA_S3_SECRET_KEY": objects.SECRET,
        "CLARA_S3_SECURE": "false",
    }


def report(medians: dict[str, float], rounds: int) -> None:
    ratios = {
        "ours / defaults": medians["ours"] / medians["defaults"],
        "fused / ours": medians["fused"] / medians["ours"],
        "submit to first stage": medians["first"],
    }
    print(f"medians of {rounds}: " + ", ".join(f"{name} {value:.1f} s" for name, value in medians.items()))
    for name, value in ratios.items():
        print(f"{name}: {value:.2f} (aim: at most {AIMS[name]})")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "argo.json").write_text(
        json.dumps({"machine": platform.processor(), "cores": os.cpu_count(), "medians": medians, "ratios": ratios})
    )


if __name__ == "__main__":
    sys.exit(main())
