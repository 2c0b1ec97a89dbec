"""Models out of the factory: as the content of an image, and as manifests for Kubernetes and KServe."""

from modelworks.pipelines.export.image import Exported, image
from modelworks.pipelines.export.kubernetes import Wanted, manifests

__all__ = ["Exported", "Wanted", "image", "manifests"]
