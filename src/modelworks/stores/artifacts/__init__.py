"""The artifact store: blobs under the SHA-256 of their content."""

from modelworks.stores.artifacts.local import LocalArtifacts
from modelworks.stores.artifacts.port import Artifacts

__all__ = ["Artifacts", "LocalArtifacts"]
