"""What workers are told: a plan that all segments of one training share, and for each segment its task."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.models.definition import Fit, Learn
from modelworks.models.layout import to_batch
from modelworks.models.package import Package
from modelworks.models.signature import Signature
from modelworks.registry.gates.evidence import Need
from modelworks.train.candidate import Candidate
from modelworks.train.columns import Columns, Stored, opened
from modelworks.train.previous import Previous
from modelworks.train.segments import TIME, Slice, split

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Plan:
    """What all segments of one training share.

    Attributes:
        model: Name of the model.
        fit: The fit function, pickled by value.
        features: Columns that the fit sees.
        per: Columns of the segment.
        holdout: Share of the rows, the newest, kept from the fit.
        metrics: Names of the metrics.
        params: Passed to the fit.
        min_rows: Rows a segment needs.
        since: Where the window begins, microseconds since 1970; ``None`` without a window.
        stored: The rows.
        artifacts: Folder of the artifact store.
        code: Digest of the code.
        environment: Digest of the environment.
        needs: What the gates want to be looked at on the held-out rows.
        learn: See `modelworks.models.definition.Learn`.
    """

    model: str
    fit: bytes
    features: tuple[str, ...]
    per: tuple[str, ...]
    holdout: float
    metrics: tuple[str, ...]
    params: Mapping[str, Any]
    min_rows: int
    since: int | None
    stored: Stored
    artifacts: Path
    code: str
    environment: str
    needs: tuple[Need[Any], ...] = ()
    learn: Learn = "scratch"


@dataclass(frozen=True)
class Task:
    """One segment.

    Attributes:
        slice: Its rows.
        champion: What its candidate is compared with.
        params: Those that were found for it; they come before the definition's.
        tuned: The run that found them.
        previous: What it goes on from.
        tries: Which time it is tried.
    """

    slice: Slice
    champion: Package | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    tuned: str = ""
    previous: Previous | None = None
    tries: int = 1

    @property
    def origins(self) -> tuple[tuple[str, str], ...]:
        """See `Candidate.origins`."""
        found = ((f"run:{self.tuned}", "tuned"),) if self.tuned else ()
        return found + (((f"model:{self.previous.ref}", "continued"),) if self.previous else ())


@dataclass(frozen=True)
class Worked:
    """What a worker brings back.

    Attributes:
        candidates: Of the segments that are finished.
        left: Segments that were not begun: each takes so long that doing them side by side gains nothing.
    """

    candidates: tuple[Candidate, ...]
    left: tuple[Task, ...] = ()


def fitted(
    plan: Plan, frame: pd.DataFrame, y: npt.NDArray[Any], params: Mapping[str, Any], previous: Any = None
) -> Any:
    """Call the fit of a definition.

    Raises:
        Invalid: it returned nothing.
    """
    more = () if plan.learn in ("scratch", "online") else (previous,)
    model = loaded(plan.fit)(frame, y, dict(params), *more)
    if model is None:
        raise Invalid("its fit returned nothing", "", "return the fitted model")
    return model


def ordered(
    columns: Columns, part: Slice, parent: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row numbers of a segment in the order of time, and their times.

    A segment of the lowest level lies in the file in that order; a parent's rows are its children's, one
    after the other.
    """
    rows = np.arange(part.offset, part.offset + part.length)
    time = columns.raw[TIME][part.offset : part.offset + part.length]
    if parent:
        order = np.argsort(time, kind="stable")
        rows, time = rows[order], time[order]
    return rows, time


def held_out(plan: Plan, part: Slice, takes: Signature) -> Batch:
    """The rows of a segment that judge its model, as a model of that signature takes them."""
    columns = opened(plan.stored)
    rows, time = ordered(columns, part, parent=len(part.segment) < len(plan.per))
    rows = rows[split(time, plan.holdout) :]
    return to_batch({one.name: columns.values(one.name, rows) for one in takes.inputs}, takes)


@lru_cache(maxsize=16)
def loaded(content: bytes) -> Fit:
    """A fit function, unpickled once a worker."""
    fit: Callable[..., Any] = pickle.loads(content)  # noqa: S301 - the trainer of this run wrote it
    return fit


def line(error: Exception) -> str:
    """What an error says, in one line."""
    return traceback.format_exception_only(error)[-1].strip()
