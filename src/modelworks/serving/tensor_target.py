"""The target of the Open Inference Protocol: tensors by column, or one matrix, to batches and named outputs.

Source: https://github.com/kserve/open-inference-protocol (inference request and response objects).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import numpy as np
import orjson

from modelworks.core.errors import BadValue, Invalid, TooLarge, Unfit
from modelworks.core.schema import Kind
from modelworks.models.signature import Signature
from modelworks.serving import forms
from modelworks.serving.columns import MAX_ROWS, Column, Values, check_value
from modelworks.serving.findings import oddities
from modelworks.serving.forms import InferRequest
from modelworks.serving.keeping import ALL, Keeping
from modelworks.serving.metrics import Counters
from modelworks.serving.replica import Replica
from modelworks.serving.replies import undecodable
from modelworks.serving.target import Bound, Job, Piece, Route, job_of
from modelworks.serving.tensors import (
    DATATYPE,
    MATRIX,
    NUMERIC,
    TAKES,
    InputTensor,
    RawTensor,
    numbers_of,
    read_data,
)
from modelworks.serving.words import spread, texts

PROBABILITIES, LABEL, VALUE = "probabilities", "label", "value"


class TensorTarget:
    """``POST /v2/models/{model}[/versions/{version}]/infer``."""

    dataset = ""
    features: Sequence[str] = ()  # a tensor holds what the model takes; nothing is added to it

    def __init__(
        self,
        route: Route,
        counters: Counters,
        schema: bytes,
        name: str,
        optional: Sequence[str],
        keeping: Keeping = ALL,
    ) -> None:
        self.keeping = keeping
        self.route = route
        self.counters = counters
        self.schema = schema
        self.name = name
        self.prefix = b'{"model":' + orjson.dumps(route.model) + b',"predictions":['
        self._columns = route.rows.columns
        replicas = [bound.replica for bound in route.bound.values()]
        self.outputs = outputs_of(route.replicas)
        self._labels = tuple(self.outputs[0].get("parameters", {}).get("labels", ()))
        self._plain = any(replica.signature.task == "other" for replica in replicas)
        self._forms: dict[Replica, tuple[bytes, list[bytes]]] = {}
        self._takes = {
            name: frozenset(datatype for kind in column.kinds for datatype in TAKES[kind])
            for name, column in self._columns.items()
        }
        self._moments = {name for name, column in self._columns.items() if column.kinds == (Kind.TIME,)}
        self._needs = {name for name, column in self._columns.items() if column.required} - set(optional)
        self._known = {output["name"] for output in self.outputs}
        # One tensor for all inputs needs one order of inputs, and nothing but numbers.
        self.only = replicas[0] if not route.per and len(replicas) == 1 else None
        self._matrix = None if self.only is None or self.only.signature.texts else self.only.signature.numbers
        self._gaps = frozenset(name for name, column in self._columns.items() if column.nullable)

    def decode(self, body: bytes) -> Job:
        """See `Target.decode`."""
        request = forms.read(body)
        for output in request.outputs or ():
            if output.name not in self._known:
                known = ", ".join(sorted(self._known))
                raise Invalid(
                    f"there is no output {output.name!r}",
                    f"model {self.name!r} gives {known}",
                    "ask for these",
                )
            forms.check_wanted(output)
        first = request.inputs[0]
        if (
            self._matrix is not None
            and len(request.inputs) == 1
            and first.name == MATRIX not in self._columns
        ):
            numbers = self._from_matrix(first, self._matrix)
            assert self.only is not None
            if self.route.bound[()].division is None:
                return Job([Piece(self.only, numbers, [()] * len(numbers))], len(numbers), request)
            columns = dict(zip(self._matrix, map(list, zip(*numbers, strict=True)), strict=True))
            return self._job(columns, len(numbers), request)
        columns, size = self._from_columns(request.inputs)
        return self._job(columns, size, request)

    def logged(self, body: bytes) -> tuple[int, bytes]:
        """See `Target.logged`."""
        redaction = self.keeping.redaction
        return forms.to_log(body) if redaction is None else redaction.tensors(body, self._matrix or ())

    def _from_matrix(self, tensor: InputTensor, names: Sequence[str]) -> Sequence[Values]:
        """The rows; from raw bytes, as one array of float32, shape (rows, inputs)."""
        shape = tensor.shape
        if len(shape) != 2 or shape[1] != len(names):
            raise Invalid(
                f"input {MATRIX!r} has the shape {shape}",
                f"it must be [rows, {len(names)}]: {', '.join(names)}",
                "correct the shape",
            )
        if tensor.datatype not in NUMERIC:
            raise Invalid(
                f"input {MATRIX!r} cannot be {tensor.datatype}", "it holds numbers", "send FP32 or FP64"
            )
        _limit(shape[0])
        if isinstance(tensor, RawTensor):
            with np.errstate(invalid="ignore"):  # a NaN may be one that signals
                array = numbers_of(tensor).reshape(shape).astype(np.float64).astype(np.float32)
            self._refuse_gaps(names, np.argwhere(np.isnan(array)).tolist())
            return cast("Sequence[Values]", array)
        flat = read_data(tensor)
        rows: list[Values] = (
            [tuple(flat)] if shape[0] == 1 else list(zip(*[iter(flat)] * len(names), strict=True))
        )
        if None in flat:
            width = len(names)
            self._refuse_gaps(names, [divmod(n, width) for n, value in enumerate(flat) if value is None])
        return rows

    def _refuse_gaps(self, names: Sequence[str], places: Sequence[Sequence[int]]) -> None:
        """Raise where a value is missing, by row and column, that may not be."""
        bad = [_gap(row, names[at]) for row, at in places if names[at] not in self._gaps]
        if bad:
            raise Unfit(bad)

    def _from_columns(self, inputs: Sequence[InputTensor]) -> tuple[dict[str, list[Any]], int]:
        """The columns by name, checked, and the number of rows."""
        columns: dict[str, list[Any]] = {}
        size = inputs[0].shape[0] if inputs[0].shape else 0
        gaps: list[BadValue] = []
        flat, tall = [size], [size, 1]
        _limit(size)
        for tensor in inputs:
            column = self._columns.get(tensor.name)
            if column is None:
                known = ", ".join(self._columns)
                raise Invalid(
                    f"model {self.name!r} has no input {tensor.name!r}",
                    f"its inputs are {known}",
                    "use these",
                )
            if tensor.name in columns:
                raise Invalid(f"input {tensor.name!r} is there twice", "", "send it once")
            if tensor.shape != flat and tensor.shape != tall:
                raise Invalid(
                    f"input {tensor.name!r} has the shape {tensor.shape}",
                    f"with {size} rows it must be [{size}]",
                    "give every input the same number of rows",
                )
            if tensor.datatype not in self._takes[tensor.name]:
                takes = " or ".join(dict.fromkeys(DATATYPE[kind] for kind in column.kinds))
                raise Invalid(
                    f"input {tensor.name!r} cannot be {tensor.datatype}",
                    f"it takes {takes}",
                    "change the type",
                )
            values = read_data(tensor)
            if not column.nullable and None in values:
                gaps += [_gap(row, tensor.name) for row, value in enumerate(values) if value is None]
            if tensor.name in self._moments:
                _times(column, values)
            columns[tensor.name] = values
        for name in self._needs - columns.keys():
            raise Invalid(f"the request has no input {name!r}", f"model {self.name!r} needs it", "add it")
        if gaps:
            raise Unfit(gaps)
        return columns, size

    def _job(self, columns: Mapping[str, list[Any]], size: int, request: InferRequest) -> Job:
        route = self.route
        groups: dict[Bound, list[int]] = {}
        if route.per:
            for position, key in enumerate(zip(*(columns[name] for name in route.per), strict=True)):
                groups.setdefault(route.at(key), []).append(position)
        else:
            bound = route.at(())
            if bound.division is None:
                return Job([_piece(bound, columns, range(size))], size, request)
            groups[bound] = list(range(size))

        def value(position: int, name: str) -> Any:
            column = columns.get(name)
            return None if column is None else column[position]

        return job_of(groups, size, lambda bound, rows: _piece(bound, columns, rows), value, request)

    def word(self, job: Job, request: bytes, logged: bytes) -> bytes:
        """See `Target.word`."""
        asked: InferRequest = job.request
        if (
            job.size == 1
            and type(asked) is InferRequest
            and not (asked.outputs or asked.parameters or self._plain or job.pieces[0].odd)
        ):
            return self._worded(job.pieces[0], asked.id, request)
        base = request.decode()
        answer: dict[str, Any] = {"model_name": self.name}
        versions = {piece.replica.version for piece in job.pieces}
        if len(versions) == 1:
            answer["model_version"] = str(versions.pop())
        if asked.id is not None:
            answer["id"] = asked.id
        answer["parameters"] = {"prediction_ids": ",".join([f"{base}-{row}" for row in range(job.size)])}
        if self.route.per:
            answer["parameters"]["segments"] = "/".join(spread(job, [p.replica.text for p in job.pieces]))
        if odd := oddities(job):
            answer["parameters"]["flags"] = orjson.dumps(odd).decode()
        names = (
            [output.name for output in asked.outputs] if asked.outputs else [o["name"] for o in self.outputs]
        )
        answer["outputs"] = [self._output(name, job) for name in names]
        return forms.write(answer, asked)

    def _worded(self, piece: Piece, given: str | None, request: bytes) -> bytes:
        """One row with all outputs, by a template a replica: the same JSON as `word`, sooner."""
        form = self._forms.get(piece.replica)
        if form is None:
            form = self._forms[piece.replica] = self._form(piece.replica)
        template, labels = form
        echo = b"" if given is None else b'"id":%b,' % orjson.dumps(given)
        scores = self._widened(piece).tolist()[0] if labels else piece.outputs.tolist()[0]
        numbers = b",".join([b"%.9g" % score for score in scores])
        if not labels:
            return template % (echo, request, numbers)
        return template % (echo, request, numbers, labels[scores.index(max(scores))])

    def _form(self, replica: Replica) -> tuple[bytes, list[bytes]]:
        parameters: dict[str, str] = {"prediction_ids": "\0-0"}
        if self.route.per:
            parameters["segments"] = replica.text
        outputs = []
        for output in self.outputs:
            shape = [1, *output["shape"][1:]]
            outputs.append(
                {"name": output["name"], "datatype": output["datatype"], "shape": shape, "data": ["\0"]}
            )
        whole = {
            "model_name": self.name,
            "model_version": str(replica.version),
            "id": "\0",
            "parameters": parameters,
            "outputs": outputs,
        }
        # "\0" cannot stand in a name, a segment's text or a version, so it marks the places.
        template = orjson.dumps(whole).replace(b"%", b"%%").replace(b'"id":"\\u0000",', b"%b")
        template = template.replace(b'"\\u0000"', b"%b").replace(b"\\u0000", b"%b")
        return template, [orjson.dumps(label) for label in self._labels]

    def _output(self, name: str, job: Job) -> dict[str, Any]:
        described = next(output for output in self.outputs if output["name"] == name)
        data: Any
        if self._plain and name == VALUE:
            data = texts(job)
        elif len(job.pieces) == 1:
            piece = job.pieces[0]
            if name == LABEL:
                classes = piece.replica.signature.classes
                data = [classes[best] for best in piece.outputs.argmax(axis=1).tolist()]
            else:
                data = self._widened(piece) if name == PROBABILITIES else piece.outputs
        elif name == LABEL:
            data = [None] * job.size
            for piece in job.pieces:
                classes = piece.replica.signature.classes
                for row, best in zip(piece.rows or (), piece.outputs.argmax(axis=1).tolist(), strict=True):
                    data[row] = classes[best]
        else:
            width = described["shape"][1] if len(described["shape"]) == 2 else 1
            data = np.zeros((job.size, width), dtype=np.float32)
            for piece in job.pieces:
                data[piece.rows] = self._widened(piece) if name == PROBABILITIES else piece.outputs
        if isinstance(data, np.ndarray):
            data = np.ascontiguousarray(data).reshape(-1)
        return {
            "name": name,
            "datatype": described["datatype"],
            "shape": [job.size, *described["shape"][1:]],
            "data": data,
        }

    def _widened(self, piece: Piece) -> Any:
        """Probabilities over the classes of the whole model, where a segment knows only some of them."""
        labels = self._labels
        own = piece.replica.signature.classes
        if own == labels:
            return piece.outputs
        wide = np.zeros((len(piece.outputs), len(labels)), dtype=np.float32)
        wide[:, [labels.index(label) for label in own]] = piece.outputs
        return wide


def outputs_of(replicas: Sequence[Replica]) -> list[dict[str, Any]]:
    """The outputs of a model as its metadata describes them."""
    signatures: list[Signature] = [replica.signature for replica in replicas]
    labels: list[Any] = list(signatures[0].classes) if signatures else []
    for signature in signatures[1:]:
        labels += [label for label in signature.classes if label not in labels]
    if any(signature.task == "other" for signature in signatures):
        return [{"name": VALUE, "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "json"}}]
    if not labels:
        return [{"name": VALUE, "datatype": "FP32", "shape": [-1]}]
    if all(isinstance(label, bool) for label in labels):
        kind = "BOOL"
    elif all(isinstance(label, int) for label in labels):
        kind = "INT64"
    else:
        kind = "FP64" if all(isinstance(label, (int, float)) for label in labels) else "BYTES"
    return [
        {
            "name": PROBABILITIES,
            "datatype": "FP32",
            "shape": [-1, len(labels)],
            "parameters": {"labels": labels},
        },
        {"name": LABEL, "datatype": kind, "shape": [-1]},
    ]


def _piece(bound: Bound, columns: Mapping[str, list[Any]], rows: Sequence[int]) -> Piece:
    signature = bound.replica.signature
    for field in signature.inputs if bound.check is not None else ():
        if field.name not in columns and not field.nullable:
            raise Invalid(
                f"the request has no input {field.name!r}", f"{bound.replica.ref} needs it", "add it"
            )
        for row in rows if field.name in columns else ():
            check_value(field, columns[field.name][row], row)
    return Piece(
        bound.replica,
        _tuples([columns.get(name) for name in bound.number_names], rows, None),
        _tuples([columns.get(name) for name in bound.text_names], rows, ""),
        None if isinstance(rows, range) else list(rows),
    )


def _tuples(columns: Sequence[list[Any] | None], rows: Sequence[int], missing: Any) -> list[Values]:
    """Columns as a tuple a row; an input that is not there is missing in every row."""
    if not columns:
        return [()] * len(rows)
    whole = isinstance(rows, range)
    chosen: list[Sequence[Any]] = []
    for column in columns:
        if column is None:
            chosen.append([missing] * len(rows))
        elif missing is not None and None in column:
            chosen.append([missing if column[row] is None else column[row] for row in rows])
        else:
            chosen.append(column if whole else [column[row] for row in rows])
    return list(zip(*chosen, strict=True))


def _times(column: Column, values: list[Any]) -> None:
    try:
        msgspec.convert(values, list[column.type])  # type: ignore[name-defined]
    except msgspec.ValidationError as error:
        why = undecodable(error, b"").why
        raise Invalid(f"input {column.name!r} cannot be accepted", why, "send ISO 8601 text") from None


def _limit(rows: int) -> None:
    if rows < 1:
        raise Invalid(
            "the request has no rows", "the first dimension of its first input is 0", "send at least one row"
        )
    if rows > MAX_ROWS:
        raise TooLarge(
            f"the request has {rows} rows",
            f"up to {MAX_ROWS} are accepted",
            "send the rest in further requests",
        )


def _gap(row: int, name: str) -> BadValue:
    return BadValue(row, name, "missing", "it has a missing value, and the model was made without any there")
