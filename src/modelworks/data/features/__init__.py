"""Features: columns computed from a row, from reference datasets as of its time, from what came before it."""
