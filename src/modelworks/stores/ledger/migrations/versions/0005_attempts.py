"""Campaigns count the attempts that nothing came of, so that one that kills its processes is given up."""

from alembic import op
from sqlalchemy import Column, Integer

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """No earlier attempt counts."""
    op.add_column("campaigns", Column("attempts", Integer, nullable=False, server_default="0"))
