"""The loop: what was seen of the models, and what was decided."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, Index, Integer, LargeBinary, String, Table, Text

from modelworks.stores.ledger.tables.kinds import Field, Id, Name, Segment, Serial, Utc, metadata

windows = Table(
    "windows",
    metadata,
    Column("model", Name, primary_key=True),
    Column("start", Utc, primary_key=True),
    Column("segment", Segment, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("labelled", Integer, nullable=False),
    Column("output_sum", Float, nullable=False),
    # Of the labelled rows: log loss or squared error, and its square, so that any span has a mean and its error.
    Column("loss_sum", Float, nullable=False),
    Column("loss_squares", Float, nullable=False),
    Column("sketch", LargeBinary, nullable=False),  # see monitor.sketch
    Index(None, "model", "segment", "start"),
    # How many predictions a version answered, without a look at the windows themselves.
    Index("ix_windows_counts", "model", "segment", "version", "start", "rows"),
)
truths = Table(
    # How the truth came for a day of a model, all versions and segments together; see monitor.truths.
    "truths",
    metadata,
    Column("model", Name, primary_key=True),
    Column("start", Utc, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("labelled", Integer, nullable=False),
    Column("repeated", Integer, nullable=False),
    Column("corrected", Integer, nullable=False),
    Column("ahead", Integer, nullable=False),
    Column("before", Integer, nullable=False),
    Column("last", Utc),
    Column("delays", JSON, nullable=False),
    # Numbers of truths, their sums and sums of squares: answered by the model, held out, and what it foretold.
    Column("served", JSON, nullable=False),
    Column("control", JSON, nullable=False),
    Column("foretold", JSON, nullable=False),
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
    Column("id", Serial, primary_key=True),
    Column("model", Name, nullable=False),
    Column("segment", Segment, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("severity", String(20), nullable=False),
    Column("message", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("opened", Utc, nullable=False),
    Column("closed", Utc),
    Column("acknowledged", Utc),
    Column("acknowledged_by", Name),
    Column("snoozed", Utc),  # until then nobody is told
    Column("incident", Integer),  # the alert that began the incident it is part of, if that is another one
    Index(None, "model", "segment", "kind", "closed"),
    Index(None, "incident"),
    Index(None, "opened"),
)
notices = Table(
    # Which channel was told, or is to be told, of which alert.
    "notices",
    metadata,
    Column("channel", String(40), primary_key=True),
    Column("alert", Integer, primary_key=True),
    Column("event", String(20), primary_key=True),
    Column("notice", Id, nullable=False),  # what is told at once
    Column("sent", Utc),
    Column("tries", Integer, nullable=False),
    Column("due", Utc, nullable=False),
    Column("error", Text),
    Index(None, "notice"),
    Index(None, "channel", "sent", "due"),
)
decisions = Table(
    "decisions",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("model", Name, nullable=False),
    Column("segment", Segment, nullable=False),
    Column("action", String(20), nullable=False),
    Column("trigger", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("campaign", Id),
    Column("at", Utc, nullable=False),
    Index(None, "model", "segment", "at"),
    Index(None, "at"),
)
leases = Table(
    # Who is at what: see stores.ledger.lease. What nobody is at has no row.
    "leases",
    metadata,
    Column("what", Field, primary_key=True),
    Column("token", Id, nullable=False),
    Column("holder", Name, nullable=False),
    Column("until", Utc, nullable=False),
)
