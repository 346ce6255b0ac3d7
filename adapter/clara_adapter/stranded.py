"""Work in a spool that a changed configuration has left behind: what it needs is no longer named. Only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from clara_adapter.database import StoreError
from clara_adapter.schema import VERSION, delivery, info, job, payload
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
            if (version := connection.execute(sql.select(info.c.version)).scalar()) != VERSION:
                raise StoreError(f"{state}: has version {version}, this program reads {VERSION}; use another spool")
            return [
                *_deliveries(connection, destinations),
                *_payloads(connection, routes),
                *_jobs(connection, routes),
            ]
    except DatabaseError as error:
        raise StoreError(f"{state} cannot be read: {error.orig}; restore it, or name another spool") from error
    finally:
        engine.dispose()


def _open(state: Path) -> sqlite3.Connection:
    """Read only. Without a write-ahead log nobody has the file open, and SQLite shall make none either."""
    log = state.with_name(state.name + "-wal")
    return sqlite3.connect(f"{state.absolute().as_uri()}?{'mode=ro' if log.exists() else 'immutable=1'}", uri=True)


def _deliveries(connection: sql.Connection, known: Collection[str]) -> list[str]:
    waiting = sql.and_(delivery.c.state.in_(DELIVERY.unfinished), delivery.c.destination.not_in(known))
    name = delivery.c.destination
    counted = sql.select(name, sql.func.count()).where(waiting).group_by(name).order_by(name)
    return [
        f"deliveries for destination {name!r}, {GONE}: {count} wait and are not sent; name it again, and they are"
        for name, count in connection.execute(counted)
    ]


def _payloads(connection: sql.Connection, known: Collection[str]) -> list[str]:
    open_ = sql.and_(payload.c.state == PayloadState.RECEIVING, payload.c.route.not_in(known))
    name = payload.c.route
    counted = sql.select(name, sql.func.count()).where(open_).group_by(name).order_by(name)
    return [
        f"studies received for route {name!r}, {GONE}: {count} were not complete and are held when the adapter starts"
        for name, count in connection.execute(counted)
    ]


def _jobs(connection: sql.Connection, known: Collection[str]) -> list[str]:
    name = payload.c.route
    unfinished = sql.and_(job.c.state.in_(JOB.unfinished), name.not_in(known))
    counted = sql.select(name, sql.func.count()).join_from(job, payload).where(unfinished).group_by(name).order_by(name)
    return [
        f"jobs of route {name!r}, {GONE}: the results of {count} are sent nowhere; name it again before they end"
        for name, count in connection.execute(counted)
    ]
