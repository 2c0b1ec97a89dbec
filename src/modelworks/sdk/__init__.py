"""The SDK: the verbs of the house over HTTP, and the standalone phase in a script or notebook."""
