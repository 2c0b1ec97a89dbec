"""The code of a definition: what shapes the model that it makes."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from functools import lru_cache
from hashlib import sha256
from types import CodeType, FunctionType
from typing import Any

from modelworks.core.plain import to_json
from modelworks.models.definition import Definition


def code_digest(definition: Definition) -> str:
    """Digest of `code_document`: two definitions that would fit alike have the same."""
    return sha256(code_document(definition)).hexdigest()


def code_document(definition: Definition) -> bytes:
    """What shapes the result of a definition, as text that a person can read.

    That is: the source of its fit, of the functions and classes of the same module that the fit uses, the
    plain values it refers to there, and the fields of the definition that choose rows and columns. Comments,
    formatting and decorators do not count, nor do functions of other modules.
    """
    shape = {
        "target": definition.target,
        "features": definition.features,
        "per": definition.per,
        "holdout": definition.holdout,
        "window": definition.window,
        "params": definition.params,
    } | ({"computed": definition.computed} if definition.computed else {})
    shape |= {"learn": definition.learn} if definition.learn != "scratch" else {}
    return b"\n\n".join([to_json(shape, indent=True), source_of(definition.fit).encode(), b""])


def source_of(function: Any) -> str:
    """The source of a function, and of what it uses of its own module; see `code_document`."""
    parts: dict[str, str] = {}
    _collect(function, getattr(function, "__module__", None), parts)
    return "\n\n".join(parts.values())


def shape(document: bytes) -> dict[str, Any]:
    """The fields of a definition that stand at the head of its `code_document`."""
    found: dict[str, Any]
    found, _ = json.JSONDecoder().raw_decode(document.decode())
    return found


def _collect(value: Any, module: str | None, parts: dict[str, str]) -> None:
    """Add `value` and what it uses of its own module, each once, in the order in which it is met."""
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if name in parts:
        return
    parts[name] = _source(value)
    members = vars(value).values() if isinstance(value, type) else [value]
    for function in (member for member in members if isinstance(member, FunctionType)):
        closed = inspect.getclosurevars(function)
        used = {n: v for n, v in function.__globals__.items() if n in _names(function.__code__)}
        for other, content in sorted({**used, **closed.nonlocals}.items()):
            if isinstance(content, (FunctionType, type)) and content.__module__ == module:
                _collect(content, module, parts)
            elif isinstance(content, (str, int, float, bool, tuple, list, dict, set, frozenset, type(None))):
                parts.setdefault(other, f"{other} = {_plain(content)}")


def _names(code: CodeType) -> set[str]:
    """Global names that a function, or one defined inside it, refers to."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _plain(value: Any) -> str:
    text = repr(sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value)
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # an address differs from process to process


@lru_cache(maxsize=256)
def _source(value: Any) -> str:
    """Source without comments and decorators; the bytecode where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    except (OSError, TypeError, SyntaxError):
        return f"# no source\n{_bytecode(getattr(value, '__code__', None))}"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            node.decorator_list = []
    return ast.unparse(tree)


def _bytecode(code: CodeType | None) -> str:
    if code is None:
        return ""
    constants = [_bytecode(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return f"{code.co_code.hex()} {constants} {code.co_names}"
