"""Datasets: their versions, and how far their sources have been read."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, String, Table, Text

from modelworks.stores.ledger.tables.kinds import Digest, Name, Utc, metadata

datasets = Table(
    "datasets",
    metadata,
    Column("name", Name, primary_key=True),
    Column("contract", JSON, nullable=False),
    Column("key", Name),
    Column("time", Name),
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
    Column("dataset", Name, primary_key=True),
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
    # Of the files that it was made of, and of those that hold its rows now: packing and erasing write others.
    Column("digest", Digest, nullable=False),
    Column("files", Digest, nullable=False),
    # Rows of forgotten subjects that it had.
    Column("erased", BigInteger, nullable=False, default=0),
    Column("dropped", Utc),
    Index(None, "dataset", "created"),
)
dataset_tags = Table(
    "dataset_tags",
    metadata,
    Column("dataset", Name, primary_key=True),
    Column("tag", Name, primary_key=True),
    Column("version", Integer, nullable=False),
)
dataset_pins = Table(
    "dataset_pins",
    metadata,
    Column("dataset", Name, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("created", Utc, nullable=False),
)
dataset_profiles = Table(
    "dataset_profiles",
    metadata,
    Column("dataset", Name, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("columns", JSON, nullable=False),
)
forgotten = Table(
    # Subjects whose rows were erased, by a digest: should their rows come again, they are left out.
    "forgotten",
    metadata,
    Column("dataset", Name, primary_key=True),
    Column("column", Name, primary_key=True),
    Column("digest", Digest, primary_key=True),
    Column("created", Utc, nullable=False),
)
ingested = Table(
    "ingested",
    metadata,
    Column("dataset", Name, primary_key=True),
    Column("source", String(1000), primary_key=True),
    Column("fingerprint", Digest, primary_key=True),
    Column("content", Digest, nullable=False),
    Column("size", BigInteger),
    Column("version", Integer, nullable=False),
    Index(None, "dataset", "content"),
    Index(None, "dataset", "size"),
)
cursors = Table(
    # Where a source was left that is asked for what has come since; written with the version.
    "cursors",
    metadata,
    Column("dataset", Name, primary_key=True),
    Column("source", String(1000), primary_key=True),
    Column("cursor", JSON, nullable=False),
    Column("version", Integer, nullable=False),
)
ingests = Table(
    # An ingest that has begun: who finds one that was cut off undoes it. Before: the versions of the tables;
    # positions: where its streams were.
    "ingests",
    metadata,
    Column("dataset", Name, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("before", JSON, nullable=False),
    Column("positions", JSON, nullable=False),
    Column("started", Utc, nullable=False),
)
