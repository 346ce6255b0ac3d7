"""The questions and changes of the adapter's state, each one sentence. A change has happened when the method returns.

Every change of a state goes through the tables of `clara_adapter.states` and leaves an event in the same transaction.
Knows no files but its own and no network.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy.dialects.sqlite import insert as upsert

from clara_adapter import schema
from clara_adapter.database import Database, record, storable
from clara_adapter.identity import Identity
from clara_adapter.peer import Received
from clara_adapter.states import DELIVERY, JOB, PAYLOAD, DeliveryState, PayloadState, Table
from clara_argo.model.job import JobState

CRASHES_HELD = 3
COLLECTED = "collected"
YES: sql.ColumnElement[int] = sql.literal_column("1", sql.Integer)
ROWID: sql.ColumnElement[int] = sql.literal_column("rowid", sql.Integer)  # the order in which rows were written


@dataclass(frozen=True, slots=True)
class Payload:
    number: int
    id: str
    route: str
    called: str
    study: str
    patient: str
    issuer: str
    state: str
    created: float


@dataclass(frozen=True, slots=True)
class Instance:
    payload: str
    sop_instance: str
    sop_class: str
    series: str
    frame_of_reference: str
    digest: str  # empty until the payload is sealed
    size: int


@dataclass(frozen=True, slots=True)
class Job:
    id: str
    payload: str
    workflow: str
    workflow_digest: str
    state: str
    message: str
    created: float
    crashes: int


@dataclass(frozen=True, slots=True)
class Result:
    """A file of a result that may leave. `file` is below the job's result folder."""

    id: int
    file: str
    sop_instance: str
    sop_class: str
    series: str
    transfer_syntax: str
    digest: str
    size: int
    ours: int


@dataclass(frozen=True, slots=True)
class Delivery:
    id: int
    job: str
    destination: str
    state: str
    message: str
    attempts: int
    crashes: int
    due: float


@dataclass(frozen=True, slots=True)
class NewJob:
    id: str
    workflow: str
    workflow_digest: str


Value = TypeVar("Value")


class Store:
    """All state of one spool."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path)
        columns = [column.name for column in schema.instance.c if column.name != "id"]
        self._ask_known = self._db.prepare(_known())
        self._add_instance = self._db.prepare(schema.instance.insert(), columns)

    def close(self) -> None:
        self._db.close()

    # -- receiving ----------------------------------------------------------------------------------------------

    def known(self, route: str, sop_instance: str, series: str) -> tuple[str | None, str, bool]:
        """The payload in which this route holds the instance already, its digest there when it is sealed, and whether
        we made the instance or its series."""
        values = {"route": route, "sop_instance": sop_instance, "series": series}
        payload, digest, ours = self._db.run(self._ask_known, values)
        return payload, digest or "", bool(ours)

    def last_payload(self, route: str, study: str) -> Payload | None:
        """The newest payload of this study on this route, under whatever title it was called then."""
        table = schema.payload
        same = (table.c.route == route, table.c.study == study)
        return self._one(Payload, table, sql.and_(*same), newest=True)

    def new_payload(self, route: str, called: str, identity: Identity) -> Payload:
        """Begin to receive a study."""
        values = {"route": route, "called": called, "study": identity.study, "patient": identity.patient}
        key = uuid.uuid4().hex
        with self._db.change() as change:
            start = {"id": key, "issuer": identity.issuer, "state": PAYLOAD.start, "created": time.time()}
            change.execute(schema.payload.insert().values(**values, **start))
            record(change, "payload", key, "first instance", "", PAYLOAD.start)
        return self.payload(key)

    def add_instance(self, payload: Payload, received: Received, identity: Identity, conflict: str = "") -> None:
        """Write the row that makes an instance ours; `conflict` holds the payload in the same transaction."""
        row = {
            "payload": payload.id,
            "route": payload.route,
            "sop_instance": received.sop_instance,
            "sop_class": received.sop_class,
            "series": identity.series,
            "frame_of_reference": identity.frame_of_reference,
            "transfer_syntax": received.transfer_syntax,
            "digest": "",
            "size": received.size,
            "received": time.time(),
        }
        if not conflict:
            self._db.run(self._add_instance, row)
            return
        with self._db.change() as change:
            change.execute(schema.instance.insert(), row)
            self._move(change, schema.payload, PAYLOAD, payload.id, "conflict", conflict)

    def set_aside(self, route: str, received: Received, reason: str) -> None:
        """Remember an object that is kept on disk but belongs to no payload; the newest of one UID stays."""
        values = {"size": received.size, "received": time.time()}
        key = {"route": route, "sop_instance": received.sop_instance, "reason": reason}
        with self._db.change() as change:
            change.execute(
                upsert(schema.aside)
                .values(**key, **values, sop_class=received.sop_class)
                .on_conflict_do_update(index_elements=list(key), set_=values)
            )

    # -- payloads -----------------------------------------------------------------------------------------------

    def payload(self, key: str) -> Payload:
        return self._known(Payload, schema.payload, schema.payload.c.id == key)

    def receiving(self) -> list[Payload]:
        return self._all(Payload, schema.payload, schema.payload.c.state == PayloadState.RECEIVING)

    def instances(self, payload: Payload) -> list[Instance]:
        """What the payload consists of: the study as it stood when it was sealed, earlier sealed payloads included."""
        table, other = schema.instance, schema.payload
        same = (other.c.route == payload.route, other.c.study == payload.study)
        earlier = sql.and_(other.c.number < payload.number, other.c.state == PayloadState.SEALED)
        belongs = sql.select(other.c.id).where(*same, sql.or_(earlier, other.c.id == payload.id))
        return self._all(Instance, table, table.c.payload.in_(belongs))

    def own_instances(self, payload: str) -> list[Instance]:
        """What this payload itself received."""
        return self._all(Instance, schema.instance, schema.instance.c.payload == payload)

    def seal(self, payload: Payload, jobs: Iterable[NewJob], digests: Mapping[str, str] = MappingProxyType({})) -> None:
        """The payload is complete, its instances have digests (by UID), and its jobs exist: one transaction."""
        table = schema.instance
        with self._db.change() as change:
            for uid, digest in digests.items():
                mine = sql.and_(table.c.payload == payload.id, table.c.sop_instance == uid)
                change.execute(table.update().where(mine).values(digest=digest))
            self._move(change, schema.payload, PAYLOAD, payload.id, "settled")
            change.execute(schema.payload.update().where(schema.payload.c.id == payload.id).values(sealed=time.time()))
            for job in jobs:
                self._new_job(change, payload.id, job)

    def held_payloads(self) -> list[tuple[str, str, str]]:
        """Id, route and why, of those that wait for somebody."""
        table = schema.payload
        wanted = sql.select(table.c.id, table.c.route, table.c.message).where(table.c.state == PayloadState.HELD)
        return [(str(key), str(route), str(why)) for key, route, why in self._db.rows(wanted.order_by(table.c.number))]

    def hold_payload(self, payload: Payload, why: str) -> None:
        with self._db.change() as change:
            self._move(change, schema.payload, PAYLOAD, payload.id, "conflict", why)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        return self._all(Job, schema.job)

    def job(self, key: str) -> Job:
        return self._known(Job, schema.job, schema.job.c.id == key)

    def unfinished_jobs(self) -> list[Job]:
        return self._all(Job, schema.job, schema.job.c.state.in_(JOB.unfinished))

    def move_job(self, key: str, event: str, message: str = "") -> None:
        with self._db.change() as change:
            self._move(change, schema.job, JOB, key, event, message)

    def note_job(self, key: str, message: str) -> None:
        """What an unfinished job waits for; "" when it is in work."""
        self._note(schema.job.c.id == key, message)

    def note_submitting(self, message: str) -> None:
        """What all those wait for that nobody has handed to the runner yet, and that wait for nothing else."""
        self._note(sql.and_(schema.job.c.state == JobState.SUBMITTING, schema.job.c.message == ""), message)

    def _note(self, where: sql.ColumnElement[bool], message: str) -> None:
        unfinished = schema.job.c.state.in_(JOB.unfinished)
        with self._db.change() as change:
            change.execute(schema.job.update().where(where, unfinished).values(message=storable(message)))

    def replace_job(self, job: Job, new: NewJob, why: str) -> None:
        """The workflow is another one than when the payload was sealed: stop the job, begin with the new one."""
        with self._db.change() as change:
            self._move(change, schema.job, JOB, job.id, "stopped", why)
            self._new_job(change, job.payload, new)

    def finish_job(
        self, job: Job, results: Sequence[Result], destinations: Iterable[str], held: str = "", note: str = ""
    ) -> None:
        """The job has succeeded: its result files and one delivery for each destination, held when `held` says why."""
        state = DeliveryState.HELD if held else DELIVERY.start
        with self._db.change() as change:
            self._move(change, schema.job, JOB, job.id, "succeeded", note)
            for result in results:
                values = {field.name: getattr(result, field.name) for field in fields(result) if field.name != "id"}
                change.execute(schema.result.insert().values(job=job.id, **values))
            for name in destinations:
                row = {"job": job.id, "destination": name, "state": state, "message": held, "created": time.time()}
                key = change.execute(schema.delivery.insert().values(**row)).lastrowid
                record(change, "delivery", str(key), "result", "", state, held)

    def uncollected(self) -> list[str]:
        """Succeeded jobs of which it is not written that the runner has dropped its copy of the result."""
        job, event = schema.job, schema.event
        done = sql.select(event.c.subject).where(event.c.kind == JOB.name, event.c.what == COLLECTED)
        wanted = sql.select(job.c.id).where(job.c.state == JobState.SUCCEEDED, job.c.id.not_in(done))
        return [str(row[0]) for row in self._db.rows(wanted.order_by(ROWID))]

    def note_collected(self, key: str) -> None:
        with self._db.change() as change:
            record(change, JOB.name, key, COLLECTED, JobState.SUCCEEDED, JobState.SUCCEEDED)

    # -- deliveries ---------------------------------------------------------------------------------------------

    def deliveries(self, job: str | None = None) -> list[Delivery]:
        return self._all(Delivery, schema.delivery, schema.delivery.c.job == job if job else None)

    def delivery(self, key: int) -> Delivery:
        return self._known(Delivery, schema.delivery, schema.delivery.c.id == key)

    def open_deliveries(self, destination: str) -> list[Delivery]:
        """Unfinished ones, oldest first."""
        table = schema.delivery
        mine = sql.and_(table.c.destination == destination, table.c.state.in_(DELIVERY.unfinished))
        return self._all(Delivery, table, mine)

    def results(self, job: str) -> list[Result]:
        return self._all(Result, schema.result, schema.result.c.job == job)

    def unanswered(self, delivery: Delivery) -> list[Result]:
        """What the destination has not stored and not refused for good, as far as it has answered."""
        done = sql.select(schema.answer.c.result).where(schema.answer.c.delivery == delivery.id)
        here = schema.result
        return self._all(Result, here, sql.and_(here.c.job == delivery.job, here.c.id.not_in(done)))

    def doubtful(self, delivery: int) -> set[int]:
        """Results whose bytes may have reached the destination, and no answer to that came."""
        table = schema.sending
        return {int(row[0]) for row in self._db.rows(sql.select(table.c.result).where(table.c.delivery == delivery))}

    def doubt(self, delivery: int, begins: int | None, settled: int | None = None) -> None:
        """From now on `begins` may be at the destination; about `settled` there is no doubt any more."""
        with self._db.change() as change:
            self._doubt(change, delivery, begins, settled)

    def answer(
        self,
        delivery: int,
        result: int,
        status: int,
        stored: bool,
        *,
        begins: int | None = None,
        settled: int | None = None,
    ) -> None:
        """What the destination said about one instance, final either way; the rest as in `doubt`."""
        with self._db.change() as change:
            self._doubt(change, delivery, begins, settled)
            values = {"status": status, "stored": int(stored), "at": time.time()}
            key = {"delivery": delivery, "result": result}
            change.execute(
                upsert(schema.answer)
                .values(**key, **values)
                .on_conflict_do_update(index_elements=list(key), set_=values)
            )

    def refused(self, delivery: int) -> list[tuple[str, int]]:
        """SOP class and status of what the destination will not take."""
        answer, result = schema.answer, schema.result
        pairs = sql.select(result.c.sop_class, answer.c.status).join_from(answer, result)
        rows = self._db.rows(pairs.where(answer.c.delivery == delivery, answer.c.stored == 0))
        return [(str(sop_class), int(status)) for sop_class, status in rows]

    def move_delivery(self, key: int, event: str, message: str = "", due: float | None = None) -> None:
        with self._db.change() as change:
            self._move(change, schema.delivery, DELIVERY, key, event, message)
            values: dict[str, Any] = {} if due is None else {"due": due}
            if event == "begin":
                values["attempts"] = schema.delivery.c.attempts + 1
            if event == "retry":
                refused = sql.and_(schema.answer.c.delivery == key, schema.answer.c.stored == 0)
                change.execute(schema.answer.delete().where(refused))
                values.update(attempts=0, due=0.0)
            if values:
                change.execute(schema.delivery.update().where(schema.delivery.c.id == key).values(**values))

    # -- starts and stops ---------------------------------------------------------------------------------------

    def count_crashes(self) -> None:
        """At start: what was in work when the process died, unless `forgive_crashes` was called.

        In work are jobs whose stages ran here, the one job that was being handed to the runner, and deliveries on
        their way; what only waited, or ran elsewhere, has a message and is not to blame. Jobs that ran wait again.
        """
        job, delivery = schema.job, schema.delivery
        handed = (job.c.state == JobState.SUBMITTING, job.c.message == "")
        first = sql.select(job.c.id).where(*handed).order_by(ROWID).limit(1)
        with self._db.change() as change:
            submitted = change.execute(first).scalar()
            for table, mine in (
                (job, sql.or_(sql.and_(job.c.state == JobState.RUNNING, job.c.message == ""), job.c.id == submitted)),
                (delivery, delivery.c.state == DeliveryState.SENDING),
            ):
                change.execute(table.update().where(mine).values(crashes=table.c.crashes + 1))
                change.execute(table.update().where(table.c.crashes < 0).values(crashes=0))
            ran = job.c.state == JobState.RUNNING
            change.execute(job.update().where(ran).values(state=JobState.PENDING))

    def forgive_crashes(self) -> None:
        """A clean stop: nothing that is unfinished now has killed us."""
        with self._db.change() as change:
            change.execute(schema.job.update().values(crashes=-1))
            change.execute(schema.delivery.update().values(crashes=-1))

    def events(self, kind: str, subject: str) -> list[tuple[str, str, str, str]]:
        """(what, before, after, message) in order."""
        table = schema.event
        wanted = sql.select(table.c.what, table.c.before, table.c.after, table.c.message)
        rows = self._db.rows(wanted.where(table.c.kind == kind, table.c.subject == subject).order_by(table.c.id))
        return [(str(what), str(before), str(after), str(message)) for what, before, after, message in rows]

    # -- inside -------------------------------------------------------------------------------------------------

    def _doubt(self, change: sql.Connection, delivery: int, begins: int | None, settled: int | None) -> None:
        table = schema.sending
        if settled is not None:
            change.execute(table.delete().where(table.c.delivery == delivery, table.c.result == settled))
        if begins is not None:
            change.execute(upsert(table).values(delivery=delivery, result=begins).on_conflict_do_nothing())

    def _new_job(self, change: sql.Connection, payload: str, job: NewJob) -> None:
        row = {"id": job.id, "payload": payload, "workflow": job.workflow, "workflow_digest": job.workflow_digest}
        change.execute(schema.job.insert().values(**row, state=JOB.start, created=time.time()))
        record(change, "job", job.id, "sealed", "", JOB.start)

    def _move(
        self, change: sql.Connection, table: sql.Table, rule: Table[Any], key: str | int, event: str, message: str = ""
    ) -> None:
        before = change.execute(sql.select(table.c.state).where(table.c.id == key)).scalar_one()
        after = rule.after(type(rule.start)(before), event)
        values: dict[str, Any] = {"state": after, "message": storable(message)}
        if "crashes" in table.c and event != "started":
            values["crashes"] = 0
        if "finished" in table.c:
            values["finished"] = time.time() if after in rule.ends else None
        change.execute(table.update().where(table.c.id == key).values(**values))
        record(change, rule.name, str(key), event, before, after, message)

    def _all(self, kind: type[Value], table: sql.Table, where: sql.ColumnElement[bool] | None = None) -> list[Value]:
        """Rows as values, oldest first."""
        statement = _select(kind, table).order_by(ROWID)
        build: Callable[..., Value] = kind
        return [build(*row) for row in self._db.rows(statement if where is None else statement.where(where))]

    def _one(
        self, kind: type[Value], table: sql.Table, where: sql.ColumnElement[bool], newest: bool = False
    ) -> Value | None:
        order = ROWID.desc() if newest else ROWID
        row = self._db.first(_select(kind, table).where(where).order_by(order).limit(1))
        build: Callable[..., Value] = kind
        return None if row is None else build(*row)

    def _known(self, kind: type[Value], table: sql.Table, where: sql.ColumnElement[bool]) -> Value:
        found = self._one(kind, table, where)
        if found is None:
            raise KeyError(f"no such {table.name}")
        return found


def _known() -> sql.Select[Any]:
    route: sql.BindParameter[str] = sql.bindparam("route")
    instance: sql.BindParameter[str] = sql.bindparam("sop_instance")
    series: sql.BindParameter[str] = sql.bindparam("series")
    held, made = schema.instance, schema.result
    same = (held.c.route == route, held.c.sop_instance == instance)
    payload, digest = sql.select(held.c.payload).where(*same), sql.select(held.c.digest).where(*same)
    same_instance = sql.exists().where(made.c.ours == YES, made.c.sop_instance == instance)
    same_series = sql.exists().where(made.c.ours == YES, made.c.series == series)
    return sql.select(payload.scalar_subquery(), digest.scalar_subquery(), sql.or_(same_instance, same_series))


def _select(kind: Any, table: sql.Table) -> sql.Select[Any]:
    return sql.select(*(table.c[field.name] for field in fields(kind)))
