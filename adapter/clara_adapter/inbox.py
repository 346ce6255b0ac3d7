"""Where received instances go: checked, made durable, grouped by study, counted as quiet.

`Inbox.store` is the promise of the adapter: it returns Success only when the file, its folder and its row are on disk.
Everything happens under one lock, so a study cannot be sealed between the file and the row of an instance.
Knows nothing of jobs; `seal` is told which ones to write. Times are on the monotonic clock: setting the wall clock
closes no study, and after a restart every open study waits again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clara_adapter.contents import data_set_digest, same_data_set
from clara_adapter.crash import here
from clara_adapter.identity import Identity, Unreadable, groups, is_uid, read
from clara_adapter.log import pseudonym
from clara_adapter.peer import Received
from clara_adapter.routing import Routing
from clara_adapter.spool import Spool, file_name, flush_folder, place, remove
from clara_adapter.states import PayloadState
from clara_adapter.store import Instance, NewJob, Payload, Store
from clara_argo.errors import TryAgain
from clara_argo.model.route import Configuration, Route

log = logging.getLogger(__name__)

# PS3.4 B.2.3 and PS3.7 C
SUCCESS = 0x0000
DUPLICATE_UID = 0x0111
INVALID_UID = 0x0117
NOT_AUTHORISED = 0x0124
NO_SPACE = 0xA700
MISMATCH = 0xA900
UNREADABLE = 0xC000

# Results of others that a PACS sends along with a study: not what a workflow is started for. The loop guard's second
# line, for results whose UIDs somebody changed on the way.
DERIVED = (
    "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
    "1.2.840.10008.5.1.4.1.1.66.5",  # surface segmentation
    "1.2.840.10008.5.1.4.1.1.66.7",  # label map segmentation
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
)
DERIVED_FAMILIES = (
    "1.2.840.10008.5.1.4.1.1.7.",  # multi-frame secondary capture
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports, key objects
)

Key = tuple[str, str, str]  # route, called AE title, StudyInstanceUID


@dataclass(slots=True)
class Window:
    """An open study: when its first and its last instance became durable in this process."""

    payload: Payload
    first: float
    last: float


def is_derived(sop_class: str) -> bool:
    return sop_class in DERIVED or sop_class.startswith(DERIVED_FAMILIES)


class Inbox:
    """Takes instances from the receiving side and hands over studies that have become quiet."""

    def __init__(
        self,
        configuration: Configuration,
        routing: Routing,
        spool: Spool,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routes = {route.name: route for route in configuration.routes}
        self._routing, self._spool, self._store, self._clock = routing, spool, store, clock
        self._lock = threading.Lock()
        self._windows: dict[Key, Window] = {}
        self.changed = threading.Event()  # set when a study opens

    # -- receiving ----------------------------------------------------------------------------------------------

    def store(self, received: Received) -> int:
        """Keep one instance. Returns the status to answer; Success means that nothing can lose it any more."""
        here("part-written")
        status, identity = self._examine(received)
        if identity is None:
            return status
        routes = self._routing.routes(received.peer)
        if not routes:
            return NOT_AUTHORISED
        try:
            with self._lock:
                statuses = [self._take(route, received, identity, keep=route is not routes[-1]) for route in routes]
        except (OSError, TryAgain) as error:
            log.error("an instance cannot be kept: %s; it is answered 0xA700 and may be sent again", _reason(error))
            return NO_SPACE
        return max(statuses)

    def _examine(self, received: Received) -> tuple[int, Identity | None]:
        if not is_uid(received.sop_instance):
            return INVALID_UID, None
        try:
            identity = read(received.path)
        except Unreadable as error:
            log.warning("instance %s refused: %s", pseudonym(received.sop_instance), error)
            return UNREADABLE, None
        if (identity.sop_class, identity.sop_instance) != (received.sop_class, received.sop_instance):
            log.warning("instance %s refused: its data set names another UID", pseudonym(received.sop_instance))
            return MISMATCH, None
        if not (groups(identity.study) and groups(identity.series)):
            log.warning("instance %s refused: no usable study or series UID", pseudonym(received.sop_instance))
            return MISMATCH, None
        return SUCCESS, identity

    def _take(self, route: Route, received: Received, identity: Identity, *, keep: bool) -> int:
        known, digest, ours = self._store.known(route.name, received.sop_instance, identity.series)
        key = (route.name, route.called, identity.study)
        if known is not None and self._is_same(known, digest, received):
            self._touch(key)  # the sender is still at it
            return SUCCESS
        if known is not None:
            self._set_aside(route, received, "conflict", keep=keep)
            return DUPLICATE_UID
        if ours:
            self._set_aside(route, received, "ours", keep=keep)
            return SUCCESS
        if is_derived(received.sop_class):
            self._set_aside(route, received, "derived", keep=keep)
            return SUCCESS
        self._keep(key, received, identity, keep=keep)
        return SUCCESS

    def _is_same(self, payload: str, digest: str, received: Received) -> bool:
        """Whether this is, byte for byte, the instance that the payload has received."""
        if digest:
            return digest == data_set_digest(received.path)
        return same_data_set(self._spool.instance(payload, received.sop_instance), received.path)

    def _keep(self, key: Key, received: Received, identity: Identity, *, keep: bool) -> None:
        payload, conflict = self._payload_for(key, identity)
        folder = self._spool.input(payload.id)
        if key not in self._windows:
            self._spool.make_folder(folder)
        target = self._spool.instance(payload.id, received.sop_instance)
        place(received.path, target, keep=keep)
        here("instance-placed")
        try:
            flush_folder(folder)
            here("folder-flushed")
            self._store.add_instance(payload, received, identity, conflict)
        except (OSError, TryAgain):
            remove(target)
            raise
        here("row-committed")
        if conflict:
            self._windows.pop(key, None)
            log.error("payload %s is held: %s; it is kept, no job starts", payload.id, conflict)
        elif payload.state == PayloadState.RECEIVING:
            self._touch(key, payload)

    def _payload_for(self, key: Key, identity: Identity) -> tuple[Payload, str]:
        """The payload that takes this instance, and why that payload must be held, if it must."""
        window = self._windows.get(key)
        last = window.payload if window else self._store.last_payload(key[0], key[2])
        if last is None:
            return self._store.new_payload(key[0], key[1], identity), ""
        conflict = "two patients in one study" if identity.other_patient(last.patient, last.issuer) else ""
        if last.state == PayloadState.SEALED:  # a late image: the study begins again, with what it had
            return self._store.new_payload(key[0], key[1], identity), conflict
        return last, conflict if last.state == PayloadState.RECEIVING else ""

    def _touch(self, key: Key, payload: Payload | None = None) -> None:
        now = self._clock()
        window = self._windows.get(key)
        if window is not None:
            window.last = now
        elif payload is not None:
            self._windows[key] = Window(payload, now, now)
            self.changed.set()

    def _set_aside(self, route: Route, received: Received, reason: str, *, keep: bool) -> None:
        """Keep an object that starts nothing, durably; the newest one under its UID stays."""
        folder = self._spool.aside(reason)
        self._spool.make_folder(folder)
        place(received.path, folder / file_name(f"{route.name}\n{received.sop_instance}"), keep=keep)
        flush_folder(folder)
        self._store.set_aside(route.name, received, reason)
        log.info("instance %s set aside: %s", pseudonym(received.sop_instance), reason)

    # -- completeness -------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """After a start: every study that was open waits again."""
        now = self._clock()
        for payload in self._store.receiving():
            if payload.route not in self._routes:
                self._store.hold_payload(payload, f"route {payload.route!r} is no longer in the configuration")
                continue
            self._windows[payload.route, payload.called, payload.study] = Window(payload, now, now)

    def due(self) -> list[Payload]:
        """Studies that are complete: quiet for long enough, or open for too long."""
        now = self._clock()
        with self._lock:
            return [window.payload for window in self._windows.values() if self._deadline(window) <= now]

    def next_due(self) -> float | None:
        """Seconds until the next study becomes complete, if nothing more arrives."""
        with self._lock:
            deadlines = [self._deadline(window) for window in self._windows.values()]
        return max(0.0, min(deadlines) - self._clock()) if deadlines else None

    def _deadline(self, window: Window) -> float:
        settle = self._routes[window.payload.route].settle
        return min(window.last + settle.quiet, window.first + settle.max)

    def seal(self, payload: Payload, jobs: Sequence[NewJob]) -> bool:
        """Close the study: its folder holds exactly its instances, its jobs are written. False: it is held."""
        key = (payload.route, payload.called, payload.study)
        digests = self._digests(self._store.instances(payload), {})  # before the lock: meanwhile others are received
        with self._lock:
            here("before-seal")
            rows = self._store.instances(payload)
            missing = self._gather(payload, rows)
            here("links-made")
            digests = self._digests(rows, digests)
            doubt = _doubt(rows, missing, digests)
            if doubt:
                self._store.hold_payload(payload, doubt)
                log.error("payload %s is held: %s", payload.id, doubt)
            else:
                self._store.seal(payload, jobs, digests)
            here("after-seal")
            self._windows.pop(key, None)
        return not doubt

    def _digests(self, rows: Sequence[Instance], known: Mapping[str, str]) -> dict[str, str]:
        """By SOP Instance UID, of what is there and can be read; `known` is not read again."""
        found = dict(known)
        for row in rows:
            if row.sop_instance in found:
                continue
            with contextlib.suppress(FileNotFoundError, Unreadable):
                found[row.sop_instance] = data_set_digest(self._spool.instance(row.payload, row.sop_instance))
        return found

    def _gather(self, payload: Payload, rows: Sequence[Instance]) -> int:
        """Link what earlier payloads received, remove what was never acknowledged; count what is missing."""
        folder = self._spool.input(payload.id)
        self._spool.make_folder(folder)
        present = {path.name: path for path in folder.iterdir()}
        missing = 0
        for instance in rows:
            name = file_name(instance.sop_instance)
            if present.pop(name, None) is not None:
                continue
            source = self._spool.instance(instance.payload, instance.sop_instance)
            if instance.payload == payload.id or not source.is_file():
                missing += 1
                continue
            place(source, folder / name, keep=True)
        for path in present.values():
            remove(path)
        flush_folder(folder)
        return missing


def _doubt(rows: Sequence[Instance], missing: int, digests: Mapping[str, str]) -> str:
    """Why a payload of these instances must not start jobs, if it must not."""
    if missing:
        return f"{missing} instances have a row but no file"
    found = [(row.digest, digests.get(row.sop_instance)) for row in rows]  # None: it is no DICOM any more
    changed = sum(now is None or before not in ("", now) for before, now in found)
    return f"{changed} instances were changed on disk since they were received" if changed else ""


def _reason(error: BaseException) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
