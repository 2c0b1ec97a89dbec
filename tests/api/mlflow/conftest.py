"""What is in `client` runs in another environment, in which there is MLflow: see test_conformance."""

collect_ignore = ["client"]
