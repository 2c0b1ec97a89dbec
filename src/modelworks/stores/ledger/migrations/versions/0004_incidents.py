"""Alerts are part of an incident."""

from alembic import op
from sqlalchemy import Column, Integer

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Those of before began one each."""
    op.add_column("alerts", Column("incident", Integer))
    op.create_index("ix_alerts_incident", "alerts", ["incident"])
