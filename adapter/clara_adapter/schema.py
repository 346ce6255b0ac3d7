"""The tables of the adapter's state. Patient and study are here and nowhere else outside the DICOM files."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint

VERSION = 2
METADATA = MetaData()

info = Table("info", METADATA, Column("version", Integer, nullable=False))


def _text(name: str, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, default=default)


# One study of one route, as it was when it became quiet. `number` orders the payloads of one study.
payload = Table(
    "payload",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    _text("route"),
    _text("called"),
    _text("study"),
    _text("patient"),
    _text("issuer"),
    _text("state"),
    _text("message", ""),
    Column("created", Float, nullable=False),
    Column("sealed", Float),
    Index("payload_study", "route", "study"),
    Index("payload_state", "state"),
    sqlite_autoincrement=True,
)

# One instance as it was received, in the folder of the payload that received it first.
instance = Table(
    "instance",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("payload", Text, ForeignKey("payload.id"), nullable=False),
    _text("route"),
    _text("sop_instance"),
    _text("sop_class"),
    _text("series"),
    _text("frame_of_reference"),
    _text("transfer_syntax"),
    _text("digest", ""),  # SHA-256 of the data set; written when the payload is sealed, not when it arrives
    Column("size", Integer, nullable=False),
    Column("received", Float, nullable=False),
    UniqueConstraint("route", "sop_instance"),
    Index("instance_payload", "payload"),
)

# Acknowledged or refused, kept on disk, part of no payload: `reason` is one of ours, derived, conflict.
aside = Table(
    "aside",
    METADATA,
    Column("id", Integer, primary_key=True),
    _text("route"),
    _text("sop_instance"),
    _text("sop_class"),
    _text("reason"),
    Column("size", Integer, nullable=False),
    Column("received", Float, nullable=False),
    UniqueConstraint("route", "sop_instance", "reason"),
)

# `crashes` counts the starts that found the row in its present state after the process had died in it.
job = Table(
    "job",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("payload", Text, ForeignKey("payload.id"), nullable=False),
    _text("workflow"),  # name or id, as the route names it
    _text("workflow_digest"),
    _text("state"),
    _text("message", ""),
    Column("created", Float, nullable=False),
    Column("finished", Float),
    Column("crashes", Integer, nullable=False, default=0),
    Index("job_state", "state"),
    Index("job_payload", "payload"),
)

# One file of a job's result. `ours`: 1 when we made it, 0 when it is an unchanged instance of the payload.
result = Table(
    "result",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("job", Text, ForeignKey("job.id"), nullable=False),
    _text("file"),  # below the job's result folder
    _text("sop_instance"),
    _text("sop_class"),
    _text("series"),
    _text("transfer_syntax"),
    _text("digest"),
    Column("size", Integer, nullable=False),
    Column("ours", Integer, nullable=False),
    UniqueConstraint("job", "sop_instance"),
    Index("result_sop_instance", "sop_instance"),
    Index("result_series", "series"),
)

# One job's result for one destination. `due`: not before this time, seconds since 1970.
delivery = Table(
    "delivery",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("job", Text, ForeignKey("job.id"), nullable=False),
    _text("destination"),
    _text("state"),
    _text("message", ""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("crashes", Integer, nullable=False, default=0),
    Column("due", Float, nullable=False, default=0.0),
    Column("created", Float, nullable=False),
    Column("finished", Float),
    UniqueConstraint("job", "destination"),
    Index("delivery_state", "destination", "state"),
)

# What a destination answered for one instance; no row = not answered, outcome unknown.
answer = Table(
    "answer",
    METADATA,
    Column("delivery", Integer, ForeignKey("delivery.id"), primary_key=True),
    Column("result", Integer, ForeignKey("result.id"), primary_key=True),
    Column("status", Integer, nullable=False),
    Column("stored", Integer, nullable=False),
    Column("at", Float, nullable=False),
)

# What may have reached a destination without an answer. Written before its first byte leaves, gone when the answer to
# that sending is there.
sending = Table(
    "sending",
    METADATA,
    Column("delivery", Integer, ForeignKey("delivery.id"), primary_key=True),
    Column("result", Integer, ForeignKey("result.id"), primary_key=True),
)

# Every change of a state, in order.
event = Table(
    "event",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    _text("kind"),
    _text("subject"),
    _text("what"),
    _text("before"),
    _text("after"),
    _text("message", ""),
    Index("event_subject", "kind", "subject"),
)
