"""The port of estimators: from the outputs of rows to how good they are expected to be. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from modelworks.core.measure import Ints

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Expected:
    """What is expected of groups of rows, all of shape (groups,); NaN where nothing can be said.

    The errors are standard errors of what will be measured once the truth of all these rows is known: the luck of the
    rows, and what few held-out rows leave open.

    Attributes:
        loss: Mean loss: nats, or squared units.
        loss_by_luck: Part of its error that is luck of the rows.
        loss_by_learning: Part that few held-out rows leave open.
        auc: Area under the ROC curve; NaN for what is no binary model.
        auc_by_luck: As above.
        auc_by_learning: As above.
    """

    loss: Doubles
    loss_by_luck: Doubles
    loss_by_learning: Doubles
    auc: Doubles
    auc_by_luck: Doubles
    auc_by_learning: Doubles

    @property
    def loss_error(self) -> Doubles:
        """Standard error of `loss`."""
        return np.asarray(np.hypot(self.loss_by_luck, self.loss_by_learning), dtype=np.float64)

    @property
    def auc_error(self) -> Doubles:
        """Standard error of `auc`."""
        return np.asarray(np.hypot(self.auc_by_luck, self.auc_by_learning), dtype=np.float64)

    def shared(self, times: float) -> Expected:
        """The same where the luck of rows of a day is shared, so that its variance is so many times larger."""
        root = np.sqrt(max(times, 1.0))
        return replace(self, loss_by_luck=self.loss_by_luck * root, auc_by_luck=self.auc_by_luck * root)


@dataclass(frozen=True)
class Estimator:
    """One estimator. Pure: numbers in, numbers out.

    Attributes:
        name: Its name in the catalog.
        compute: ``(held (versions, 4, bins), live (versions, bins), group (versions,), groups) -> Expected``:
            what is expected of the rows that versions have answered, those of a group taken together. `held` are
            rows, events, sum and sum of squares of the loss of the held-out rows by output bin, see
            `core.measure.Reference.held`.
    """

    name: str
    compute: Callable[[Doubles, Ints, Ints, int], Expected]


def nothing(groups: int) -> Expected:
    """Where nothing can be said."""
    none = np.full(groups, np.nan)
    return Expected(none, none, none, none, none, none)


def added(values: npt.NDArray[np.float64], group: Ints, groups: int) -> Doubles:
    """Sums over the versions of each group; (versions, ...) to (groups, ...)."""
    total = np.zeros((groups, *values.shape[1:]))
    np.add.at(total, group, values)
    return total
