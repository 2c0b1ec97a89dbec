"""Datasets, lineage, audit, tokens."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from modelworks.stores.ledger.migrations.first.kinds import Serial, schema

Table(
    "cursors",
    schema,
    Column("dataset", String(120), primary_key=True),
    Column("source", String(1000), primary_key=True),
    Column("cursor", JSON, nullable=False),
    Column("version", Integer, nullable=False),
)
Table(
    "dataset_pins",
    schema,
    Column("dataset", String(120), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("created", DateTime, nullable=False),
)
Table(
    "dataset_profiles",
    schema,
    Column("dataset", String(120), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("columns", JSON, nullable=False),
)
Table(
    "dataset_tags",
    schema,
    Column("dataset", String(120), primary_key=True),
    Column("tag", String(120), primary_key=True),
    Column("version", Integer, nullable=False),
)
Table(
    "dataset_versions",
    schema,
    Column("dataset", String(120), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("table_version", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("added", BigInteger, nullable=False),
    Column("replaced", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("sources", JSON, nullable=False),
    Column("columns", JSON, nullable=False),
    Column("offered", JSON, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("newest", DateTime),
    Column("created", DateTime, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("files", String(64), nullable=False),
    Column("erased", BigInteger, nullable=False),
    Column("dropped", DateTime),
    Index(None, "dataset", "created"),
)
Table(
    "datasets",
    schema,
    Column("name", String(120), primary_key=True),
    Column("contract", JSON, nullable=False),
    Column("key", String(120)),
    Column("time", String(120)),
    Column("features", JSON, nullable=False),
    Column("updated", DateTime, nullable=False),
)
Table(
    "forgotten",
    schema,
    Column("dataset", String(120), primary_key=True),
    Column("column", String(120), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("created", DateTime, nullable=False),
)
Table(
    "ingested",
    schema,
    Column("dataset", String(120), primary_key=True),
    Column("source", String(1000), primary_key=True),
    Column("fingerprint", String(64), primary_key=True),
    Column("content", String(64), nullable=False),
    Column("size", BigInteger),
    Column("version", Integer, nullable=False),
    Index(None, "dataset", "content"),
    Index(None, "dataset", "size"),
)
Table(
    "ingests",
    schema,
    Column("dataset", String(120), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("before", JSON, nullable=False),
    Column("positions", JSON, nullable=False),
    Column("started", DateTime, nullable=False),
)
Table(
    "audit",
    schema,
    Column("id", Serial, primary_key=True),
    Column("at", DateTime, nullable=False),
    Column("who", String(120), nullable=False),
    Column("verb", String(120), nullable=False),
    Column("what", String(1200), nullable=False),
    Column("detail", JSON, nullable=False),
    Index(None, "at"),
)
Table(
    "edges",
    schema,
    Column("source", String(1200), primary_key=True),
    Column("relation", String(40), primary_key=True),
    Column("target", String(1200), primary_key=True),
    Column("created", DateTime, nullable=False),
    Index(None, "target"),
)
Table(
    "exported",
    schema,
    Column("receiver", String(64), primary_key=True),
    Column("node", String(200), primary_key=True),
    Column("position", String(40), nullable=False),
)
Table(
    "keys",
    schema,
    Column("name", String(120), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
Table(
    "spent",
    schema,
    Column("token", String(120), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("requests", Integer, nullable=False),
)
Table(
    "tokens",
    schema,
    Column("name", String(120), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("role", String(20), nullable=False),
    Column("models", JSON, nullable=False),
    Column("rate", Float),
    Column("quota", Integer),
    Column("created", DateTime, nullable=False),
    Column("revoked", DateTime),
    UniqueConstraint("digest"),
)
