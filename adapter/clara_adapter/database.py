"""One SQLite file: a change is a transaction, and when its block has ended the change is on disk.

Opens SQLite in write-ahead mode with `synchronous=FULL`. Knows rows and state tables; knows no network and moves no
files. Times are seconds since 1970; only dates and the pause before the next attempt are kept, durations are
measured elsewhere on the monotonic clock.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from clara_adapter.schema import METADATA, VERSION, event, info
from clara_argo.errors import ClaraError, TryAgain

BUSY_SECONDS = 30.0


class StoreError(ClaraError):
    """The state file cannot be used."""


class Prepared:
    """A statement turned into SQL once; running it costs SQLAlchemy nothing. For what happens with every instance."""

    def __init__(self, engine: sql.Engine, statement: sql.Executable, columns: Sequence[str] | None = None) -> None:
        compiled = statement.compile(engine, column_keys=columns)  # type: ignore[attr-defined]
        self.text, self.names = str(compiled), tuple(compiled.positiontup)

    def values(self, named: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(named[name] for name in self.names)


class Database:
    """Connections and transactions on one SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch(mode=0o600)
        path.chmod(0o600)
        self._writing = threading.RLock()
        self._engine = sql.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})
        sql.event.listen(self._engine, "connect", _set_up)
        sql.event.listen(self._engine, "begin", _begin)
        self._direct: Any = None  # a connection for prepared statements, under the lock above
        try:
            self._make()
            self._direct = self._engine.raw_connection()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._direct is not None:
            self._direct.close()
        self._engine.dispose()

    @contextmanager
    def change(self) -> Iterator[sql.Connection]:
        """One transaction: committed and flushed at the end of the block, or not at all. Raises TryAgain."""
        with self._writing, _named(self.path), self._engine.begin() as connection:
            yield connection

    def prepare(self, statement: sql.Executable, columns: Sequence[str] | None = None) -> Prepared:
        return Prepared(self._engine, statement, columns)

    def run(self, prepared: Prepared, values: Mapping[str, Any]) -> Any:
        """The first row, if there is one. One statement is one transaction. Raises TryAgain."""
        with self._writing, _named(self.path):
            cursor = self._direct.driver_connection.execute(prepared.text, prepared.values(values))
            try:
                return cursor.fetchone()
            finally:
                cursor.close()

    def rows(self, statement: sql.Select[Any]) -> list[Any]:
        with _named(self.path), self._engine.connect() as connection:
            return list(connection.execution_options(clara_read=True).execute(statement))

    def first(self, statement: sql.Select[Any]) -> Any:
        with _named(self.path), self._engine.connect() as connection:
            return connection.execution_options(clara_read=True).execute(statement).first()

    def _make(self) -> None:
        with self.change() as connection:
            METADATA.create_all(connection)
            found = connection.execute(sql.select(info.c.version)).scalar()
            if found is None:
                connection.execute(info.insert().values(version=VERSION))
            else:
                check_version(self.path, found)
        _flush_folder(self.path.parent)


def check_version(path: Path, found: int | None) -> None:
    """Raises StoreError for a state that another version of this program has written."""
    if found != VERSION:
        raise StoreError(f"{path}: has version {found}, this program reads {VERSION}; use another spool")


def record(
    connection: sql.Connection, kind: str, subject: str, what: str, before: str, after: str, message: str = ""
) -> None:
    """Write one line of history, in the transaction that makes it true."""
    values = {"at": time.time(), "kind": kind, "subject": subject, "what": what}
    connection.execute(event.insert().values(**values, before=before, after=after, message=storable(message)))


def storable(message: str) -> str:
    """A message of bounded length that SQLite takes: file names and stages may put any byte into one."""
    return message[:2000].encode("utf-8", "backslashreplace").decode()


def _set_up(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so, see _begin
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={int(BUSY_SECONDS * 1e3)}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sql.Connection) -> None:
    """Readers see one moment; writers queue at the start, not in the middle where they would have to be undone."""
    reading = connection.get_execution_options().get("clara_read")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (IntegrityError, sqlite3.IntegrityError):
        raise
    except (OperationalError, sqlite3.OperationalError) as error:
        raise TryAgain(f"{path}: {_words(error)}; check the disk and its free space") from error
    except (DatabaseError, sqlite3.DatabaseError) as error:
        raise StoreError(f"{path} cannot be used: {_words(error)}; restore it, or name another spool") from error


def _words(error: Exception) -> str:
    """What SQLite said, without what SQLAlchemy adds: the statement and its values."""
    return str(getattr(error, "orig", error))


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
