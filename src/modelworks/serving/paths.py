"""Paths of the server: which are the data plane's, and which model, segment and version they name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from modelworks.core.errors import Invalid, ModelworksError, NotFound
from modelworks.core.ref import Ref

PREDICT = b"/predict/"
STREAM = b"/stream"
EVENTS = b"text/event-stream"
OUTCOMES = b"/outcomes"
MODELS = b"/v2/models/"
REPOSITORY = b"/v2/repository/"


@dataclass(frozen=True)
class Path:
    """A path of a model.

    Attributes:
        ref: The model, segment, version.
        verb: ``predict``, ``infer``, ``ready``, or ``""`` for metadata.
    """

    ref: Ref
    verb: str


def ours(path: bytes) -> bool:
    """Whether a path, as it came and without its query, is the data plane's."""
    return path.startswith((PREDICT, b"/v2/")) or path in (b"/v2", OUTCOMES)


def hot(path: bytes) -> bool:
    """Whether a POST to it predicts with what is already loaded."""
    return (path.startswith(PREDICT) and not path.endswith(STREAM)) or (
        path.endswith(b"/infer") and path.startswith(MODELS) and b"/versions/" not in path
    )


def streams(path: bytes, accepts: bytes) -> bool:
    """Whether a POST to it is to be answered piece by piece.

    Args:
        path: As it came, without its query.
        accepts: Value of ``Accept``.
    """
    return path.startswith(PREDICT) and (path.endswith(STREAM) or EVENTS in accepts)


def model_of(path: bytes) -> str | None:
    """The name of the model that a path leads to; ``None`` for no model, or none that can be."""
    try:
        return parse(path.split(b"?", 1)[0]).ref.name if path.startswith((PREDICT, MODELS)) else None
    except ModelworksError:
        return None


@lru_cache(maxsize=16384)
def parse(path: bytes) -> Path:
    """Read a model's path.

    Raises:
        Invalid: the name is not one of a model.
        NotFound: the path is none that we have.
    """
    if path.startswith(PREDICT):
        return Path(_ref(path.removeprefix(PREDICT).removesuffix(STREAM)), "predict")
    parts = path.removeprefix(MODELS).split(b"/")
    name, rest = parts[0], parts[1:]
    version: int | None = None
    if len(rest) >= 2 and rest[0] == b"versions":
        if not (rest[1].isdigit() and len(rest[1]) < 10):
            raise Invalid(
                f"{_text(rest[1])[:80]!r} is not a version", "versions are numbers", "use for instance 3"
            )
        version, rest = int(rest[1]), rest[2:]
    if rest in ([], [b"ready"], [b"infer"]):
        ref = _ref(name)
        return Path(Ref(ref.name, ref.segment, version), rest[0].decode() if rest else "")
    raise NotFound(
        f"there is no {_text(path)[:120]!r}", "", "see GET /v2 and the documentation of the protocol"
    )


@lru_cache(maxsize=4096)
def path_of(model: str, version: str = "", verb: str = "") -> bytes:
    """The path of a model, its parts as they are."""
    path = MODELS + quote(model, safe="").encode()
    if version:
        path += b"/versions/" + quote(version, safe="").encode()
    return path + (b"/" + verb.encode() if verb else b"")


def _ref(name: bytes) -> Ref:
    if b"/" in name:
        # Before decoding: a slash that was encoded is refused as part of the name.
        raise Invalid(
            f"{_text(name)[:120]!r} is not a model",
            "a model's name has no slash",
            "use NAME or NAME[SEGMENT]",
        )
    ref = Ref.parse(_text(unquote_to_bytes(name)))
    if ref.at is not None:
        raise Invalid(
            f"{ref} cannot be asked for here", "this path takes no version", "use /v2/models/NAME/versions/N"
        )
    return ref


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
