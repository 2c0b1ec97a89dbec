"""Campaigns count the attempts that nothing came of, so that one that kills its processes is given up."""

from alembic import op
from sqlalchemy import Column, Integer

<<<<<<<< HEAD:src/modelworks/stores/ledger/migrations/versions/0005_attempts.py
revision = "0005"
down_revision = "0004"
========
revision = "0004"
down_revision = "0003"
>>>>>>>> 165e94680bb02b5acc86ce268d5fe4f621ee8b26:src/modelworks/stores/ledger/migrations/versions/0004_attempts.py


def upgrade() -> None:
    """No earlier attempt counts."""
    op.add_column("campaigns", Column("attempts", Integer, nullable=False, server_default="0"))
