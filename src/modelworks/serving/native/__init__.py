"""Models that are not compiled, answered in processes of their own: what ends one never ends the server."""
