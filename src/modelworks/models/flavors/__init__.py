"""The flavors of the house."""

from typing import Any

from modelworks.core.catalog import Catalog
from modelworks.core.errors import Invalid
from modelworks.models.flavors.port import Flavor

FLAVORS: Catalog[Flavor] = Catalog(
    "flavor",
    {
        name: f"modelworks.models.flavors.{name}:{name.upper()}"
        for name in ("lightgbm", "onnx", "python", "pytorch", "river", "sklearn", "spacy", "xgboost")
    },
)

_GENERAL = ("sklearn", "python")
"""They go by what a model can do, not by where it comes from: asked last."""


def flavor_of(model: Any) -> Flavor:
    """The flavor that accepts a model.

    Raises:
        Invalid: none does.
    """
    names = [name for name in FLAVORS if name not in _GENERAL]
    for name in (*names, *_GENERAL):
        if FLAVORS[name].accepts(model):
            return FLAVORS[name]
    raise Invalid(
        f"a {type(model).__module__}.{type(model).__qualname__} cannot be packaged",
        f"the flavors are {', '.join(FLAVORS)}, and none accepts it",
        "return a fitted estimator with predict (and predict_proba for classes), or install a flavor for it",
    )
