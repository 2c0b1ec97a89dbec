"""Experiments, and what their runs took in and gave out: datasets, logged models."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, String, Table

from modelworks.stores.ledger.tables.kinds import Field, Id, Serial, Utc, metadata

experiments = Table(
    # A run names its experiment; here it has a number and tags. The runs that name none are number 0, named "".
    "experiments",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("name", Field, nullable=False, unique=True),
    Column("tags", JSON, nullable=False),
    Column("created", Utc, nullable=False),
    Column("updated", Utc, nullable=False),
    # Its runs were put out of sight at the same moment.
    Column("deleted", Utc),
)
run_links = Table(
    # What a run took in and gave out: a dataset that is not of the house, a logged model.
    "run_links",
    metadata,
    Column("run", Id, primary_key=True),
    Column("role", String(20), primary_key=True),
    Column("target", Field, primary_key=True),
    Column("detail", JSON, nullable=False),
    Index(None, "role", "target"),
)
logged_models = Table(
    # A model that a run has logged, and that need not be in the registry.
    "logged_models",
    metadata,
    Column("id", Id, primary_key=True),
    Column("experiment", BigInteger, nullable=False),
    Column("name", Field, nullable=False),
    Column("run", Id),
    Column("kind", Field, nullable=False),
    Column("status", String(20), nullable=False),
    Column("message", String(1000), nullable=False, default=""),
    Column("params", JSON, nullable=False),
    # Name to newest value; points: the same, with step, time, run and dataset.
    Column("metrics", JSON, nullable=False),
    Column("points", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("artifacts", JSON, nullable=False),
    Column("created", Utc, nullable=False),
    Column("updated", Utc, nullable=False),
    Column("deleted", Utc),
    Index(None, "experiment", "created"),
    Index(None, "run"),
)
