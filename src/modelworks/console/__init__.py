"""What people look at: the console and the API's reference in a browser, tables in a terminal."""

from functools import cache
from importlib.resources import files


@cache
def page(name: str = "page") -> str:
    """The HTML of ``"page"`` (the console) or ``"reference"``; both fetch their content from the API."""
    return files("modelworks.console").joinpath(f"{name}.html").read_text(encoding="utf-8")
