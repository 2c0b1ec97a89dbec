"""Rollouts: challengers on their way, the steps they took, and the servers that have them in memory."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, String, Table, Text

from modelworks.stores.ledger.tables.kinds import Id, Name, Segment, Serial, Utc, metadata, where

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model", Name, nullable=False),
    Column("segment", Segment, nullable=False),
    Column("champion", Integer, nullable=False),
    Column("challenger", Integer, nullable=False),
    Column("strategy", JSON, nullable=False),
    Column("share", Float, nullable=False),
    Column("silent", Boolean, nullable=False),
    # Rows of the challenger when the share was set: what a step has seen is what came since.
    Column("rows", Integer, nullable=False),
    Column("since", Utc, nullable=False),
    Column("status", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("begun", Utc, nullable=False),
    Column("ended", Utc),
    Column("revision", BigInteger, nullable=False, index=True),
    Index("uq_rollouts_running", "model", "segment", unique=True, **where("status = 'running'")),
    Index(None, "model", "segment", "begun"),
)
rollout_steps = Table(
    "rollout_steps",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("rollout", Id, nullable=False, index=True),
    Column("action", String(20), nullable=False),
    Column("share", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("at", Utc, nullable=False),
)
servers = Table(
    # Who answers just now. Times are the machine's own: a server whose clock stands still is not alive.
    "servers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("seen", Utc, nullable=False),
    # By rollout: "" where its challenger is in memory, else why it is not.
    Column("rollouts", JSON, nullable=False),
)
