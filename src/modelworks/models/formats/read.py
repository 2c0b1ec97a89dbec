"""What was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelworks.core.schema import Field

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Read:
    """A model that was made elsewhere.

    Attributes:
        model: It, as one of the flavors knows it.
        format: In what form it came, for people.
        inputs: What it takes, where that was said beside it.
        example: Rows that came with it.
    """

    model: Any
    format: str
    inputs: tuple[Field, ...] | None = None
    example: pd.DataFrame | None = None
