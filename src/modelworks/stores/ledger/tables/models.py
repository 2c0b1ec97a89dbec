"""Models: their versions, what gates said of them, and what is deployed."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, Table, Text

from modelworks.stores.ledger.tables.kinds import Digest, Id, Name, Segment, Serial, Utc, metadata

models = Table(
    "models",
    metadata,
    Column("name", Name, primary_key=True),
    Column("dataset", Name),
    Column("target", Name),
    Column("features", JSON, nullable=False),
    Column("per", JSON, nullable=False),
    Column("definition", JSON, nullable=False),
    Column("code", Digest, nullable=False),
    Column("updated", Utc, nullable=False),
)
model_versions = Table(
    "model_versions",
    metadata,
    Column("model", Name, primary_key=True),
    Column("segment", Segment, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("run", Id, nullable=False, unique=True),
    Column("package", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("dataset", Name),
    Column("dataset_version", Integer),
    Column("rows_filter", JSON, nullable=False),
    Column("created", Utc, nullable=False),
    Column("archived", Utc),
    Index(None, "created"),
    Index(None, "dataset", "dataset_version"),
)
aliases = Table(
    "aliases",
    metadata,
    Column("model", Name, primary_key=True),
    Column("segment", Segment, primary_key=True),
    Column("alias", Name, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("updated", Utc, nullable=False),
)
verdicts = Table(
    "verdicts",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("model", Name, nullable=False),
    Column("segment", Segment, nullable=False),
    Column("version", Integer, nullable=False),
    Column("gate", Name, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("created", Utc, nullable=False),
    Index(None, "model", "segment", "version"),
)
checkpoints = Table(
    # How far a model that learns from outcomes has come: a row for each version that it became, written with it.
    "checkpoints",
    metadata,
    Column("model", Name, primary_key=True),
    Column("segment", Segment, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("continues", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("begun", Utc, nullable=False),  # no outcome that was received before is learned
    Column("received", Utc, nullable=False),  # the newest that was learned
    Column("learned", Digest, nullable=False),  # artifact: which rows, in order
    # Means over the rows, each before it was learned; the champion's on the same rows.
    Column("loss", Float),
    Column("champion_loss", Float),
)
deployments = Table(
    "deployments",
    metadata,
    Column("model", Name, primary_key=True),
    Column("segment", Segment, primary_key=True),
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
    Column("model", Name, nullable=False),
    Column("segment", Segment, nullable=False),
    Column("champion", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created", Utc, nullable=False),
    Index(None, "model", "segment"),
)
