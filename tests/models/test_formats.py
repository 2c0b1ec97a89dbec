"""Models made elsewhere: every format is read; nothing that can run code is, unless the user said so."""

import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from flavors_world import made
from models_world import fitted, rows
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from modelworks.core.errors import Denied, Invalid, NotFound, TooLarge
from modelworks.core.schema import Kind
from modelworks.models.flavors import flavor_of
from modelworks.models.formats import file, read, signature_of
from modelworks.models.layout import to_batch

NAMES = ["a", "c"]


def numbers() -> tuple[pd.DataFrame, Any, Any]:
    frame, y = rows()
    return frame[NAMES], y, LogisticRegression().fit(frame[NAMES], y)


def answers(path: Path, frame: pd.DataFrame, *, trust: bool = False, example: bool = True) -> Any:
    found = read(path, trust)
    takes = signature_of(found, frame if example else found.example)
    return flavor_of(found.model).predictor(found.model, takes).predict(to_batch(frame, takes))


def _skops(model: Any, path: Path) -> None:
    from skops import io

    io.dump(model, path)


def _own(flavor: str) -> tuple[Any, pd.DataFrame, Any]:
    one = made(flavor, "binary")
    return one.model, one.frame, one.expected(one.frame)


def _lightgbm(path: Path) -> tuple[pd.DataFrame, Any]:
    model, frame, expected = _own("lightgbm")
    model.booster_.save_model(path)
    return frame, expected


def _xgboost(path: Path) -> tuple[pd.DataFrame, Any]:
    model, frame, expected = _own("xgboost")
    model.save_model(path)
    return frame, expected


def _by(dump: Callable[[Any, Path], None]) -> Callable[[Path], tuple[pd.DataFrame, Any]]:
    def write(path: Path) -> tuple[pd.DataFrame, Any]:
        frame, _, model = numbers()
        dump(model, path)
        return frame, model.predict_proba(frame)

    return write


def _onnx(model: Any, path: Path) -> None:
    frame, _, _ = numbers()
    path.write_bytes(
        to_onnx(
            model, frame.to_numpy(np.float32), options={"zipmap": False}, target_opset=18
        ).SerializeToString()
    )


WRITE: dict[str, Callable[[Path], tuple[pd.DataFrame, Any]]] = {
    ".onnx": _by(_onnx),
    ".txt": _lightgbm,
    ".lgb": _lightgbm,
    ".json": _xgboost,
    ".ubj": _xgboost,
    ".skops": _by(_skops),
    ".pkl": _by(lambda model, path: path.write_bytes(pickle.dumps(model)) and None),
    ".pickle": _by(lambda model, path: joblib.dump(model, path) and None),
    ".joblib": _by(lambda model, path: joblib.dump(model, path) and None),
}
PICKLES = (".pkl", ".pickle", ".joblib")


def test_every_format_is_written_here() -> None:
    # PyTorch's is in the contract of its flavor; XGBoost writes no .xgb any more.
    assert set(WRITE) | {".pt2", ".xgb"} == set(file.FORMATS)


@pytest.mark.parametrize("ending", WRITE)
def test_a_file_answers_as_its_maker_s_model(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"churn{ending}"
    frame, expected = WRITE[ending](path)
    assert np.allclose(answers(path, frame, trust=ending in PICKLES), expected, atol=1e-6)


@pytest.mark.parametrize("ending", [one for one in WRITE if one not in PICKLES])
def test_what_a_model_takes_is_known_without_rows(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"churn{ending}"
    frame, expected = WRITE[ending](path)
    found = read(path)
    takes = signature_of(found, None)
    assert (takes.task, takes.classes) == ("binary", (0, 1))
    if ending == ".onnx":
        frame = frame.set_axis(["f0", "f1"], axis=1)
    assert [one.name for one in takes.inputs] == list(frame.columns)
    assert [one.kind is Kind.TEXT for one in takes.inputs] == [frame[name].dtype == object for name in frame]
    again = flavor_of(found.model).predictor(found.model, takes).predict(to_batch(frame, takes))
    assert np.allclose(again, expected, atol=1e-6)


class Evil:
    """Runs a command of its maker's when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("ending", PICKLES)
def test_a_pickle_is_not_touched_without_trust(ending: str, tmp_path: Path) -> None:
    path, marker = tmp_path / f"evil{ending}", tmp_path / "marker"
    path.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(
        Denied, match=r"is a pickle; reading a pickle runs whatever its maker put in; .*--trust"
    ):
        read(path)
    assert not marker.exists()
    read(path, trust=True)  # that it would have run is what makes this test one
    assert marker.exists()


def test_a_skops_file_says_which_types_it_wants_trusted(tmp_path: Path) -> None:
    frame, y, _ = numbers()
    path = tmp_path / "odd.skops"
    _skops(Odd().fit(frame, y), path)
    with pytest.raises(Denied, match=r"they are .*Odd; import it with --trust"):
        read(path)
    assert np.allclose(answers(path, frame, trust=True), Odd().fit(frame, y).predict_proba(frame), atol=1e-6)


class Odd(LogisticRegression):  # type: ignore[misc]
    """Somebody's estimator."""


@pytest.mark.parametrize("ending", [one for one in WRITE if one not in PICKLES])
def test_what_is_not_what_its_name_says_is_refused(ending: str, tmp_path: Path) -> None:
    path, marker = tmp_path / f"evil{ending}", tmp_path / "marker"
    for content in (b"", pickle.dumps(Evil(marker))):
        path.write_bytes(content)
        with pytest.raises(Invalid):
            signature_of(read(path, trust=True), None)
        assert not marker.exists()


def test_what_is_no_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        read(tmp_path / "none.onnx")
    (tmp_path / "notes.md").write_text("none")
    with pytest.raises(Invalid, match="of no known format"):
        read(tmp_path / "notes.md")
    with pytest.raises(Invalid, match="no folder of MLflow's"):
        read(tmp_path)
    path = tmp_path / "churn.skops"
    WRITE[".skops"](path)
    monkeypatch.setattr(file, "MAX_BYTES", 100)
    with pytest.raises(TooLarge, match="the limit is"):
        read(path)


def test_tensors_beside_a_graph_come_from_its_own_folder_only(tmp_path: Path) -> None:
    frame, _, model = numbers()
    folder = tmp_path / "graph"
    folder.mkdir()
    path = folder / "churn.onnx"
    graph = to_onnx(model, frame.to_numpy(np.float32), options={"zipmap": False}, target_opset=18)
    weights = np.arange(2, dtype=np.float32)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(weights, "beside"))
    onnx.save(graph, path, save_as_external_data=True, location="churn.onnx.data", size_threshold=0)
    assert (folder / "churn.onnx.data").exists()
    assert np.allclose(answers(path, frame), model.predict_proba(frame), atol=1e-6)
    bare = onnx.load(path, load_external_data=False)
    with pytest.raises(Invalid, match="keeps tensors in other files"):
        flavor_of(bare).dump(bare, signature_of(read(path), None))
    (tmp_path / "secret").write_bytes(b"x" * 8)
    for tensor in bare.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    path.write_bytes(bare.SerializeToString())
    with pytest.raises(Invalid):
        read(path)


# -- MLflow, whose folders are written here as version 3.17 writes them ------------------------------------


def folder_of(path: Path, flavor: dict[str, Any], frame: pd.DataFrame | None, **more: Any) -> Path:
    path.mkdir(exist_ok=True)
    described: dict[str, Any] = {
        "flavors": {"python_function": {"loader_module": f"mlflow.{next(iter(flavor))}"}, **flavor},
        "mlflow_version": "3.17.2",
        **more,
    }
    if frame is not None:
        kinds = ["string" if frame[name].dtype == object else "double" for name in frame.columns]
        columns = [
            {"type": kind, "name": name, "required": name != "b"}
            for name, kind in zip(frame, kinds, strict=True)
        ]
        described["signature"] = {"inputs": json.dumps(columns), "outputs": None, "params": None}
        described["saved_input_example_info"] = {
            "artifact_path": "input_example.json", "pandas_orient": "split", "type": "dataframe",
        }  # fmt: skip
        (path / "input_example.json").write_text(frame.head(20).to_json(orient="split", index=False))
    (path / "MLmodel").write_text(yaml.safe_dump(described))
    return path


@pytest.mark.parametrize("flavor", ["sklearn", "lightgbm", "xgboost", "onnx"])
def test_a_folder_of_mlflow_s(flavor: str, tmp_path: Path) -> None:
    ending, key = {
        "sklearn": (".skops", "pickled_model"), "lightgbm": (".lgb", "data"), "xgboost": (".ubj", "data"),
        "onnx": (".onnx", "data"),
    }[flavor]  # fmt: skip
    frame, expected = WRITE[ending](tmp_path / f"model{ending}")
    folder_of(tmp_path, {flavor: {key: f"model{ending}"}}, frame)
    found = read(tmp_path)
    assert found.format == f"mlflow ({flavor})"
    assert found.example is not None
    assert found.inputs is not None
    assert {one.name for one in found.inputs if one.nullable} == {"b", "size", "shop"} & set(frame.columns)
    assert np.allclose(answers(tmp_path, frame, example=False), expected, atol=1e-6)


def test_a_folder_with_a_pickle_needs_trust(tmp_path: Path) -> None:
    frame, expected = WRITE[".pkl"](tmp_path / "model.pkl")
    folder_of(tmp_path, {"sklearn": {"pickled_model": "model.pkl"}}, frame)
    with pytest.raises(Denied, match=r"model\.pkl"):
        read(tmp_path)
    assert np.allclose(answers(tmp_path, frame, trust=True, example=False), expected, atol=1e-6)


def test_a_matrix_has_columns_by_number(tmp_path: Path) -> None:
    frame, y, _ = numbers()
    _skops(LogisticRegression().fit(frame.to_numpy(), y), tmp_path / "model.skops")
    shape = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]
    (tmp_path / "input_example.json").write_text(json.dumps({"inputs": frame.head(5).to_numpy().tolist()}))
    folder_of(
        tmp_path, {"sklearn": {"pickled_model": "model.skops"}}, None, signature={"inputs": json.dumps(shape)},
        saved_input_example_info={"artifact_path": "input_example.json", "type": "ndarray"},
    )  # fmt: skip
    found = read(tmp_path)
    assert found.example is not None
    takes = signature_of(found, found.example)
    assert takes.numbers == ("f0", "f1")
    renamed = frame.set_axis(["f0", "f1"], axis=1)
    again = flavor_of(found.model).predictor(found.model, takes).predict(to_batch(renamed, takes))
    assert np.allclose(again[:, 1].mean(), y.mean(), atol=1e-3)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"flavors": {"sklearn": {"pickled_model": "../secret.skops"}}}, "outside of itself"),
        ({"flavors": {"sklearn": {"pickled_model": "/etc/passwd"}}}, "outside of itself"),
        ({"flavors": {"sklearn": {"pickled_model": "none.skops"}}}, "lacks the file"),
        ({"flavors": {"prophet": {"data": "x"}}}, "of no flavor that can be imported"),
        ({"flavors": ["sklearn"]}, "lacks the file|of no flavor|not as MLflow writes it"),
        ({"other": 1}, "not as MLflow writes it"),
        ([], "not as MLflow writes it"),
    ],
)
def test_a_folder_that_is_not_as_it_should_be(written: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "secret.skops").write_bytes(b"")
    (tmp_path / "model" / "MLmodel").write_text(yaml.safe_dump(written))
    with pytest.raises(Invalid, match=said):
        read(tmp_path / "model", trust=True)


def test_an_mlmodel_cannot_make_objects(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(f"flavors: !!python/object/apply:os.mkdir ['{tmp_path}/marker']")
    with pytest.raises(Invalid, match="not as MLflow writes it"):
        read(tmp_path, trust=True)
    assert not (tmp_path / "marker").exists()


def test_somebody_s_pipeline_with_texts(tmp_path: Path) -> None:
    model, takes = fitted("logistic")
    frame, _ = rows(50, seed=3)
    _skops(model, tmp_path / "model.skops")
    folder_of(tmp_path, {"sklearn": {"pickled_model": "model.skops"}}, frame)
    found = read(tmp_path)
    again = signature_of(found, found.example)
    assert [(one.name, one.kind) for one in again.inputs] == [(one.name, one.kind) for one in takes.inputs]
    assert np.allclose(answers(tmp_path, frame, example=False), model.predict_proba(frame), atol=1e-6)


def test_a_module_of_mlflow_s(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    frame, _, _ = numbers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
        (tmp_path / "data").mkdir()
        torch.save(module, tmp_path / "data" / "model.pth")
    folder_of(tmp_path, {"pytorch": {"model_data": "data"}}, frame)
    with pytest.raises(Denied, match="a pickled PyTorch module"):
        read(tmp_path)
    expected = module(torch.tensor(frame.to_numpy(np.float32))).detach().numpy()
    assert np.allclose(answers(tmp_path, frame, trust=True, example=False), expected, atol=1e-5)
    # An exported program is data.
    found = read(tmp_path, trust=True)
    takes = signature_of(found, frame)
    (tmp_path / "data" / "model.pt2").write_bytes(flavor_of(found.model).dump(found.model, takes))
    assert np.allclose(answers(tmp_path, frame, example=False), expected, atol=1e-5)
    assert np.allclose(answers(tmp_path / "data" / "model.pt2", frame), expected, atol=1e-5)
