"""The server's log on standard error: text for people, or an object a line for machines."""

from __future__ import annotations

import logging
import sys
from typing import Literal, get_args

from modelworks.core.errors import Invalid

Form = Literal["text", "json"]

access = logging.getLogger("modelworks.access")
"""A line for each request but predictions, which are in the prediction log."""


def configure(form: str) -> None:
    """Warnings and errors of everything, and with ``json`` the requests.

    Raises:
        Invalid: there is no such form.
    """
    if form not in get_args(Form):
        raise Invalid(f"server.log cannot be {form!r}", "", f"use one of {', '.join(get_args(Form))}")
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        from pythonjsonlogger.msgspec import MsgspecFormatter

        handler.setFormatter(
            MsgspecFormatter(
                "{levelname}{name}{message}",
                style="{",
                rename_fields={"levelname": "level", "name": "logger"},
                timestamp="time",
            )
        )
        access.setLevel(logging.INFO)
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
