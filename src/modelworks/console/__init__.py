"""What people open in a browser: the console, and the reference of the API. Nothing comes from elsewhere."""

from functools import cache
from importlib.resources import files


@cache
def page(name: str = "page") -> str:
    """The HTML of ``"page"`` (the console) or ``"reference"``; both fetch their content from the API."""
    return files("modelworks.console").joinpath(f"{name}.html").read_text(encoding="utf-8")
