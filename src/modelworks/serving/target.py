"""A target: what one path of the server leads to, and how its requests become batches and answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

import orjson

from modelworks.core.errors import Invalid, ModelworksError, NotFound
from modelworks.core.ref import Segment, segment_text
from modelworks.serving.arms import Arm, Division, Note, Trial
from modelworks.serving.columns import Row, Rows, Values, as_text
from modelworks.serving.input_guard import Odd
from modelworks.serving.keeping import ALL, Keeping
from modelworks.serving.metrics import Counters
from modelworks.serving.pieces import Given, Pieces
from modelworks.serving.replica import Replica
from modelworks.serving.spool import ROWS

NONE: Mapping[Segment, Division] = MappingProxyType({})
"""No segment is divided."""


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
        arm: Whose answers they are.
        trial: The rollout that they are evidence of.
        instead: The champion's piece, where another one answers.
        failure: What went wrong with the challenger.
        seconds: How long the call took.
        odd: What the input guard says of its rows, by their position in the piece.
        coming: What is still to come of its answers, where they come bit by bit.
        first: What has come, and was not given yet.
    """

    replica: Replica
    numbers: Sequence[Values]
    texts: Sequence[Values]
    rows: list[int] | None = None
    fragments: Sequence[bytes] = ()
    outputs: Any = None
    error: ModelworksError | None = None
    arm: Arm = "champion"
    trial: Trial | None = None
    instead: Piece | None = None
    failure: str | None = None
    seconds: float | None = None
    odd: Mapping[int, Sequence[Odd]] | None = None
    coming: Pieces | None = None
    first: list[Given] = field(default_factory=list)

    @property
    def note(self) -> Note:
        """What is logged beside its answers."""
        return Note(self.arm, None if self.trial is None else self.trial.id, self.seconds, self.failure)


@dataclass(slots=True, eq=False)
class Job:
    """One decoded request.

    Attributes:
        pieces: Its rows by replica.
        size: Number of rows.
        request: What the target needs to word its answer.
        divided: Whether not all of it is answered by champions, or beside a rollout.
        shadows: What challengers answer silently.
        cut: Whether its answer was not given to its end.
    """

    pieces: list[Piece]
    size: int
    request: Any = None
    divided: bool = False
    shadows: Sequence[Piece] = ()
    cut: bool = False

    @property
    def lane(self) -> str | None:
        """Where its slowest rows are answered; ``None`` where an event loop may do it."""
        asked = [one.replica for piece in self.pieces for one in (piece, piece.instead) if one is not None]
        return next((replica.lane for replica in asked if replica.lane is not None), None)


class Target(Protocol):
    """What a path leads to."""

    schema: bytes
    """How to read the logged request again, as JSON."""
    counters: Counters
    prefix: bytes
    """Of the logged answer."""
    route: Route
    dataset: str
    """Whose features its inputs are."""
    features: Sequence[str]
    """The inputs that are computed when a request comes."""
    keeping: Keeping
    """What of it is logged."""

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
    """A replica, and how to read its inputs out of the rows of its model.

    Where its segment is divided, `division` says who answers a row, and `others` holds the challenger and the holdout.
    """

    replica: Replica
    numbers: Callable[[Row], Values]
    texts: Callable[[Row], Values]
    check: Callable[[Row, int], None] | None
    number_names: tuple[str, ...]
    text_names: tuple[str, ...]
    division: Division | None = None
    others: Mapping[Arm, Bound] = field(default_factory=dict)


def bind(replica: Replica, rows: Rows, division: Division | None = None) -> Bound:
    """Join a replica to its model's rows."""
    numbers, texts = replica.signature.numbers, replica.signature.texts
    check = rows.checker(replica.signature)
    others: dict[Arm, Bound] = {}
    if division is not None and division.trial is not None:
        others["challenger"] = others["shadow"] = bind(division.trial.replica, rows)
    if division is not None and division.control is not None:
        others["holdout"] = bind(division.control.replica, rows)
    reading = (rows.reader(numbers), rows.reader(texts, text=True), check)
    return Bound(replica, *reading, numbers, texts, division, others)


class Route:
    """From a row's ``per`` values to the replica that answers: its segment's, or the nearest parent's.

    Args:
        model: Name of the model.
        per: Columns that route; empty for a target that is one replica's.
        rows: The model's rows.
        replicas: The live replicas; ``()`` is the global one.
        divisions: What goes on for some of these segments.
    """

    def __init__(
        self,
        model: str,
        per: Sequence[str],
        rows: Rows,
        replicas: Mapping[Segment, Replica],
        divisions: Mapping[Segment, Division] = NONE,
    ) -> None:
        self.model = model
        self.per = tuple(per)
        self.rows = rows
        self.bound = {
            segment: bind(replica, rows, divisions.get(segment)) for segment, replica in replicas.items()
        }
        self.slow = any(replica.lane is not None for replica in self.replicas)
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

    @property
    def replicas(self) -> list[Replica]:
        """All that may answer: champions, challengers, and what stands in for a model."""
        bound = list(self.bound.values())
        return [one.replica for one in bound] + [
            other for one in bound if one.division is not None for other in one.division.replicas()
        ]

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
        self,
        route: Route,
        counters: Counters,
        schema: bytes,
        dataset: str = "",
        features: Sequence[str] = (),
        keeping: Keeping = ALL,
    ) -> None:
        self.keeping = keeping
        self.dataset, self.features = dataset, features
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
            if bound.division is None:
                if bound.check is not None:
                    bound.check(row, 0)
                return Job([Piece(bound.replica, (bound.numbers(row),), (bound.texts(row),))], 1)
        return _job(rows, self.route)

    def logged(self, body: bytes) -> tuple[int, bytes]:
        """See `Target.logged`."""
        redaction = self.keeping.redaction
        return (ROWS, body) if redaction is None else redaction.rows(body)

    def word(self, job: Job, request: bytes, logged: bytes) -> bytes:
        """See `Target.word`: what is logged is what is answered."""
        return logged


def _job(rows: Sequence[Row], route: Route) -> Job:
    """Rows grouped by the replica that answers them."""
    groups: dict[Bound, list[int]] = {}
    for position, row in enumerate(rows):
        groups.setdefault(route.of(row), []).append(position)

    def make(bound: Bound, positions: list[int]) -> Piece:
        if bound.check is not None:
            for position in positions:
                bound.check(rows[position], position)
        return Piece(
            bound.replica,
            [bound.numbers(rows[position]) for position in positions],
            [bound.texts(rows[position]) for position in positions],
            positions,
        )

    return job_of(groups, len(rows), make, lambda position, name: route.rows.value(rows[position], name))


def job_of(
    groups: Mapping[Bound, list[int]],
    size: int,
    make: Callable[[Bound, list[int]], Piece],
    value: Callable[[int, str], Any],
    request: Any = None,
) -> Job:
    """A request of `size` rows.

    Args:
        groups: Its rows by the champion that they are routed to.
        size: Number of rows.
        make: Makes a piece of some rows; raises `Invalid` where the replica cannot take one of them.
        value: Of a row (its position) and a column.
        request: See `Job`.
    """
    pieces: list[Piece] = []
    shadows: list[Piece] = []
    divided = False
    for bound, positions in groups.items():
        if bound.division is None:
            pieces.append(make(bound, positions))
        else:
            divided = True
            _divide(bound, positions, make, value, pieces, shadows)
    if len(pieces) == 1:
        pieces[0].rows = None
    return Job(pieces, size, request, divided, shadows)


def _divide(
    bound: Bound,
    positions: Sequence[int],
    make: Callable[[Bound, list[int]], Piece],
    value: Callable[[int, str], Any],
    pieces: list[Piece],
    shadows: list[Piece],
) -> None:
    """Give the rows of a segment to its arms."""
    division = bound.division
    assert division is not None
    arms: dict[Arm, list[int]] = {}
    for position in positions:
        arms.setdefault(division.arm(partial(value, position)), []).append(position)
    trial = division.trial
    silent = arms.get("shadow", [])
    champions = sorted([*arms.get("champion", []), *silent])
    if champions:
        mine = make(bound, champions)
        mine.trial = trial
        pieces.append(mine)
    if silent and trial is not None:
        for piece in _willing(bound.others["shadow"], silent, make):
            piece.arm, piece.trial = "shadow", trial
            shadows.append(piece)
    if held := arms.get("holdout"):
        other = make(bound.others["holdout"], held)
        other.arm, other.instead = "holdout", make(bound, held)
        pieces.append(other)
    if given := arms.get("challenger"):
        if trial is None or trial.breaker.open():
            pieces.append(make(bound, given))  # no evidence of anything: the rows were not meant for it
            return
        for piece in _willing(bound.others["challenger"], given, make):
            assert piece.rows is not None
            standby = make(bound, piece.rows)
            standby.trial = piece.trial = trial
            if piece.failure is None:
                piece.arm, piece.instead = "challenger", standby
                pieces.append(piece)
            else:
                standby.failure = piece.failure
                pieces.append(standby)


def _willing(bound: Bound, positions: list[int], make: Callable[[Bound, list[int]], Piece]) -> list[Piece]:
    """The rows as pieces; those that the replica does not take are pieces of their own, with that failure."""
    try:
        return [make(bound, positions)]
    except Invalid as error:
        if len(positions) == 1:
            return [Piece(bound.replica, (), (), positions, failure=f"rejected: {error}"[:500])]
    return [piece for position in positions for piece in _willing(bound, [position], make)]
