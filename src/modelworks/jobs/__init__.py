"""Work that outlives a call: who executes it."""
