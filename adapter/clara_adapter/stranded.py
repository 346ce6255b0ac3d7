"""Work in a spool that a changed configuration has left behind: what it needs is no longer named. Only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from clara_adapter.database import StoreError, check_version
from clara_adapter.schema import delivery, info, job, payload
from clara_adapter.states import DELIVERY, JOB, PayloadState
from clara_argo.model.route import Configuration

GONE = "which is not in the configuration"


def find(state: Path, configuration: Configuration) -> list[str]:
    """One sentence for each destination and route that is missed; nothing for a state that is not there yet.

    Raises StoreError when the state cannot be read.
    """
    if not state.is_file():
        return []
    destinations = [to.name for to in configuration.destinations]
    routes = [route.name for route in configuration.routes]
    engine = sql.create_engine("sqlite://", creator=lambda: _open(state), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            check_version(state, connection.execute(sql.select(info.c.version)).scalar())
            return [
                text.format(name=repr(name), gone=GONE, count=count)
                for text, missed in _missed(destinations, routes)
                for name, count in connection.execute(missed)
            ]
    except DatabaseError as error:
        raise StoreError(f"{state} cannot be read: {error.orig}; restore it, or name another spool") from error
    finally:
        engine.dispose()


def _open(state: Path) -> sqlite3.Connection:
    """Read only. Without a write-ahead log nobody has the file open, and SQLite shall make none either."""
    log = state.with_name(state.name + "-wal")
    return sqlite3.connect(f"{state.absolute().as_uri()}?{'mode=ro' if log.exists() else 'immutable=1'}", uri=True)


def _missed(destinations: Collection[str], routes: Collection[str]) -> Iterator[tuple[str, Any]]:
    """A sentence, and the question whose rows, names with numbers, are put into it."""
    to, route = delivery.c.destination, payload.c.route
    yield (
        "deliveries for destination {name}, {gone}: {count} wait and are not sent; name it again, and they are",
        _counted(to).where(delivery.c.state.in_(DELIVERY.unfinished), to.not_in(destinations)),
    )
    yield (
        "studies received for route {name}, {gone}: {count} were not complete and are held when the adapter starts",
        _counted(route).where(payload.c.state == PayloadState.RECEIVING, route.not_in(routes)),
    )
    yield (
        "jobs of route {name}, {gone}: the results of {count} are sent nowhere; name it again before they end",
        _counted(route).join_from(job, payload).where(job.c.state.in_(JOB.unfinished), route.not_in(routes)),
    )


def _counted(name: sql.Column[str]) -> Any:
    return sql.select(name, sql.func.count()).group_by(name).order_by(name)
