"""Models that were made elsewhere: read from a file, or from a folder of MLflow's.

What can run code when it is read, a pickle for instance, is read only on the word of the user that its origin is
trusted; everything else is data.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelworks.core.errors import Invalid, NotFound
from modelworks.core.schema import Field, Kind
from modelworks.models.flavors import flavor_of
from modelworks.models.flavors.port import Example
from modelworks.models.formats.file import FORMATS, read_file
from modelworks.models.formats.mlflow import MLMODEL, read_folder
from modelworks.models.formats.read import Read
from modelworks.models.signature import Signature
from modelworks.models.signature_of import signature

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Read", "inputs_of", "read", "signature_of"]


def read(path: Path, trust: bool = False) -> Read:
    """Read a model.

    Args:
        path: A file, or a folder with an ``MLmodel`` file.
        trust: Whether its origin is trusted: then it may be a pickle, which can run any code.

    Raises:
        NotFound: there is nothing.
        Invalid: it is of no known format, too large, or needs trust.
    """
    if path.is_dir():
        if not (path / MLMODEL).is_file():
            raise Invalid(
                f"{path} is no folder of MLflow's",
                f"it has no file {MLMODEL}",
                "name the folder that holds it",
            )
        return read_folder(path, trust)
    if not path.is_file():
        raise NotFound(
            f"there is no file {path}", "", f"name a folder of MLflow's or a file: {', '.join(FORMATS)}"
        )
    return read_file(path, trust)


def signature_of(found: Read, example: pd.DataFrame | None) -> Signature:
    """What a model takes and gives.

    Args:
        found: The model.
        example: Rows that it can answer, if there are any; then they say what it takes.

    Raises:
        Invalid: neither the model nor an example says it, or the answers cannot be served.
    """
    flavor = flavor_of(found.model)
    if example is not None:
        made = signature(example, None, list(map(str, example.columns)), found.model)
        declared = {field.name: field for field in found.inputs or ()}
        # What was declared beats what a few rows happen to show.
        return Signature(tuple(declared.get(one.name, one) for one in made.inputs), made.task, made.classes)
    inputs = inputs_of(found)
    if inputs is None:
        raise Invalid(
            "the model does not say what it takes", "", "give some rows of the kind: --example rows.parquet"
        )
    return Signature(inputs, *flavor.answers(found.model, Example(inputs, _blank(inputs))))


def inputs_of(found: Read) -> tuple[Field, ...] | None:
    """What a model takes, as was said beside it or as it says itself; ``None`` where nobody does."""
    return found.inputs or flavor_of(found.model).inputs(found.model)


def _blank(inputs: Sequence[Field]) -> dict[str, Any]:
    """Two rows of zeros and empty texts: enough to see the form of an answer."""
    return {
        one.name: np.array(["", ""], dtype=object) if one.kind is Kind.TEXT else np.zeros(2) for one in inputs
    }
