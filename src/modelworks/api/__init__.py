"""The HTTP API: every verb of the house, probes, metrics and the console around the data plane."""
