"""How good a model's answers were by the value of a column."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from modelworks.core.duration import days_back
from modelworks.core.errors import Invalid
from modelworks.core.ref import parse_segment, segment_text
from modelworks.core.schema import Kind
from modelworks.pipelines.context import Stations


def slices(
    stations: Stations, name: str, column: str, segment: str | None, days: int | None
) -> dict[str, Any]:
    """Slices of what a model answered lately, beside its other rows.

    Args:
        stations: The belt.
        name: Of the model.
        column: Of its dataset, or one of its features.
        segment: Text of the segment that answered; all by default.
        days: How many days are looked at.

    Raises:
        NotFound: the project has no such model.
        Invalid: there is no such column, or the log does not hold it; or it is no number of days.
    """
    model = stations.project.model(name)
    dataset = stations.project.dataset(model.definition.dataset)
    computed = {one for one in model.definition.features if one in dataset.features}
    if column not in dataset.contract and column not in computed:
        raise Invalid(
            f"model {name!r} has no column {column!r}",
            f"there are {', '.join([*dataset.contract, *sorted(computed)])}",
            "name one of these",
        )
    field = None if column in computed else dataset.contract[column]
    if field is not None and field.sensitive:
        raise Invalid(
            f"{column!r} is sensitive", "the log of predictions does not hold it", "slice by another column"
        )
    if field is not None and field.kind is Kind.TIME:
        raise Invalid(f"{column!r} is a time", "nearly every row has another", "'--by month' shows months")
    is_text = None if field is None else field.kind is Kind.TEXT
    days = days_back(days)
    end = stations.monitor.looked_until(name)
    text = None if segment is None else segment_text(parse_segment(segment))
    told = stations.monitor.slices(name, (column, is_text), text, end=end, days=days)
    return {"model": name, "column": column, "segment": text, "days": days, **asdict(told)}
