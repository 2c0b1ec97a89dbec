"""Models in one file: ONNX, LightGBM's and XGBoost's own formats, PyTorch's exported programs, skops, pickles."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from modelworks.core.errors import Denied, Invalid, NotReady, TooLarge
from modelworks.models.flavors import FLAVORS
from modelworks.models.formats.read import Read

MAX_BYTES = 2 * 1024**3
"""Of a model's file. ONNX cannot be larger, and nothing else should be."""

_HARMLESS = {
    "collections.OrderedDict", "numpy.dtype",
    "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier", "lightgbm.sklearn.LGBMRegressor",
    "xgboost.core.Booster", "xgboost.sklearn.XGBClassifier", "xgboost.sklearn.XGBRegressor",
}  # fmt: skip
"""Types that skops does not know and whose state is data; LightGBM and XGBoost read it in their own formats."""


def need(trust: bool, path: Path, what: str, why: str) -> None:
    """Refuse to go on without trust.

    Raises:
        Denied: there is none.
    """
    if not trust:
        raise Denied(
            f"{path.name} is {what}", why,
            "import it with --trust if you know who made it; or export it as ONNX or skops",
        )  # fmt: skip


def content_of(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        TooLarge: there are too many.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise TooLarge(
            f"{path.name} has {size / 1024**3:.1f} GiB", f"the limit is {MAX_BYTES / 1024**3:.0f} GiB", ""
        )
    return path.read_bytes()


def read_file(path: Path, trust: bool) -> Read:
    """Read a model from a file, by the end of its name.

    Raises:
        Invalid: it is of no known format, or is not what its name says.
        Denied: it needs trust.
        NotReady: a library is missing.
    """
    reader = FORMATS.get(path.suffix.lower())
    if reader is None:
        raise Invalid(
            f"{path.name} is of no known format", f"the names end in {', '.join(FORMATS)}",
            "rename it, or export the model as ONNX",
        )  # fmt: skip
    try:
        return reader(path, trust)
    except ImportError as error:
        raise NotReady(
            f"a library that {path.name} needs is not installed", str(error),
            "install it; the extras of modelworks are lightgbm, xgboost, torch, river, spacy, skops",
        ) from error  # fmt: skip


def _unpickled(path: Path, trust: bool) -> Read:
    need(trust, path, "a pickle", "reading a pickle runs whatever its maker put in")
    content_of(path)
    import joblib

    try:
        return Read(joblib.load(path), "pickle")
    except ImportError:
        raise
    except Exception as error:
        raise Invalid(
            f"{path.name} cannot be unpickled", f"{type(error).__name__}: {error}",
            "use the versions of the libraries that it was made with",
        ) from error  # fmt: skip


def _skops(path: Path, trust: bool) -> Read:
    content = content_of(path)
    from skops import io

    try:
        named = set(io.get_untrusted_types(data=content))
        unknown = sorted(named - _HARMLESS)
        if unknown:
            need(
                trust,
                path,
                "a skops file with types that are not known to be harmless",
                f"they are {', '.join(unknown)}",
            )
        return Read(io.loads(content, trusted=sorted(named)), "skops")
    except Denied:
        raise
    except Exception as error:
        raise Invalid(f"{path.name} is no skops file", f"{type(error).__name__}: {error}", "") from error


def _of(flavor: str, wrong: str) -> Callable[[Path, bool], Read]:
    """A reader of a framework's own format."""

    def reader(path: Path, _trust: bool) -> Read:
        content = content_of(path)
        survived(flavor, content, path.name, f"{path.name} is no {wrong}")
        return Read(FLAVORS[flavor].load(content), flavor)

    return reader


_PATIENCE = 300
_PROBE = """
import sys
from modelworks.models.flavors import FLAVORS
FLAVORS[sys.argv[1]].load(sys.stdin.buffer.read())
"""


def survived(flavor: str, content: bytes, what: str, wrong: str = "") -> None:
    """Have a process of its own read a model first: XGBoost, for one, ends the process that reads a damaged one.

    Args:
        flavor: Whose model it is.
        content: The model.
        what: What it is called.
        wrong: What to say where it is none.

    Raises:
        Invalid: it did not survive.
        ImportError: a library is missing.
    """
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE, flavor],
            input=content,
            capture_output=True,
            check=False,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise Invalid(f"{what} cannot be read", f"it takes more than {_PATIENCE} seconds", "") from None
    if probe.returncode:
        said = probe.stderr.decode(errors="replace").strip().splitlines()
        last = (said or [f"it ended with {probe.returncode}"])[-1][:300]
        if last.startswith(("ImportError", "ModuleNotFoundError")):
            raise ImportError(last)
        raise Invalid(
            wrong or f"{what} is no model of {flavor}",
            last,
            "see that its name ends as its format asks" if wrong else "",
        )


def _onnx(path: Path, _trust: bool) -> Read:
    """A graph; tensors in files beside it, in the same folder, are brought in."""
    import onnx

    total = path.stat().st_size + sum(
        one.stat().st_size for one in path.parent.glob(f"{path.name}*") if one != path
    )
    if total > MAX_BYTES:
        content_of(path)
        raise TooLarge(f"{path.name} and the files beside it are too large", "", "")
    try:
        graph = onnx.load(path)  # refuses files outside the folder
    except Exception as error:
        raise Invalid(f"{path.name} is no ONNX graph", " ".join(str(error).split())[:300], "") from error
    return Read(graph, "onnx")


FORMATS: dict[str, Callable[[Path, bool], Read]] = {
    ".onnx": _onnx,
    ".txt": _of("lightgbm", "model in LightGBM's text format"),
    ".lgb": _of("lightgbm", "model in LightGBM's text format"),
    ".json": _of("xgboost", "model in XGBoost's JSON format"),
    ".ubj": _of("xgboost", "model in XGBoost's binary format"),
    ".xgb": _of("xgboost", "model of XGBoost"),
    ".pt2": _of("pytorch", "exported program of PyTorch"),
    ".skops": _skops,
    ".pkl": _unpickled,
    ".pickle": _unpickled,
    ".joblib": _unpickled,
}
"""Readers by the end of a file's name."""
