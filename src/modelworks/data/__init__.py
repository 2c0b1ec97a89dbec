"""Data: datasets with a contract, ingested into versions, bad rows kept apart with their reason."""
