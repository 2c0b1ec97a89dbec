"""What is in `client` runs in another environment, in which the clients are: see test_conformance."""

collect_ignore = ["client"]
