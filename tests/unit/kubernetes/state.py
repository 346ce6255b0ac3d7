"""The objects of a pretended cluster, and their history: what `stub.py` serves over HTTP."""

from __future__ import annotations

import copy
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clara_argo.kubernetes.kinds import Kind

Object = dict[str, Any]
Key = tuple[Kind, str, str]  # kind, namespace, name
OnChange = Callable[[str, Kind, Object], None]

NAMESPACE = "clara"  # where objects are when a test says nothing else
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
CREATED = "2026-01-01T00:00:00Z"


class Refusal(Exception):
    """A status that is not 2xx."""

    def __init__(self, code: int, reason: str, message: str, name: str = "") -> None:
        super().__init__(message)
        details = {"name": name} if name else {}
        self.code = code
        self.status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                       "reason": reason, "message": message, "details": details}  # fmt: skip


@dataclass(frozen=True)
class Change:
    version: int
    type: str
    key: Key
    before: Object | None
    after: Object


class State:
    """Any thread may use it; objects go in and out as copies. Callbacks run in the thread that made the change."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 100
        self.floor = 0  # a watch that begins before this version is answered 410
        self.history: list[Change] = []
        self.callbacks: list[OnChange] = []
        self._objects: dict[Key, Object] = {}
        self._applied: dict[Key, Object] = {}

    def get(self, key: Key) -> Object:
        with self.changed:
            if key not in self._objects:
                kind, _, name = key
                raise Refusal(404, "NotFound", f'{kind.plural} "{name}" not found', name)
            return copy.deepcopy(self._objects[key])

    def all(self, kind: Kind, namespace: str, labels: str, fields: str) -> list[Object]:
        with self.changed:
            found = [key for key in self._objects if key[0] == kind and namespace in ("", key[1])]
            chosen = [self._objects[key] for key in found if matches(self._objects[key], labels, fields)]
            return copy.deepcopy(sorted(chosen, key=lambda item: item["metadata"]["name"]))

    def create(self, kind: Kind, namespace: str, object: Object, *, dry: bool = False) -> Object:
        with self.changed:
            done = self._created(kind, namespace, object, dry)
        return self._told(done)

    def _created(self, kind: Kind, namespace: str, object: Object, dry: bool) -> Change | Object:
        new = {"apiVersion": kind.version, "kind": kind.name, **copy.deepcopy(object)}
        metadata = new.setdefault("metadata", {})
        if "name" not in metadata and "generateName" in metadata:
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        name = metadata.get("name", "")
        if not NAME.fullmatch(name) or len(name) > 253:
            raise Refusal(422, "Invalid", f'{kind.name} "{name}" is invalid: metadata.name: Invalid value', name)
        if kind.namespaced:
            metadata["namespace"] = namespace
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": CREATED, "generation": 1}
        key = (kind, namespace if kind.namespaced else "", name)
        if key in self._objects:
            raise Refusal(409, "AlreadyExists", f'{kind.plural} "{name}" already exists', name)
        return new if dry else self._store("ADDED", key, None, new)

    def patch(self, key: Key, change: Object, *, dry: bool = False) -> Object:
        """Merge patch. With metadata.resourceVersion: 409 when it is not the object's."""
        with self.changed:
            done = self._patched(key, change, dry)
        return self._told(done)

    def _patched(self, key: Key, change: Object, dry: bool = False) -> Change | Object:
        before = self.get(key)
        asked = change.get("metadata", {}).get("resourceVersion")
        if asked is not None and asked != before["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", f'Operation cannot be fulfilled on "{key[2]}": modified', key[2])
        after: Object = merged(before, change)
        if dry or after == before:
            return after
        ended = "deletionTimestamp" in after["metadata"] and not after["metadata"].get("finalizers")
        return self._store("DELETED" if ended else "MODIFIED", key, before, after)

    def apply(self, key: Key, object: Object, *, dry: bool = False) -> tuple[Object, bool]:
        """Simplified: what was applied before and is not said any more goes; lists are replaced. And: is it new?"""
        with self.changed:
            is_new = key not in self._objects
            if is_new:
                done = self._created(key[0], key[1], object, dry)
            else:
                change = merged(withdrawn(self._applied.get(key, {}), object), object, keep_nulls=True)
                done = self._patched(key, change, dry)
            if not dry:
                self._applied[key] = copy.deepcopy(object)
        return self._told(done), is_new

    def delete(self, key: Key, uid: str = "") -> Object:
        """An object with finalizers is only marked, and goes when a patch removes the last of them."""
        with self.changed:
            before = self.get(key)
            if uid and uid != before["metadata"]["uid"]:
                raise Refusal(409, "Conflict", "Precondition failed: UID in precondition differs", key[2])
            if before["metadata"].get("finalizers"):
                done = self._patched(key, {"metadata": {"deletionTimestamp": CREATED}})
            else:
                done = self._store("DELETED", key, before, copy.deepcopy(before))
        return self._told(done)

    def since(self, version: int, kind: Kind, namespace: str, labels: str, fields: str) -> list[tuple[str, Object]]:
        """The events of a watch: an object that no longer matches is DELETED to it."""
        events = []
        for change in self.history:
            if change.version <= version or change.key[0] != kind or namespace not in ("", change.key[1]):
                continue
            was = change.before is not None and matches(change.before, labels, fields)
            now = change.type != "DELETED" and matches(change.after, labels, fields)
            if was or now:
                name = "MODIFIED" if was and now else "ADDED" if now else "DELETED"
                events.append((name, change.after))
        return events

    def bump(self) -> int:
        with self.changed:
            self.version += 1
            return self.version

    def _store(self, type: str, key: Key, before: Object | None, after: Object) -> Change:
        after["metadata"]["resourceVersion"] = str(self.bump())
        if type == "DELETED":
            del self._objects[key]
            self._applied.pop(key, None)
        else:
            self._objects[key] = copy.deepcopy(after)
        change = Change(self.version, type, key, before, copy.deepcopy(after))
        self.history.append(change)
        self.changed.notify_all()
        return change

    def _told(self, done: Change | Object) -> Object:
        """Never while the lock is held: who is told may hold one of his own, and wait for ours."""
        if not isinstance(done, Change):
            return done
        for callback in self.callbacks:
            callback(done.type, done.key[0], copy.deepcopy(done.after))
        return copy.deepcopy(done.after)


def merged(target: Any, change: Any, keep_nulls: bool = False) -> Any:
    """RFC 7396."""
    if not isinstance(change, dict):
        return copy.deepcopy(change)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in change.items():
        if value is None and not keep_nulls:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value, keep_nulls)
    return result


def withdrawn(before: Object, now: Object) -> Object:
    """A patch that takes away what `before` said and `now` does not."""
    gone: Object = {name: None for name in before if name not in now}
    for name in set(before) & set(now):
        if isinstance(before[name], dict) and isinstance(now[name], dict):
            gone[name] = withdrawn(before[name], now[name])
    return gone


def matches(object: Object, labels: str, fields: str) -> bool:
    """Selectors: `a=b`, `a==b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`; fields: metadata.*, status.phase."""
    has = object["metadata"].get("labels") or {}
    if not all(_label(has, term) for term in re.split(r",(?![^(]*\))", labels) if term):
        return False
    for term in filter(None, fields.split(",")):
        path, _, wanted = term.partition("!=" if "!=" in term else "=")
        value: Any = object
        for step in path.split("."):
            value = value.get(step, "") if isinstance(value, dict) else ""
        if (value == wanted.lstrip("=")) == ("!=" in term):
            return False
    return True


def _label(has: dict[str, str], term: str) -> bool:
    term = term.strip()
    listed = re.fullmatch(r"(\S+) (in|notin) \((.*)\)", term)
    if listed:
        values = [value.strip() for value in listed[3].split(",")]
        return (has.get(listed[1]) in values) == (listed[2] == "in")
    if "!=" in term:
        name, _, value = term.partition("!=")
        return has.get(name) != value
    if "=" in term:
        name, _, value = term.partition("=")
        return has.get(name) == value.lstrip("=")
    return term[1:] not in has if term.startswith("!") else term in has
