"""What people look at: the console and the API's reference in a browser, tables in a terminal."""

import re
from functools import cache
from importlib.resources import files


@cache
def page(name: str = "page") -> str:
    """The HTML of ``"page"`` (the console) or ``"reference"``; both fetch their content from the API."""
    return re.sub(
        r'<script data-file="([a-z]+\.js)"></script>',
        lambda found: f"<script>\n{_read(found[1])}</script>",
        _read(f"{name}.html"),
    )


def _read(name: str) -> str:
    return files("modelworks.console").joinpath(name).read_text(encoding="utf-8")
