"""Words that every station shares. No I/O."""
