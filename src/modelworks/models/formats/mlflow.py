"""Folders of MLflow's: the file ``MLmodel``, which says what is there, and the files of a model.

Source: https://mlflow.org/docs/latest/ml/model/ (the storage format).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.core.errors import Invalid, NotReady, TooLarge
from modelworks.core.schema import Field, Kind
from modelworks.models.flavors.port import numbered
from modelworks.models.formats.file import content_of, need, read_file
from modelworks.models.formats.read import Read

if TYPE_CHECKING:
    import pandas as pd

MLMODEL = "MLmodel"
_LIMIT = 10 * 1024**2
"""Of what describes a model, bytes."""
_FILES = (
    ("lightgbm", "data", "model.lgb"), ("xgboost", "data", "model.ubj"), ("onnx", "data", "model.onnx"),
    ("sklearn", "pickled_model", "model.pkl"),
)  # fmt: skip
"""Flavors that are one file: the key of their description that names it, and its usual name."""
_KINDS = {
    "double": Kind.NUMBER, "float": Kind.NUMBER, "long": Kind.INTEGER, "integer": Kind.INTEGER,
    "boolean": Kind.BOOL, "string": Kind.TEXT,
}  # fmt: skip


def read_folder(folder: Path, trust: bool) -> Read:
    """Read a model of MLflow's.

    Raises:
        Invalid: the folder is not as it should be, or of a flavor that is not known here.
        Denied: it needs trust.
        NotReady: a library is missing.
    """
    import yaml

    try:
        described = yaml.safe_load(_text(folder, MLMODEL))
        flavors: Mapping[str, Any] = described["flavors"]
        model, form = _model(folder, flavors, trust)
    except ImportError as error:
        raise NotReady(
            f"a library that {folder.name} needs is not installed", str(error), "install it"
        ) from error
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(
            f"{folder / MLMODEL} is not as MLflow writes it",
            f"{type(error).__name__}: {error}",
            "save the model anew",
        ) from error
    inputs = _inputs(described.get("signature") or {}, model)
    return Read(model, f"mlflow ({form})", inputs, _example(folder, described, inputs))


def _model(folder: Path, flavors: Mapping[str, Any], trust: bool) -> tuple[Any, str]:
    for name, key, usual in _FILES:
        if name in flavors:
            path = _inside(folder, flavors[name].get(key) or usual)
            return read_file(path, trust).model, name
    if "pytorch" in flavors:
        return _pytorch(_inside(folder, flavors["pytorch"].get("model_data", "data")), trust), "pytorch"
    raise Invalid(
        f"{folder.name} is of no flavor that can be imported", f"it has {', '.join(flavors)}",
        "there are lightgbm, onnx, pytorch, sklearn and xgboost; or log it as a Python function from a notebook",
    )  # fmt: skip


def _pytorch(folder: Path, trust: bool) -> Any:
    """A module: an exported program, or a pickle."""
    for program in sorted(folder.glob("*.pt2")):
        return read_file(program, trust).model
    path = _inside(folder, "model.pth")
    need(trust, path, "a pickled PyTorch module", "reading a pickle runs whatever its maker put in")
    content_of(path)
    import torch

    return torch.load(path, weights_only=False)


def _inside(folder: Path, name: str) -> Path:
    """A file or folder that a description names; it may not lie elsewhere.

    Raises:
        Invalid: it does, or is not there.
    """
    path = folder / str(name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise Invalid(f"{folder.name} names a file outside of itself", str(name), "save the model anew")
    if not path.exists():
        raise Invalid(
            f"{folder.name} lacks the file {name!r}",
            "it is named in its description",
            "copy the whole folder",
        )
    return path


def _text(folder: Path, name: str) -> str:
    path = _inside(folder, name)
    if path.stat().st_size > _LIMIT:
        raise TooLarge(f"{path.name} is too large", f"{path.stat().st_size} bytes, at most {_LIMIT}", "")
    return path.read_text(encoding="utf-8")


def _inputs(said: Mapping[str, Any], model: Any) -> tuple[Field, ...] | None:
    """The inputs of MLflow's signature: columns, or one matrix of numbers."""
    content = said.get("inputs")
    if not content:
        return None
    columns = json.loads(content) if isinstance(content, str) else content
    if columns and columns[0].get("type") == "tensor":
        shape = columns[0]["tensor-spec"]["shape"]
        if len(columns) != 1 or len(shape) != 2 or shape[1] < 1:
            raise Invalid(
                "the model takes tensors that are no rows of columns", f"they are of shape {shape}",
                "import models of tables; [-1, features] is the shape of one",
            )  # fmt: skip
        names = getattr(model, "feature_names_in_", None)
        named = numbered(shape[1]) if names is None else map(str, names)
        return tuple(Field(name, Kind.NUMBER) for name in named)
    fields = []
    for place, column in enumerate(columns):
        kind = _KINDS.get(column.get("type", ""))
        name = column.get("name", f"f{place}")
        if kind is None:
            raise Invalid(
                f"column {name!r} is of type {column.get('type')!r}", "", "models take numbers and texts"
            )
        nullable = kind is Kind.TEXT or not column.get("required", True)
        fields.append(Field(name, kind, nullable=nullable))
    return tuple(fields)


def _example(
    folder: Path, described: Mapping[str, Any], inputs: tuple[Field, ...] | None
) -> pd.DataFrame | None:
    """The rows of the input example, where there is one of a form that is known."""
    import pandas as pd

    about = described.get("saved_input_example_info") or {}
    if "artifact_path" not in about:
        return None
    content = json.loads(_text(folder, about["artifact_path"]))
    match content:
        case {"columns": columns, "data": rows}:
            frame = pd.DataFrame(rows, columns=[str(name) for name in columns])
        case {"inputs": list(rows)}:
            frame = pd.DataFrame(rows)
            if inputs is not None and len(inputs) == frame.shape[1]:
                frame.columns = pd.Index([one.name for one in inputs])
            else:
                frame.columns = pd.Index([f"f{place}" for place in range(frame.shape[1])])
        case _:
            return None
    for name in frame.columns:
        if frame[name].dtype.kind not in "fiub":
            frame[name] = frame[name].astype(object)
    return frame
