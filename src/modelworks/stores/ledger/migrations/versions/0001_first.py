"""The first ledger, frozen."""

from alembic import op

from modelworks.stores.ledger.migrations.first import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    schema.create_all(op.get_bind())
