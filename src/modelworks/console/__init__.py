"""The console: one page, in a browser, over the API."""

from functools import cache
from importlib.resources import files


@cache
def page() -> str:
    """The page's HTML; it fetches everything else from the API."""
    return files("modelworks.console").joinpath("page.html").read_text(encoding="utf-8")
