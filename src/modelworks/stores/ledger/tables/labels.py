"""What people say of models and versions, and where versions that were made elsewhere come from."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Index, Integer, String, Table, Text

from modelworks.stores.ledger.tables.kinds import Field, Id, Name, Segment, Utc, metadata

labels = Table(
    # Of a version, or with the number 0 of a model or segment as a whole. Removed: it is no longer there, and
    # its number is not given again.
    "labels",
    metadata,
    Column("model", Name, primary_key=True),
    Column("segment", Segment, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("tags", JSON, nullable=False),
    Column("note", Text, nullable=False, default=""),
    Column("owner", Field, nullable=False, default=""),
    Column("stage", String(20), nullable=False, default=""),
    Column("created", Utc, nullable=False),
    Column("updated", Utc, nullable=False),
    Column("removed", Utc),
)
arrivals = Table(
    # A version that was made elsewhere and came as files, name to digest. State: waiting, reading, read, kept.
    "arrivals",
    metadata,
    Column("model", Name, primary_key=True),
    Column("segment", Segment, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("source", String(2000), nullable=False),
    Column("run", Id),
    Column("logged", Id),
    Column("files", JSON, nullable=False),
    Column("state", String(20), nullable=False),
    Index(None, "state"),
    Index(None, "run"),
    Index(None, "logged"),
)
