"""The adapter as an administrator starts it: a process with a configuration file, which a test may kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from adapter.hospital import CALLED, CALLING, HOST, wait_until

from clara_adapter.store import Delivery, Job, Store

Value = TypeVar("Value")

CONFIGURATION = """\
ae-title: {called}
host: {host}
port: 1
spool: {spool}
runner: {runner}
sources: [{{name: CT1, ae-title: {calling}, host: {host}}}]
destinations: [{{name: PACS, ae-title: PACS, host: {host}, port: {port}}}]
routes:
  - name: ct
    called: {called}
    sources: [CT1]
    settle: {{quiet: {quiet}, max: 600}}
    workflows: [{workflow}]
    destinations: [PACS]
"""


class AdapterProcess:
    """`start` returns when it is ready. The port is a new one each time. `environment`: more of it."""

    def __init__(
        self,
        project: Path,
        spool: Path,
        pacs: int,
        *,
        quiet: float,
        runner: str = "local",
        workflow: str = "derive",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.config, self.log, self._state = project / "adapter.yaml", project / "adapter.log", spool / "state.db"
        self._values = {
            "called": CALLED,
            "calling": CALLING,
            "host": HOST,
            "spool": json.dumps(str(spool)),
            "port": pacs,
            "runner": runner,
            "workflow": workflow,
        }
        self.environment = dict(environment or {})
        self.configure(quiet=quiet)
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def configure(self, *, quiet: float) -> None:
        """For the next start."""
        self.config.write_text(CONFIGURATION.format(quiet=quiet, **self._values))

    def start(self, crash_at: str = "") -> AdapterProcess:
        command = [sys.executable, "-m", "clara_argo", "adapter", "serve", "--port", "0", "--config", str(self.config)]
        environment = {**os.environ, **self.environment, "CLARA_CRASH_AT": crash_at}
        start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        wait_until(lambda: self._ready(start) or not self.running, "the adapter is ready")
        return self

    def _ready(self, start: int) -> bool:
        for line in self.log.read_bytes()[start:].splitlines():
            if b'"event": "ready"' in line:
                self.port = int(json.loads(line)["port"])
                return True
        return False

    def jobs(self) -> list[Job]:
        return self._look(lambda store: store.jobs())

    def deliveries(self) -> list[Delivery]:
        return self._look(lambda store: store.deliveries())

    def _look(self, question: Callable[[Store], Value]) -> Value:
        """At its state, while it runs and afterwards."""
        store = Store(self._state)
        try:
            return question(store)
        finally:
            store.close()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        assert self.process is not None and self.running
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def wait_killed(self) -> None:
        """It dies by itself, at its crash point."""
        assert self.process is not None
        assert self.process.wait(timeout=60) == -signal.SIGKILL, self.log.read_text()[-2000:]

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        assert self.process is not None
        if self.running:
            self.process.terminate()
        return self.process.wait(timeout=60)

    def __enter__(self) -> AdapterProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.kill()
