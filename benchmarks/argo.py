"""Three short stages on a real Argo: under our controller settings, under Argo's defaults, and fused into one pod.

    python benchmarks/argo.py [--rounds N]

Needs what tests/cluster needs for a cluster of its own (it says what is missing). The three contenders take turns; the
clock runs from the call of `submit` until the runner says that the job has succeeded; each result is compared with
what the stages must have written. The first stage says itself when it begins, by the clock of this machine, which the
node shares; when the runner says so is measured, too: Argo looks at its pods once a second. An edge is the time from
the end of a stage to the beginning of the next one; what 100 MB in it add is the difference to a few bytes, packed,
sent, got and unpacked by Argo's executor.

Aims: DAG at most 0.6 of Argo's defaults, fused at most 0.6 of the DAG, 2.5 s from submit to the first stage running,
3 s for the 100 MB.
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
from cluster.shells import COPY, Shells, payload  # noqa: E402

from clara_argo.graph import Graph  # noqa: E402
from clara_argo.model.job import JobState, StageState  # noqa: E402
from clara_argo.runners import Runner  # noqa: E402
from clara_argo.runners.targets import open_runner  # noqa: E402

AIMS = {"ours / defaults": 0.6, "fused / ours": 0.6, "submit to first stage": 2.5, "100 MB": 3.0}
BEGAN, NEXT, ENDED = (f"cut -d' ' -f1 /proc/uptime > $CLARA_OUTPUT/{name}" for name in ("began", "next", "ended"))
DEFAULT, OURS = "10s", "1s"  # DEFAULT_REQUEUE_TIME of the controller
RESULTS = Path(__file__).resolve().parent / "results"


class Bench:
    """Jobs on a cluster whose node is this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shells = Shells("localhost/busybox:1", "benchmark")
        self._given = payload(folder / "input", a="a")

    def graph(self, first: str, *others: str) -> Graph:
        """Stages that say when the first began."""
        scripts = (f"{BEGAN}; {first}", *others)
        return self._shells.chain(*(self._shells.stage(f"s{n}", script) for n, script in enumerate(scripts)))

    def run(self, runner: Runner, graph: Graph) -> tuple[float, float, float, Path]:
        """Seconds until its first stage began, until it was seen running, and until the job had succeeded; its result.

        The job is deleted.
        """
        job, seen = secrets.token_hex(16), 0.0
        start, clock = time.perf_counter(), uptime()
        runner.submit(graph, job, self._given)
        for ended in runner.watch(job):
            if not seen and any(stage.state is not StageState.PENDING for stage in ended.stages):
                seen = time.perf_counter() - start
        took = time.perf_counter() - start
        if ended.state is not JobState.SUCCEEDED:
            sys.exit(f"job failed: {ended.message}")
        result = runner.result(job, self._folder / job)
        runner.delete(job)
        return float((result / "began").read_text()) - clock, seen, took, result

    def chain(self, runner: Runner) -> tuple[float, float, float]:
        """As `run`, of three short stages."""
        *times, result = self.run(runner, self.graph(COPY, COPY, COPY))
        if (trace := (result / "trace").read_text()) != "s0\ns1\ns2\n":
            sys.exit(f"wrong result: {trace!r}")
        return times[0], times[1], times[2]

    def edge(self, runner: Runner, megabytes: int) -> float:
        """Seconds from the end of a stage that wrote so much to the beginning of the next."""
        write = f'dd if=/dev/urandom of="$CLARA_OUTPUT"/data bs=1000000 count={megabytes} 2> /dev/null; {ENDED}'
        read = f'{NEXT}; cp "$CLARA_INPUT"/began "$CLARA_INPUT"/ended "$CLARA_OUTPUT"/'
        check = f'; test "$(stat -c %s "$CLARA_INPUT"/data)" = {megabytes * 1_000_000}'
        result = self.run(runner, self.graph(write, read + check))[3]
        return float((result / "next").read_text()) - float((result / "ended").read_text())


def uptime() -> float:
    """As /proc/uptime says it, seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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
    bench = Bench(folder)
    found: dict[str, list[float]] = {}

    def note(**values: float) -> None:
        for name, value in values.items():
            found.setdefault(name, []).append(value)

    with open_runner("argo", apply=True) as runner, open_runner("one-pod", apply=True) as fused:
        requeue(node, OURS)
        for warm in (runner, fused):
            bench.chain(warm)
        for turn in range(rounds):
            requeue(node, DEFAULT)
            note(defaults=bench.chain(runner)[2])
            requeue(node, OURS)
            first, seen, took = bench.chain(runner)
            note(ours=took, first=first, seen=seen, fused=bench.chain(fused)[2])
            note(hundred=bench.edge(runner, 100), nothing=bench.edge(runner, 0))
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
            os.environ |= objects.environment(node.kubeconfig)
            os.environ["XDG_CONFIG_HOME"] = objects.targets(folder, "one-pod: {fused: true}")
            found = measure(node, folder, args.rounds)
        finally:
            if not running:
                node.down()
    report({name: statistics.median(values) for name, values in found.items()}, args.rounds)
    return 0


def report(medians: dict[str, float], rounds: int) -> None:
    ratios = {
        "ours / defaults": medians["ours"] / medians["defaults"],
        "fused / ours": medians["fused"] / medians["ours"],
        "submit to first stage": medians["first"],
        "100 MB": medians["hundred"] - medians["nothing"],
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
