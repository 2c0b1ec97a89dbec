"""Runs: what was tried, with which parameters, to which effect."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from modelworks.stores.ledger.tables.kinds import (
    Digest,
    Field,
    Id,
    Name,
    Segment,
    Serial,
    Utc,
    metadata,
    where,
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model", Name, nullable=False),
    Column("key", Digest, nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("dataset", Name, nullable=False),
    Column("dataset_version", Integer, nullable=False),
    # What is to be done, resolved, and who wanted it ("policy" or "person"): see pipelines.campaign.
    Column("plan", JSON, nullable=False, default=dict),
    Column("by", String(20), nullable=False, default="person"),
    # Seconds of the workers so far, and why it was closed before it was done, if it was.
    Column("seconds", Float, nullable=False, default=0.0),
    Column("closed", Text),
    # How often it was begun since something of it was last written down, and not ended: see pipelines.campaign.
    Column("attempts", Integer, nullable=False, default=0),
    # How many are done, of how many, and the seconds until all will be: see pipelines.campaign.
    Column("segments", Integer, nullable=False),
    Column("total", Integer, nullable=False, default=0),
    Column("left", Float),
    Column("artifacts", JSON, nullable=False, default=list),
    Column("status", String(20), nullable=False),
    Column("created", Utc, nullable=False),
    Column("finished", Utc),
    Index("ix_campaigns_going", "created", **where("finished IS NULL")),
    Index(None, "model", "created"),
)
runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Field, nullable=False),
    Column("segment", Segment, nullable=False, default=""),
    Column("campaign", Id),
    Column("kind", String(20), nullable=False),
    Column("status", String(20), nullable=False),
    Column("params", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("artifacts", JSON, nullable=False),
    Column("dataset", Name),
    Column("dataset_version", Integer),
    Column("error", Text),
    Column("started", Utc, nullable=False),
    Column("ended", Utc),
    # Of a run that tells of itself: its group, the run that it is part of, the process that it lives in (see
    # track.entry), and where it came from.
    Column("experiment", Field, nullable=False, default=""),
    Column("parent", Id),
    Column("session", Id),
    Column("note", Text),
    Column("source", JSON),
    Column("deleted", Utc),
    UniqueConstraint("campaign", "segment"),
    Index(None, "name", "segment", "started"),
    Index(None, "started"),
    Index("ix_runs_experiment", "experiment", "id", **where("experiment <> ''")),
    Index("ix_runs_parent", "parent", **where("parent IS NOT NULL")),
    Index("ix_runs_session", "session", **where("status = 'running'")),
)
run_values = Table(
    # The newest value of every parameter, metric and tag of every run, a row each, so that runs are found by
    # them; `track.query` reads it. A metric has a number, a tag a text, a parameter a text and, where it is one,
    # a number. Of a metric also where its newest point stands, and how many there are.
    "run_values",
    metadata,
    Column("run", Id, primary_key=True),
    Column("field", String(260), primary_key=True),
    Column("number", Float),
    Column("text", String(500)),
    Column("step", BigInteger),
    Column("time", BigInteger),
    Column("points", Integer),
    Index("ix_run_values_number", "field", "number", "run", **where("number IS NOT NULL")),
    Index("ix_run_values_text", "field", "text", "run", **where("text IS NOT NULL")),
    sqlite_with_rowid=False,
)
run_points = Table(
    # Points of metrics on their way into the table that holds them, many of a run in a row: see track.points.
    "run_points",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("run", Id, nullable=False, index=True),
    Column("points", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
searches = Table(
    # What a search for parameters is found again by, and the run that it is; its trials are the run's children.
    "searches",
    metadata,
    Column("key", Digest, primary_key=True),
    Column("run", Id, nullable=False, unique=True),
)
tuned = Table(
    # The parameters that were found for a segment, which its trainings use.
    "tuned",
    metadata,
    Column("model", Name, primary_key=True),
    Column("segment", Segment, primary_key=True),
    Column("params", JSON, nullable=False),
    Column("run", Id, nullable=False),
    Column("updated", Utc, nullable=False),
)
run_journals = Table(
    # How far the journals of runs have been read: what is before the position is in the ledger, once.
    "run_journals",
    metadata,
    Column("id", Field, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("updated", Utc, nullable=False),
)
