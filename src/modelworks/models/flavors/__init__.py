"""The flavors of the house."""

from typing import Any
from weakref import WeakKeyDictionary

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


_known: WeakKeyDictionary[type, str] = WeakKeyDictionary()
"""The flavor of the models of a class so far."""


def flavor_of(model: Any) -> Flavor:
    """The flavor that accepts a model.

    Raises:
        Invalid: none does.
    """
    # It is asked at every stage of every model. Flavors of libraries go by the class: what refused one of its
    # models refuses the next; the general ones look at the model itself, so they are asked again.
    known = _known.get(type(model))
    if known is not None and FLAVORS[known].accepts(model):
        return FLAVORS[known]
    names = [name for name in FLAVORS if name not in _GENERAL]
    for name in (*names, *_GENERAL):
        if FLAVORS[name].accepts(model):
            _known[type(model)] = name
            return FLAVORS[name]
    raise Invalid(
        f"a {type(model).__module__}.{type(model).__qualname__} cannot be packaged",
        f"the flavors are {', '.join(FLAVORS)}, and none accepts it",
        "return a fitted estimator with predict (and predict_proba for classes), or install a flavor for it",
    )
