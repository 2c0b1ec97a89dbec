"""The ledger's tables: small facts and decisions, never rows of data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)


class Utc(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no time zones, so it is dropped on the way in and put back on the way out."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """To aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_Serial = BigInteger().with_variant(Integer, "sqlite")
_Name = String(120)
_Segment = String(1000)
_Digest = String(64)
_Id = String(32)
_Field = String(250)


def _where(condition: str) -> dict[str, Any]:
    """An index of only some rows, on either database."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


datasets = Table(
    "datasets",
    metadata,
    Column("name", _Name, primary_key=True),
    Column("contract", JSON, nullable=False),
    Column("key", _Name),
    Column("time", _Name),
    # Feature to its field, and how it is computed.
    Column("features", JSON, nullable=False, default=dict),
    Column("updated", Utc, nullable=False),
)
dataset_versions = Table(
    # Versions of one epoch are read from the same table version: each sees the rows that came up to it. Rows
    # that leave a table (they were corrected, or forgotten) begin another epoch. Dropped: since when the rows
    # are not kept any more.
    "dataset_versions",
    metadata,
    Column("dataset", _Name, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("table_version", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("added", BigInteger, nullable=False),
    Column("replaced", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("sources", JSON, nullable=False),
    Column("columns", JSON, nullable=False),
    # Columns that came and are not in the contract, with what it could say of each.
    Column("offered", JSON, nullable=False, default=dict),
    # What was wrong and let in all the same, and in how many rows; 0 for what is about all of them together.
    Column("warnings", JSON, nullable=False, default=dict),
    # The latest event time up to here.
    Column("newest", Utc),
    Column("created", Utc, nullable=False),
    Column("dropped", Utc),
    Index(None, "dataset", "created"),
)
dataset_tags = Table(
    "dataset_tags",
    metadata,
    Column("dataset", _Name, primary_key=True),
    Column("tag", _Name, primary_key=True),
    Column("version", Integer, nullable=False),
)
dataset_pins = Table(
    "dataset_pins",
    metadata,
    Column("dataset", _Name, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("created", Utc, nullable=False),
)
dataset_profiles = Table(
    "dataset_profiles",
    metadata,
    Column("dataset", _Name, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("columns", JSON, nullable=False),
)
forgotten = Table(
    # Subjects whose rows were erased, by a digest: should their rows come again, they are left out.
    "forgotten",
    metadata,
    Column("dataset", _Name, primary_key=True),
    Column("column", _Name, primary_key=True),
    Column("digest", _Digest, primary_key=True),
    Column("created", Utc, nullable=False),
)
ingested = Table(
    "ingested",
    metadata,
    Column("dataset", _Name, primary_key=True),
    Column("source", String(1000), primary_key=True),
    Column("fingerprint", _Digest, primary_key=True),
    Column("content", _Digest, nullable=False),
    Column("size", BigInteger),
    Column("version", Integer, nullable=False),
    Index(None, "dataset", "content"),
    Index(None, "dataset", "size"),
)
cursors = Table(
    # Where a source was left that is asked for what has come since; written with the version.
    "cursors",
    metadata,
    Column("dataset", _Name, primary_key=True),
    Column("source", String(1000), primary_key=True),
    Column("cursor", JSON, nullable=False),
    Column("version", Integer, nullable=False),
)
ingests = Table(
    # An ingest that has begun: who finds one that was cut off undoes it. Before: the versions of the tables;
    # positions: where its streams were.
    "ingests",
    metadata,
    Column("dataset", _Name, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("before", JSON, nullable=False),
    Column("positions", JSON, nullable=False),
    Column("started", Utc, nullable=False),
)
models = Table(
    "models",
    metadata,
    Column("name", _Name, primary_key=True),
    Column("dataset", _Name),
    Column("target", _Name),
    Column("features", JSON, nullable=False),
    Column("per", JSON, nullable=False),
    Column("definition", JSON, nullable=False),
    Column("code", _Digest, nullable=False),
    Column("updated", Utc, nullable=False),
)
campaigns = Table(
    "campaigns",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("model", _Name, nullable=False),
    Column("key", _Digest, nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("dataset", _Name, nullable=False),
    Column("dataset_version", Integer, nullable=False),
    Column("segments", Integer, nullable=False),
    Column("status", String(20), nullable=False),
    Column("created", Utc, nullable=False),
    Column("finished", Utc),
)
runs = Table(
    "runs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Field, nullable=False),
    Column("segment", _Segment, nullable=False, default=""),
    Column("campaign", _Id),
    Column("kind", String(20), nullable=False),
    Column("status", String(20), nullable=False),
    Column("params", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("artifacts", JSON, nullable=False),
    Column("dataset", _Name),
    Column("dataset_version", Integer),
    Column("error", Text),
    Column("started", Utc, nullable=False),
    Column("ended", Utc),
    # Of a run that tells of itself: its group, the run that it is part of, the process that it lives in (see
    # track.entry), and where it came from.
    Column("experiment", _Field, nullable=False, default=""),
    Column("parent", _Id),
    Column("session", _Id),
    Column("note", Text),
    Column("source", JSON),
    Column("deleted", Utc),
    UniqueConstraint("campaign", "segment"),
    Index(None, "name", "segment", "started"),
    Index(None, "started"),
    Index("ix_runs_experiment", "experiment", "id", **_where("experiment <> ''")),
    Index("ix_runs_parent", "parent", **_where("parent IS NOT NULL")),
    Index("ix_runs_session", "session", **_where("status = 'running'")),
)
run_values = Table(
    # The newest value of every parameter, metric and tag of every run, a row each, so that runs are found by
    # them; `track.query` reads it. A metric has a number, a tag a text, a parameter a text and, where it is one,
    # a number. Of a metric also where its newest point stands, and how many there are.
    "run_values",
    metadata,
    Column("run", _Id, primary_key=True),
    Column("field", String(260), primary_key=True),
    Column("number", Float),
    Column("text", String(500)),
    Column("step", BigInteger),
    Column("time", BigInteger),
    Column("points", Integer),
    Index("ix_run_values_number", "field", "number", "run", **_where("number IS NOT NULL")),
    Index("ix_run_values_text", "field", "text", "run", **_where("text IS NOT NULL")),
    sqlite_with_rowid=False,
)
run_points = Table(
    # Points of metrics on their way into the table that holds them, many of a run in a row: see track.points.
    "run_points",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("run", _Id, nullable=False, index=True),
    Column("points", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
run_journals = Table(
    # How far the journals of runs have been read: what is before the position is in the ledger, once.
    "run_journals",
    metadata,
    Column("id", _Field, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("updated", Utc, nullable=False),
)
model_versions = Table(
    "model_versions",
    metadata,
    Column("model", _Name, primary_key=True),
    Column("segment", _Segment, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("run", _Id, nullable=False, unique=True),
    Column("package", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("dataset", _Name),
    Column("dataset_version", Integer),
    Column("rows_filter", JSON, nullable=False),
    Column("created", Utc, nullable=False),
    Index(None, "created"),
)
aliases = Table(
    "aliases",
    metadata,
    Column("model", _Name, primary_key=True),
    Column("segment", _Segment, primary_key=True),
    Column("alias", _Name, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("updated", Utc, nullable=False),
)
verdicts = Table(
    "verdicts",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("model", _Name, nullable=False),
    Column("segment", _Segment, nullable=False),
    Column("version", Integer, nullable=False),
    Column("gate", _Name, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("created", Utc, nullable=False),
    Index(None, "model", "segment", "version"),
)
deployments = Table(
    "deployments",
    metadata,
    Column("model", _Name, primary_key=True),
    Column("segment", _Segment, primary_key=True),
    Column("champion", Integer, nullable=False),
    Column("previous", Integer),
    Column("strategy", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    # Grows with every change of any deployment: a server that saw revision n asks only for what is above n.
    Column("revision", BigInteger, nullable=False, index=True),
    Column("updated", Utc, nullable=False),
)
deployment_history = Table(
    "deployment_history",
    metadata,
    Column("revision", BigInteger, primary_key=True),
    Column("model", _Name, nullable=False),
    Column("segment", _Segment, nullable=False),
    Column("champion", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created", Utc, nullable=False),
    Index(None, "model", "segment"),
)
windows = Table(
    "windows",
    metadata,
    Column("model", _Name, primary_key=True),
    Column("start", Utc, primary_key=True),
    Column("segment", _Segment, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("labelled", Integer, nullable=False),
    Column("output_sum", Float, nullable=False),
    # Of the labelled rows: log loss or squared error, and its square, so that any span has a mean and its error.
    Column("loss_sum", Float, nullable=False),
    Column("loss_squares", Float, nullable=False),
    Column("sketch", LargeBinary, nullable=False),  # see monitor.sketch
    Index(None, "model", "segment", "start"),
)
watermarks = Table(
    # How far a process that goes over a growing table has come.
    "watermarks",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("moment", Utc, nullable=False),
)
alerts = Table(
    "alerts",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("model", _Name, nullable=False),
    Column("segment", _Segment, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("severity", String(20), nullable=False),
    Column("message", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("opened", Utc, nullable=False),
    Column("closed", Utc),
    Index(None, "model", "segment", "kind", "closed"),
    Index(None, "opened"),
)
decisions = Table(
    "decisions",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("model", _Name, nullable=False),
    Column("segment", _Segment, nullable=False),
    Column("action", String(20), nullable=False),
    Column("trigger", _Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("campaign", _Id),
    Column("at", Utc, nullable=False),
    Index(None, "model", "segment", "at"),
    Index(None, "at"),
)
edges = Table(
    "edges",
    metadata,
    Column("source", String(1200), primary_key=True),
    Column("relation", String(40), primary_key=True),
    Column("target", String(1200), primary_key=True),
    Column("created", Utc, nullable=False),
    Index(None, "target"),
)
audit = Table(
    "audit",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("who", _Name, nullable=False),
    Column("verb", _Name, nullable=False),
    Column("what", String(1200), nullable=False),
    Column("detail", JSON, nullable=False),
    Index(None, "at"),
)
tokens = Table(
    "tokens",
    metadata,
    Column("name", _Name, primary_key=True),
    Column("digest", _Digest, nullable=False, unique=True),
    Column("role", String(20), nullable=False),
    Column("created", Utc, nullable=False),
    Column("revoked", Utc),
)
