"""What has become of the ledger's tables, revision by revision; see `modelworks.stores.ledger.migrate`."""
