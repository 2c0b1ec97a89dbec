"""The first ledger.

While 0.1 is unreleased this creates the tables as they are declared; from the first release on, every
change of a table is a migration of its own.
"""

from alembic import op

from modelworks.stores.ledger.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    """Drop every table."""
    metadata.drop_all(op.get_bind())
