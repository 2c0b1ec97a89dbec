"""PyTorch: a module, kept as an exported program (``torch.export``), which is a graph and weights, no pickle.

What a module is called with: ``forward(numbers)``, float32 of shape (rows, numbers), NaN where one is missing. One
that takes texts says their categories, ``module.categories = {"carrier": ["AA", "UA"], ...}``, and is called with
``forward(numbers, codes)``: int64 of shape (rows, texts), 0 for a text that is missing or not among them, then
from 1 in their order; an embedding table of ``len(categories) + 1`` rows fits. Without numbers it is
``forward(codes)``.

What it gives: a value a row; or, where it has ``module.classes_``, probabilities: one a class, or that of the second
of two alone.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.core.schema import Field
from modelworks.models.flavors.port import Answers, Example, kinds_of
from modelworks.models.predictor import shaped
from modelworks.models.signature import Signature

_CATEGORIES = "categories.json"
"""Kept beside the program."""
_OPSET = 20

Categories = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class TorchPredictor:
    """A module that answers batches, one thread, without gradients."""

    module: Any
    signature: Signature

    @cached_property
    def _codes(self) -> list[dict[str, int]]:
        known = categories(self.module, self.signature)
        return [{value: code for code, value in enumerate(values, 1)} for values in known]

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """What the module is called with."""
        import torch

        given = []
        if self.signature.numbers:
            given.append(torch.from_numpy(np.ascontiguousarray(batch.numbers)))
        if self.signature.texts:
            codes = np.empty((len(batch), len(self._codes)), dtype=np.int64)
            for place, known in enumerate(self._codes):
                codes[:, place] = [known.get(value, 0) for value in batch.texts[:, place].tolist()]
            given.append(torch.from_numpy(codes))
        return tuple(given)

    def raw(self, batch: Batch) -> npt.NDArray[Any]:
        """What the module gives, as it gives it."""
        import torch

        with _still(self.module), torch.inference_mode():
            made = self.module(*self.inputs(batch))
        if not isinstance(made, torch.Tensor):
            raise Invalid(f"the module gives a {type(made).__name__}", "", "let forward give one tensor")
        answers: npt.NDArray[Any] = made.numpy()
        return answers

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """See `Predictor.predict`."""
        return shaped(self.raw(batch), self.signature, len(batch))


def categories(module: Any, signature: Signature) -> list[Sequence[str]]:
    """The known values of each text input.

    Raises:
        Invalid: the module does not say them.
    """
    known: Categories = getattr(module, "categories", None) or {}
    lacking = [name for name in signature.texts if name not in known]
    if lacking:
        raise Invalid(
            f"the module takes texts, and does not say which: {', '.join(lacking)}",
            "a module calculates with codes",
            f"set module.categories = {{{lacking[0]!r}: [...], ...}}; forward(numbers, codes) then gets "
            "their positions from 1, 0 for any other",
        )
    return [known[name] for name in signature.texts]


@contextmanager
def _still(module: Any) -> Iterator[None]:
    """Without dropout and the like, as it is when it answers."""
    was = bool(module.training)
    if was:
        module.eval()
    try:
        yield
    finally:
        if was:
            module.train()


class TorchFlavor:
    """Modules; what is loaded again is the exported program, which needs no class of the user's."""

    name = "pytorch"
    pickled = False

    def accepts(self, model: Any) -> bool:
        """See `Flavor.accepts`."""
        return "Module" in kinds_of(model, "torch")

    def inputs(self, model: Any) -> tuple[Field, ...] | None:
        """See `Flavor.inputs`."""
        return None

    def answers(self, model: Any, example: Example) -> Answers:
        """See `Flavor.answers`."""
        classes = getattr(model, "classes_", None)
        raw = TorchPredictor(model, example.takes).raw(example.rows())
        width = raw.shape[1] if raw.ndim == 2 else 1
        if classes is None:
            if width > 1:
                raise Invalid(
                    f"the module gives {width} numbers a row, and does not say what they are", "",
                    "set module.classes_ = [...] and let forward give probabilities",
                )  # fmt: skip
            return "regression", ()
        labels = tuple(np.asarray(classes).tolist())
        whole = np.column_stack([1 - raw.reshape(-1), raw.reshape(-1)]) if width == 1 else raw
        if whole.shape[1] != len(labels) or not (
            (whole >= 0).all() and np.allclose(whole.sum(axis=1), 1, atol=1e-3)
        ):
            raise Invalid(
                "the module has classes_ and does not give their probabilities",
                "they must be in [0, 1], one a class, and add up to 1",
                "return it with its link: nn.Sequential(net, nn.Softmax(dim=1)), or nn.Sigmoid() for two classes",
            )
        return "binary" if len(labels) == 2 else "multiclass", labels

    def dump(self, model: Any, signature: Signature) -> bytes:
        """See `Flavor.dump`."""
        import torch

        told = dict(zip(signature.texts, map(list, categories(model, signature)), strict=True))
        content = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(
                _exported(model, signature), content, extra_files={_CATEGORIES: json.dumps(told)}
            )
        return content.getvalue()

    def load(self, content: bytes) -> Any:
        """See `Flavor.load`."""
        import torch

        torch.set_num_threads(1)  # there are many models in a process
        extra = {_CATEGORIES: ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.export.load(io.BytesIO(content), extra_files=extra).module()
        module.categories = json.loads(extra[_CATEGORIES] or "{}")
        module.training = False
        return module

    def predictor(self, model: Any, signature: Signature) -> TorchPredictor:
        """See `Flavor.predictor`."""
        return TorchPredictor(model, signature)

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """See `Flavor.compile`."""
        import torch

        from modelworks.models.compile.writer import ML, Writer, scores

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = _exported(model, signature)
                names = [name for name, there in _inputs(signature) if there]
                made: Any = torch.onnx.export(
                    program, input_names=names, output_names=["made"], opset_version=_OPSET, dynamo=True,
                    verbose=False,
                )  # fmt: skip
        except Invalid:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise Invalid(
                f"{type(model).__name__} has no ONNX form", reason, "it is served natively"
            ) from error
        writer = Writer(signature)
        given = {}
        if signature.numbers:
            given["numbers"] = "numbers"
        if signature.texts:
            codes = [
                writer.node(
                    "LabelEncoder", [writer.column(text=True, places=[place])], ML,
                    keys_strings=list(known) or [""], values_int64s=list(range(1, len(known) + 1)) or [0],
                    default_int64=0,
                )
                for place, known in enumerate(categories(model, signature))
            ]  # fmt: skip
            given["codes"] = codes[0] if len(codes) == 1 else writer.node("Concat", codes, axis=1)
        proto = made.model_proto
        writer.include(proto, given)
        dims = proto.graph.output[0].type.tensor_type.shape.dim
        single = len(dims) == 1 or dims[1].dim_value == 1
        scores(writer, "model/made", width=1 if single else len(signature.classes))
        return writer.finished()


def _inputs(signature: Signature) -> list[tuple[str, int]]:
    """Names of what a module is called with, and how wide each is."""
    return [("numbers", len(signature.numbers)), ("codes", len(signature.texts))]


def _exported(module: Any, signature: Signature) -> Any:
    """The module as a program for any number of rows.

    Raises:
        Invalid: PyTorch cannot trace it.
    """
    import torch

    rows = torch.export.Dim("rows")
    kinds = {"numbers": torch.float32, "codes": torch.int64}
    there = [(name, width) for name, width in _inputs(signature) if width]
    given = tuple(torch.zeros((3, width), dtype=kinds[name]) for name, width in there)
    try:
        with _still(module), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, given, dynamic_shapes=tuple({0: rows} for _ in there))
    except Exception as error:
        raise Invalid(
            f"{type(module).__name__} cannot be exported", " ".join(str(error).split())[:300],
            "keep Python that depends on the values out of forward; see torch.export",
        ) from error  # fmt: skip


PYTORCH = TorchFlavor()
