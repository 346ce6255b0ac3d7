"""Lines that the stages of a job wrote: from pods that run as they come, from ended ones out of the store.

The executor writes into the same stream in a pod, not in the archived log; its lines are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterator

from clara_argo.errors import NotFound, TryAgain
from clara_argo.kubernetes.errors import NotStarted
from clara_argo.runners.argo import attempts
from clara_argo.runners.argo.attempts import Attempt
from clara_argo.runners.argo.cluster import Cluster
from clara_argo.runners.argo.store import JobStore
from clara_argo.runners.argo.workflow import Workflow
from clara_argo.runners.logs import CONTROL
from clara_argo.runners.protocol import LogLine

EXECUTOR = re.compile(r"^time=\S+ level=[A-Za-z]+ .*\bargo=true\b")
LAST_WORD = 'msg="sub-process exited"'  # of the executor; what follows is all its own
LONGEST = 64 << 20  # bytes of an archived log that are shown
LOOK = 1.0  # seconds between two looks when nothing happens


class Logs:
    def __init__(self, cluster: Cluster, store: JobStore) -> None:
        self._cluster, self._store = cluster, store

    def lines(self, workflow: Workflow, stages: tuple[str, ...], follow: bool) -> Iterator[LogLine]:
        """Of every attempt in the graph's order; `follow` goes on until the job has ended."""
        seen: Counter[str] = Counter()  # node -> lines of it that were given
        done: set[str] = set()
        rounds = self._cluster.follow(workflow, LOOK) if follow else iter([workflow])
        for current in rounds:
            for attempt in _of(current, stages):
                if attempt.node.id not in done:
                    there = yield from self._new(current, attempt, seen, follow)
                    if there and attempt.node.over:
                        done.add(attempt.node.id)
            if current.ended:
                return

    def _new(
        self, workflow: Workflow, attempt: Attempt, seen: Counter[str], follow: bool
    ) -> Generator[LogLine, None, bool]:
        """Lines that were not given yet; False when there was nothing to read, or a stream broke: look again."""
        before = seen[attempt.node.id]
        try:
            texts = self._texts(workflow, attempt, follow)
            for number, text in enumerate(texts or ()):
                if number >= before:
                    seen[attempt.node.id] += 1
                    yield LogLine(attempt.stage, CONTROL.sub("", text))
        except (NotFound, NotStarted):
            return False  # the pod went between two looks, or its container has not begun
        except TryAgain:
            if not follow:
                raise
            return False
        return texts is not None

    def _texts(self, workflow: Workflow, attempt: Attempt, follow: bool) -> Iterator[str] | None:
        """None when neither the store nor a pod has them, or not yet."""
        if attempt.node.over and attempt.log_key:
            try:
                text = self._store.read(attempt.log_key, LONGEST).decode("utf-8", "replace")
            except NotFound:
                pass  # not archived after all, or gone: perhaps the pod is still there
            else:
                return iter(text.removesuffix("\n").split("\n") if text else ())
        return self.live(workflow, attempt, follow)

    def live(self, workflow: Workflow, attempt: Attempt, follow: bool = False) -> Iterator[str] | None:
        """From the pod; None when it is gone. While they are read: NotFound, NotStarted, TryAgain."""
        pod = self._cluster.pods(workflow).get(attempt.pod.id)
        if pod is None:
            return None
        return own(self._cluster.api.log(pod.name, attempt.container, follow and not attempt.node.over))


def own(lines: Iterator[str]) -> Iterator[str]:
    """Without the executor's. It ends with the words of the error, unmarked: what follows its last word is its own."""
    for line in lines:
        if EXECUTOR.match(line):
            if LAST_WORD in line:
                return
            continue
        yield line


def _of(workflow: Workflow, stages: tuple[str, ...]) -> Iterator[Attempt]:
    for one in attempts.of(workflow):
        if one.stage in stages:
            yield from one.attempts
