"""A target: what one path of the server leads to, and how its requests become batches and answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from modelworks.core.errors import ModelworksError, NotFound
from modelworks.core.ref import Segment, segment_text
from modelworks.serving.columns import Row, Rows, Values, as_text
from modelworks.serving.metrics import Counters
from modelworks.serving.replica import Replica
from modelworks.serving.spool import ROWS


@dataclass(slots=True, eq=False)
class Piece:
    """The rows of one request that one replica answers.

    Attributes:
        replica: Which.
        numbers: Numeric inputs, a tuple a row.
        texts: Text inputs, a tuple a row.
        rows: Positions in the request; ``None`` for all of them in order.
        fragments: The answers, once there are any.
        outputs: The answers as numbers, shape (rows, classes).
        error: Why there are none.
    """

    replica: Replica
    numbers: Sequence[Values]
    texts: Sequence[Values]
    rows: list[int] | None = None
    fragments: Sequence[bytes] = ()
    outputs: Any = None
    error: ModelworksError | None = None


@dataclass(slots=True, eq=False)
class Job:
    """One decoded request.

    Attributes:
        pieces: Its rows by replica.
        size: Number of rows.
        request: What the target needs to word its answer.
    """

    pieces: list[Piece]
    size: int
    request: Any = None


class Target(Protocol):
    """What a path leads to."""

    schema: bytes
    """How to read the logged request again, as JSON."""
    counters: Counters
    prefix: bytes
    """Of the logged answer."""
    dataset: str
    """Whose features its inputs are."""
    features: Sequence[str]
    """The inputs that are computed when a request comes."""

    def decode(self, body: bytes) -> Job:
        """Read a request.

        Raises:
            Invalid: it cannot be answered as it is.
            NotFound: no live version covers a row.
        """
        ...

    def logged(self, body: bytes) -> tuple[int, bytes]:
        """The kind of entry that a request is in the spool, and its bytes there."""
        ...

    def word(self, job: Job, request: bytes, logged: bytes) -> bytes:
        """The answer's body.

        Args:
            job: Its pieces answered.
            request: Id of the request.
            logged: The answer in the form of ``/predict``, as it is logged.
        """
        ...


@dataclass(frozen=True, eq=False)
class Bound:
    """A replica, and how to read its inputs out of the rows of its model."""

    replica: Replica
    numbers: Callable[[Row], Values]
    texts: Callable[[Row], Values]
    check: Callable[[Row], None] | None
    number_names: tuple[str, ...]
    text_names: tuple[str, ...]


def bind(replica: Replica, rows: Rows) -> Bound:
    """Join a replica to its model's rows."""
    numbers, texts = replica.signature.numbers, replica.signature.texts
    check = rows.checker(replica.signature)
    return Bound(replica, rows.reader(numbers), rows.reader(texts, text=True), check, numbers, texts)


class Route:
    """From a row's ``per`` values to the replica that answers: its segment's, or the nearest parent's.

    Args:
        model: Name of the model.
        per: Columns that route; empty for a target that is one replica's.
        rows: The model's rows.
        replicas: The live replicas; ``()`` is the global one.
    """

    def __init__(
        self, model: str, per: Sequence[str], rows: Rows, replicas: Mapping[Segment, Replica]
    ) -> None:
        self.model = model
        self.per = tuple(per)
        self.rows = rows
        self.bound = {segment: bind(replica, rows) for segment, replica in replicas.items()}
        self._all_text = all(
            rows.columns[name].kinds == ("text",) and not rows.columns[name].nullable for name in per
        )
        self._key = rows.reader(per)

    def of(self, row: Row) -> Bound:
        """The replica for a row.

        Raises:
            NotFound: neither the segment nor any of its parents is live.
        """
        return self.at(self._key(row))

    def at(self, values: Segment) -> Bound:
        """The replica for ``per`` values."""
        key = asked = values if self._all_text else tuple(as_text(value) for value in values)
        bound = self.bound.get(key)
        while bound is None:
            if not key:
                raise NotFound(
                    f"no version of model {self.model!r} answers for {segment_text(asked)!r}",
                    "neither this segment nor any of its parents has a champion",
                    "train and deploy the segment or a parent of it",
                )
            key = key[:-1]
            bound = self.bound.get(key)
        return bound


class RowsTarget:
    """``POST /predict/{model}``."""

    def __init__(
        self, route: Route, counters: Counters, schema: bytes, dataset: str = "", features: Sequence[str] = ()
    ) -> None:
        self.dataset = dataset
        self.features = features
        self.route = route
        self.counters = counters
        self.schema = schema
        self.prefix = b'{"model":' + orjson.dumps(route.model) + b',"predictions":['
        self._decode = route.rows.decode

    def decode(self, body: bytes) -> Job:
        """See `Target.decode`."""
        rows = self._decode(body)
        if len(rows) == 1:
            row = rows[0]
            bound = self.route.of(row)
            if bound.check is not None:
                bound.check(row)
            return Job([Piece(bound.replica, (bound.numbers(row),), (bound.texts(row),))], 1)
        return Job(pieces(rows, self.route), len(rows))

    def logged(self, body: bytes) -> tuple[int, bytes]:
        """See `Target.logged`."""
        return ROWS, body

    def word(self, job: Job, request: bytes, logged: bytes) -> bytes:
        """See `Target.word`: what is logged is what is answered."""
        return logged


def pieces(rows: Sequence[Row], route: Route) -> list[Piece]:
    """Rows grouped by the replica that answers them."""
    groups: dict[Bound, list[int]] = {}
    for position, row in enumerate(rows):
        bound = route.of(row)
        if bound.check is not None:
            bound.check(row)
        groups.setdefault(bound, []).append(position)
    return [
        Piece(
            bound.replica,
            [bound.numbers(rows[position]) for position in positions],
            [bound.texts(rows[position]) for position in positions],
            positions if len(groups) > 1 else None,
        )
        for bound, positions in groups.items()
    ]


def predictions(job: Job, request: bytes) -> bytes:
    """The answered rows as JSON, in the request's order, without the brackets."""
    if job.size == 1:
        piece = job.pieces[0]
        return piece.replica.item(request, 0, piece.fragments[0])
    if len(job.pieces) == 1:
        piece = job.pieces[0]
        return b",".join([piece.replica.item(request, n, text) for n, text in enumerate(piece.fragments)])
    items = [b""] * job.size
    for piece in job.pieces:
        assert piece.rows is not None
        for row, fragment in zip(piece.rows, piece.fragments, strict=True):
            items[row] = piece.replica.item(request, row, fragment)
    return b",".join(items)


def texts(job: Job) -> list[str]:
    """The answered rows as JSON texts, in the request's order."""
    rows = [""] * job.size
    for piece in job.pieces:
        for row, fragment in zip(piece.rows or range(job.size), piece.fragments, strict=True):
            rows[row] = fragment.decode()
    return rows


def spread(job: Job, values: Sequence[str]) -> list[str]:
    """A value a piece as a value a row."""
    if len(job.pieces) == 1:
        return [values[0]] * job.size
    rows = [""] * job.size
    for piece, value in zip(job.pieces, values, strict=True):
        for row in piece.rows or ():
            rows[row] = value
    return rows
