"""The value ledger: what predictions earned, by day, and what computing cost."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, Index, Integer, LargeBinary, String, Table

from modelworks.stores.ledger.tables.kinds import Digest, Name, Segment, Utc, metadata

earnings = Table(
    # A day of a model, all versions and segments together; see monitor.earnings.
    "earnings",
    metadata,
    Column("model", Name, primary_key=True),
    Column("start", Utc, primary_key=True),
    Column("rule", Digest, nullable=False),  # by which value of the definition it was counted
    # Numbers of rows with a truth, sums and sums of squares of what they are worth: answered by the model, held out;
    # and of what the former are worth more than if nobody had acted on them.
    Column("served", JSON, nullable=False),
    Column("control", JSON, nullable=False),
    Column("gain", JSON, nullable=False),
    Column("keys", LargeBinary),
)
segment_earnings = Table(
    # The same by segment.
    "segment_earnings",
    metadata,
    Column("model", Name, primary_key=True),
    Column("start", Utc, primary_key=True),
    Column("segment", Segment, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("total", Float, nullable=False),
    Column("squares", Float, nullable=False),
    Column("gain", Float, nullable=False),
    Column("held", Integer, nullable=False),
    Column("held_total", Float, nullable=False),
    Column("held_squares", Float, nullable=False),
    Index("ix_segment_earnings_model_segment_start", "model", "segment", "start"),
)
usage = Table(
    # Seconds of processors that a model's work took on a day, by kind; see stores.usage. Of no model: what served all.
    "usage",
    metadata,
    Column("model", Name, primary_key=True),
    Column("start", Utc, primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("seconds", Float, nullable=False),
    Column("rows", Integer, nullable=False),
)
