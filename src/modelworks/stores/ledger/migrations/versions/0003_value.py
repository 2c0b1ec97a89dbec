"""The value ledger: what predictions earned, by day and by segment, and what computing took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Three new tables."""
    op.create_table(
        "earnings",
        sa.Column("model", sa.String(120), nullable=False),
        sa.Column("start", sa.DateTime, nullable=False),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("served", sa.JSON, nullable=False),
        sa.Column("control", sa.JSON, nullable=False),
        sa.Column("gain", sa.JSON, nullable=False),
        sa.Column("keys", sa.LargeBinary),
        sa.PrimaryKeyConstraint("model", "start", name="pk_earnings"),
    )
    op.create_table(
        "segment_earnings",
        sa.Column("model", sa.String(120), nullable=False),
        sa.Column("start", sa.DateTime, nullable=False),
        sa.Column("segment", sa.String(1000), nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("total", sa.Float, nullable=False),
        sa.Column("squares", sa.Float, nullable=False),
        sa.Column("gain", sa.Float, nullable=False),
        sa.Column("held", sa.Integer, nullable=False),
        sa.Column("held_total", sa.Float, nullable=False),
        sa.Column("held_squares", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("model", "start", "segment", name="pk_segment_earnings"),
        sa.Index("ix_segment_earnings_model_segment_start", "model", "segment", "start"),
    )
    op.create_table(
        "usage",
        sa.Column("model", sa.String(120), nullable=False),
        sa.Column("start", sa.DateTime, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("model", "start", "kind", name="pk_usage"),
    )
