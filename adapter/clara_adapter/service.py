"""The adapter as one thing with a life: `start` returns when the port answers, `stop` ends every thread.

    with Adapter(configuration, runner, graphs) as adapter:
        send(study, to=adapter.address)

Puts the parts together; each part knows its own business. The runner belongs to the caller and outlives the adapter.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

from clara_adapter import crash, stranded
from clara_adapter.deliveries import Backoff, Deliveries
from clara_adapter.guard import Limits
from clara_adapter.inbox import Inbox
from clara_adapter.jobs import Jobs
from clara_adapter.log import printable, use_key
from clara_adapter.peer import Peer
from clara_adapter.routing import Routing
from clara_adapter.scp import Scp
from clara_adapter.scu import Deadlines, Scu
from clara_adapter.sealing import Sealing
from clara_adapter.spool import Spool
from clara_adapter.store import Store
from clara_argo.errors import ClaraError, TryAgain, UsageError
from clara_argo.graph import Graph
from clara_argo.model.route import Configuration
from clara_argo.runners import Runner, points

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
RESTART_PAUSE_FIRST, RESTART_PAUSE_MOST = 1.0, 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a test or an unusual site changes."""

    limits: Limits = field(default_factory=Limits)
    deadlines: Deadlines = field(default_factory=Deadlines)
    backoff: Backoff = field(default_factory=Backoff)


class Adapter:
    """One DICOM node: receives by `configuration`, runs `graphs` (by the names the routes use) on `runner`."""

    def __init__(
        self,
        configuration: Configuration,
        runner: Runner,
        graphs: Mapping[str, Graph],
        *,
        home: Path | None = None,
        options: Options | None = None,
    ) -> None:
        missing = {name for route in configuration.routes for name in route.workflows} - graphs.keys()
        if missing:
            raise UsageError(f"no graph for workflow {', '.join(sorted(missing))}, which a route names")
        self.configuration = configuration
        self.spool = Spool(home or Path(configuration.spool))
        self._runner, self._graphs = runner, graphs
        self._options = options or Options()
        self._threads: list[threading.Thread] = []
        self._store: Store | None = None
        self._scp: Scp | None = None
        self._sealing: Sealing | None = None
        self._jobs: Jobs | None = None
        self._deliveries: list[Deliveries] = []
        self._stopping = threading.Event()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that answer, also when port 0 was asked for."""
        if self._scp is None:
            raise RuntimeError("the adapter is not started")
        return self._scp.address

    @property
    def store(self) -> Store:
        """What the adapter knows; for reading."""
        if self._store is None:
            raise RuntimeError("the adapter is not started")
        return self._store

    def start(self) -> None:
        """Take the spool, go on with what is unfinished, listen. Raises Held, TryAgain, UsageError."""
        crash.arm(points.POINTS)
        self._stopping.clear()
        self.spool.make()
        self.spool.hold()
        try:
            use_key(self.spool.root / "log.key")
            self._build()
        except BaseException:
            self.stop()
            raise

    def _build(self) -> None:
        store = self._store = Store(self.spool.state)
        store.count_crashes()
        for text in stranded.find(self.spool.state, self.configuration):
            log.error("%s", text)
        routing = Routing(self.configuration)
        inbox = Inbox(self.configuration, routing, self.spool, store)
        inbox.resume()
        self._deliveries = [self._sender(name) for name in range(len(self.configuration.destinations))]
        jobs = self._jobs = Jobs(self.configuration, self._graphs, self.spool, store, self._runner, self.wake)
        self._sealing = Sealing(self.configuration, self._graphs, inbox, jobs.changed.set)
        self._scp = Scp(
            host=self.configuration.host,
            port=self.configuration.port,
            incoming=self.spool.incoming,
            admit=routing.admit,
            store=inbox.store,
            closed=_note_end,
            limits=self._options.limits,
        )
        self._scp.start()
        self._begin("clara-sealing", self._sealing.run)
        self._begin("clara-jobs", jobs.run)
        for number, sender in enumerate(self._deliveries):
            self._begin(f"clara-delivery-{number}", sender.run)

    def _sender(self, number: int) -> Deliveries:
        destination = self.configuration.destinations[number]
        scu = Scu(self.configuration.ae_title, destination, self._options.deadlines)
        assert self._store is not None
        return Deliveries(destination, scu, self.spool, self._store, self._options.backoff)

    def wake(self) -> None:
        """Look for deliveries now: somebody else has changed the state."""
        for sender in self._deliveries:
            sender.changed.set()

    def stop(self) -> None:
        """Stop listening, end what is in the middle after its present step, close everything. Harmless when stopped."""
        self._stopping.set()
        if self._scp is not None:
            self._scp.stop(STOP_SECONDS)
        if self._sealing is not None:
            self._sealing.stop()
        if self._jobs is not None:
            self._jobs.stop()
        for sender in self._deliveries:
            sender.stop()
        self._join(STOP_SECONDS)
        for sender in self._deliveries:
            sender.cut()
        self._join(STOP_SECONDS)
        if self._store is not None:
            self._forgive()
            self._store.close()
        self.spool.release()
        self._scp, self._sealing, self._jobs, self._store = None, None, None, None
        self._deliveries, self._threads = [], []

    def _forgive(self) -> None:
        assert self._store is not None
        try:
            self._store.forgive_crashes()
        except TryAgain as error:
            log.warning("the clean end could not be written down: %s", error)

    def _join(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._keep_working, args=(name, work), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _keep_working(self, name: str, work: Callable[[], None]) -> None:
        """The edge of a thread: whatever goes wrong is said, and the work is tried again, more and more slowly."""
        pause = RESTART_PAUSE_FIRST
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                work()
            except ClaraError as error:
                log.error("%s has to wait %g s: %s", name, pause, error)
            except Exception:
                log.exception("%s failed by an error of ours and goes on in %g s", name, pause)
            else:
                return
            self._stopping.wait(pause)
            worked = time.monotonic() - began
            pause = RESTART_PAUSE_FIRST if worked > 5 * RESTART_PAUSE_MOST else min(pause * 2, RESTART_PAUSE_MOST)

    def __enter__(self) -> Adapter:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _note_end(peer: Peer, aborted: bool) -> None:
    if aborted:
        where = f"{printable(peer.calling)} at {peer.address}"
        log.warning("an association from %s was aborted; what it had stored stays", where)


def serve(adapter: Adapter, ready: Callable[[], None] = lambda: None) -> int:
    """Run until SIGTERM, SIGINT or SIGHUP (its terminal is gone); the number of the signal. Only in the main thread."""
    asked = threading.Event()
    seen: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        asked.set()

    old = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        with adapter:
            ready()
            asked.wait()
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    return seen[0]
