"""Files in a bucket: S3 and what speaks its protocol, Google Cloud Storage, Azure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from blake3 import blake3

from modelworks.core.errors import NotReady, Unavailable
from modelworks.data.sources.port import Part

_BLOCK = 4 * 1024 * 1024
_PATIENCE = timedelta(seconds=20)
_TRANSFER = timedelta(hours=2)
"""Time within which an object is brought over."""


def parts(pattern: str, options: Mapping[str, str]) -> list[Part]:
    """The objects whose key a pattern matches, by name.

    Args:
        pattern: Such as ``"s3://bucket/flights/**/*.parquet"``.
        options: Of the store: ``endpoint``, ``region``, keys; the environment (``AWS_*`` ...) has the rest.

    Raises:
        Unavailable: the store does not answer, or refuses.
        NotReady: a library is missing.
    """
    scheme, bucket, keys = _split(pattern)
    prefix = re.split(r"[*?\[]", keys, maxsplit=1)[0].rpartition("/")[0]
    matches = re.compile(_regex(keys)).fullmatch
    found = []
    with _store(scheme, bucket, options) as (obstore, store):
        for some in obstore.list(store, prefix or None):
            for one in some:
                name = one["path"].rpartition("/")[2]
                if matches(one["path"]) and not name.startswith((".", "_")):
                    found.append(_part(f"{scheme}://{bucket}/{one['path']}", one))
    return sorted(found, key=lambda part: part.uri)


def content(part: Part, options: Mapping[str, str]) -> str:
    """See `Source.content`; where the store has a tag of it, nothing is read."""
    scheme, bucket, key = _split(part.uri)
    digest = blake3()
    try:
        with _store(scheme, bucket, options) as (obstore, store):
            meta = obstore.head(store, key)
            if meta.get("e_tag"):
                return _part(part.uri, meta).fingerprint
            for block in obstore.get(store, key).stream(min_chunk_size=_BLOCK):
                digest.update(bytes(block))
    except Unavailable:
        return ""
    return digest.hexdigest()


@contextmanager
def copied(part: Part, options: Mapping[str, str]) -> Iterator[Path]:
    """The object as a file of this machine, as long as it is needed.

    Raises:
        Unavailable: it cannot be reached, or is another by now.
    """
    scheme, bucket, key = _split(part.uri)
    with TemporaryDirectory(prefix="modelworks-") as folder:
        path = Path(folder, key.rpartition("/")[2])
        with _store(scheme, bucket, options) as (obstore, store):
            there = obstore.get(store, key)
            if _part(part.uri, there.meta) != part:
                raise Unavailable(f"{part.uri} changed while it was read", "", "it is tried again next time")
            with path.open("wb") as file:
                for block in there.stream(min_chunk_size=_BLOCK):
                    file.write(block)
        yield path


def _split(uri: str) -> tuple[str, str, str]:
    """Scheme, bucket, key."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return scheme, bucket, key


def _regex(keys: str) -> str:
    """A glob pattern over keys as a regular expression."""
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        signs.get(piece) or (piece if piece.startswith("[") else re.escape(piece))
        for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]/]+\]|[^*?\[]+|\[", keys)
    )


@contextmanager
def _store(scheme: str, bucket: str, options: Mapping[str, str]) -> Iterator[tuple[Any, Any]]:
    """The library and a store; what it raises inside becomes an error that a person can act on."""
    try:
        obstore, stores = import_module("obstore"), import_module("obstore.store")
    except ImportError as error:
        raise NotReady(
            f"files of {scheme}://{bucket} cannot be read",
            "the package obstore is not installed",
            "pip install 'modelworks[s3]'",
        ) from error
    problems = import_module("obstore.exceptions").BaseError
    endpoint = options.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL", "")
    try:
        store = stores.from_url(
            f"{scheme}://{bucket}",
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": _PATIENCE,
                "timeout": _TRANSFER,
            },
            retry_config={"max_retries": 2, "retry_timeout": _PATIENCE},
            **options,
        )
        yield obstore, store
    except (problems, OSError) as error:
        why = str(error).split("\n")[0][:300]
        raise Unavailable(
            f"{scheme}://{bucket} cannot be read",
            why,
            "check the address and keys; it is tried again next time",
        ) from error


def _part(uri: str, meta: Mapping[str, Any]) -> Part:
    """An object, with a fingerprint of what changes when its content is written."""
    text = f"{meta['size']}:{meta.get('e_tag') or meta['last_modified'].isoformat()}"
    return Part(uri, sha256(text.encode()).hexdigest(), meta["size"])
