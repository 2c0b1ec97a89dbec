"""Alembic's entry: runs on the connection that `migrate.upgrade` hands over."""

from alembic import context

from modelworks.stores.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction is the one that counts
)
context.run_migrations()
