"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[str | None, typer.Argument(help="Only this model.")]
OneModel = Annotated[str, typer.Argument(help="Which model.")]
Ref = Annotated[str, typer.Argument(help="For instance delay@3 or 'delay[UA,EWR]@3'.")]
Dataset = Annotated[str, typer.Argument(help="Which dataset.")]
DataRef = Annotated[str, typer.Argument(help="flights, flights@12 or flights@TAG")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1)]
