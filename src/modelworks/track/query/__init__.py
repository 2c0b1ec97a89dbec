"""The search language of runs: `grammar` reads it, `sql` asks the ledger."""
