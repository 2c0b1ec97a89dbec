"""Where things come from, who did what, and who may."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, Index, Integer, LargeBinary, String, Table

from modelworks.stores.ledger.tables.kinds import Digest, Name, Serial, Utc, metadata

edges = Table(
    "edges",
    metadata,
    Column("source", String(1200), primary_key=True),
    Column("relation", String(40), primary_key=True),
    Column("target", String(1200), primary_key=True),
    Column("created", Utc, nullable=False),
    Index(None, "target"),
)
exported = Table(
    # What of the lineage a receiver outside was told: of each dataset up to which version, of campaigns up to
    # which id, and those after it one by one.
    "exported",
    metadata,
    Column("receiver", Digest, primary_key=True),
    Column("node", String(200), primary_key=True),
    Column("position", String(40), nullable=False),
)
audit = Table(
    "audit",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("who", Name, nullable=False),
    Column("verb", Name, nullable=False),
    Column("what", String(1200), nullable=False),
    Column("detail", JSON, nullable=False),
    Index(None, "at"),
)
keys = Table(
    # What only this factory knows, by what it is for.
    "keys",
    metadata,
    Column("name", Name, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
tokens = Table(
    "tokens",
    metadata,
    Column("name", Name, primary_key=True),
    Column("digest", Digest, nullable=False, unique=True),
    Column("role", String(20), nullable=False),
    Column("models", JSON, nullable=False),
    Column("rate", Float),
    Column("quota", Integer),
    Column("created", Utc, nullable=False),
    Column("revoked", Utc),
)
spent = Table(
    # Of the requests that a token has for a day.
    "spent",
    metadata,
    Column("token", Name, primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("requests", Integer, nullable=False),
)
