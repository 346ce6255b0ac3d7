"""What is there, and every change of it, for as long as the caller wants: lists, watches, lists again when it must."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

from clara_argo.kubernetes.connection import Stream
from clara_argo.kubernetes.errors import Away, Expired

Object = dict[str, Any]

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
SYNCED = "SYNCED"  # a list is through: what was not named is not there
TICK = "TICK"  # nothing happened for `tick` seconds
AWAY = "AWAY"  # the server went away; it is tried again until it is back. The object holds "message"

SECONDS = 240.0  # the server ends a watch after so long, and we begin the next
LATE = 15.0  # seconds after which one that it did not end is dead, whatever its connection says
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
KEPT = ("name", "namespace", "uid", "resourceVersion", "labels", "annotations")


class Event(NamedTuple):
    type: str
    object: Object  # empty for SYNCED and TICK


class Watch(Iterator[Event]):
    """Events without end: ADDED for everything there is, SYNCED, then changes as they come.

    After a gap (410) everything is listed again: the differences come as ADDED, MODIFIED and DELETED, then SYNCED.
    A DELETED found that way holds only metadata. With `tick`, TICK comes after so many seconds without another event.
    The first list raises what `list` raises. Later an absent server gives AWAY, once, and is waited for; every other
    error (rights withdrawn, the kind uninstalled) is raised and ends it. `close` may be called by any thread.
    """

    def __init__(
        self,
        listing: Callable[[], tuple[tuple[Object, ...], str]],
        stream: Callable[[str, float], Stream],
        tick: float = 0.0,
    ) -> None:
        self._listing, self._stream, self._tick = listing, stream, tick
        self._closed = threading.Event()
        self._open: Stream | None = None
        self._known: dict[tuple[str, str], Object] = {}
        self._version = ""
        self._last = time.monotonic()  # when the caller last got an event
        self._events = self._endless()

    def __next__(self) -> Event:
        event = next(self._events)
        self._last = time.monotonic()
        return event

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._events.close()

    def close(self) -> None:
        """The iteration ends, now or when its thread next looks."""
        self._closed.set()
        if (stream := self._open) is not None:
            stream.interrupt()

    def _endless(self) -> Generator[Event, None, None]:
        yield from self._list()
        pause, away = FIRST_PAUSE, False
        while not self._closed.is_set():
            try:
                if not self._version:
                    yield from self._list()
                stream = self._stream(self._version, SECONDS)
            except Expired:
                self._version = ""
            except Away as error:
                self._version = ""
                if not away:
                    yield Event(AWAY, {"message": str(error)})
                away = True
            else:
                away, begun = False, time.monotonic()
                yield from self._changes(stream)
                if time.monotonic() - begun > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
            yield from self._rest(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _list(self) -> Iterator[Event]:
        """Everything that is not as it was known to be."""
        items, version = self._listing()
        found = {_key(item): item for item in items}
        for key, known in list(self._known.items()):
            if key not in found or _metadata(found[key]).get("uid") != known.get("uid"):
                del self._known[key]
                yield Event(DELETED, {"metadata": known})
        for key, item in found.items():
            before = self._known.get(key)
            if before is None or before.get("resourceVersion") != _metadata(item).get("resourceVersion"):
                self._known[key] = _kept(item)
                yield Event(MODIFIED if before else ADDED, item)
        self._version = version
        yield Event(SYNCED, {})

    def _changes(self, stream: Stream) -> Iterator[Event]:
        """Of one stream, until it ends. After anything but an orderly end everything is listed again."""
        self._open, end = stream, time.monotonic() + SECONDS + LATE
        try:
            while not self._closed.is_set():
                while self._tick and not stream.wait(self._last + self._tick - time.monotonic()):
                    if time.monotonic() > end:
                        raise Away("the server did not end it")
                    yield Event(TICK, {})
                line = stream.line()
                if line is None:
                    return
                if (event := self._event(line)) is not None:
                    yield event
        except (Away, Expired):
            self._version = ""
        finally:
            self._open = None
            stream.close()

    def _event(self, line: bytes) -> Event | None:
        """None for what is only for us. Raises Expired, or Away for what cannot be understood."""
        try:
            event = json.loads(line)
            kind, item = event["type"], event["object"]
            if kind == "ERROR":
                raise Expired(str(item)) if item.get("code") == 410 else Away(str(item))
            version = item["metadata"]["resourceVersion"]
            key = _key(item)
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            raise Away("the stream broke within an event") from None
        self._version = version
        if kind == DELETED:
            self._known.pop(key, None)
        elif kind in (ADDED, MODIFIED):
            self._known[key] = _kept(item)
        else:
            return None
        return Event(kind, item)

    def _rest(self, seconds: float) -> Iterator[Event]:
        self._closed.wait(seconds)
        if self._tick and time.monotonic() - self._last >= self._tick and not self._closed.is_set():
            yield Event(TICK, {})


def _metadata(item: Object) -> Object:
    metadata = item.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _kept(item: Object) -> Object:
    metadata = _metadata(item)
    return {key: metadata[key] for key in KEPT if key in metadata}


def _key(item: Object) -> tuple[str, str]:
    metadata = _metadata(item)
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))
