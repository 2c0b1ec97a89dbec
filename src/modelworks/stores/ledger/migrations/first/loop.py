"""Windows, alerts, decisions, leases."""

from __future__ import annotations

from sqlalchemy import JSON, Column, DateTime, Float, Index, Integer, LargeBinary, String, Table, Text

from modelworks.stores.ledger.migrations.first.kinds import Serial, schema

Table(
    "alerts",
    schema,
    Column("id", Serial, primary_key=True),
    Column("model", String(120), nullable=False),
    Column("segment", String(1000), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("severity", String(20), nullable=False),
    Column("message", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("opened", DateTime, nullable=False),
    Column("closed", DateTime),
    Column("acknowledged", DateTime),
    Column("acknowledged_by", String(120)),
    Column("snoozed", DateTime),
    Index(None, "model", "segment", "kind", "closed"),
    Index(None, "opened"),
)
Table(
    "decisions",
    schema,
    Column("id", Serial, primary_key=True),
    Column("model", String(120), nullable=False),
    Column("segment", String(1000), nullable=False),
    Column("action", String(20), nullable=False),
    Column("trigger", String(120), nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("campaign", String(32)),
    Column("at", DateTime, nullable=False),
    Index(None, "at"),
    Index(None, "model", "segment", "at"),
)
Table(
    "leases",
    schema,
    Column("what", String(250), primary_key=True),
    Column("token", String(32), nullable=False),
    Column("holder", String(120), nullable=False),
    Column("until", DateTime, nullable=False),
)
Table(
    "notices",
    schema,
    Column("channel", String(40), primary_key=True),
    Column("alert", Integer, primary_key=True),
    Column("event", String(20), primary_key=True),
    Column("notice", String(32), nullable=False),
    Column("sent", DateTime),
    Column("tries", Integer, nullable=False),
    Column("due", DateTime, nullable=False),
    Column("error", Text),
    Index(None, "channel", "sent", "due"),
    Index(None, "notice"),
)
Table(
    "truths",
    schema,
    Column("model", String(120), primary_key=True),
    Column("start", DateTime, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("labelled", Integer, nullable=False),
    Column("repeated", Integer, nullable=False),
    Column("corrected", Integer, nullable=False),
    Column("ahead", Integer, nullable=False),
    Column("before", Integer, nullable=False),
    Column("last", DateTime),
    Column("delays", JSON, nullable=False),
    Column("served", JSON, nullable=False),
    Column("control", JSON, nullable=False),
    Column("foretold", JSON, nullable=False),
)
Table(
    "watermarks",
    schema,
    Column("name", String(200), primary_key=True),
    Column("moment", DateTime, nullable=False),
)
Table(
    "windows",
    schema,
    Column("model", String(120), primary_key=True),
    Column("start", DateTime, primary_key=True),
    Column("segment", String(1000), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("labelled", Integer, nullable=False),
    Column("output_sum", Float, nullable=False),
    Column("loss_sum", Float, nullable=False),
    Column("loss_squares", Float, nullable=False),
    Column("sketch", LargeBinary, nullable=False),
    Index("ix_windows_counts", "model", "segment", "version", "start", "rows"),
    Index(None, "model", "segment", "start"),
)
