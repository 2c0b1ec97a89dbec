"""The first ledger, frozen."""

from alembic import op

from modelworks.stores.ledger.migrations.first import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table; tables of somebody else that have such a name are not taken for ours."""
    schema.create_all(op.get_bind(), checkfirst=False)
