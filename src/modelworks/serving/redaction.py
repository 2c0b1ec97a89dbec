"""Redaction: values of sensitive columns never reach the prediction log."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from modelworks.core.schema import Field, Sensitive
from modelworks.serving import forms
from modelworks.serving.columns import as_text
from modelworks.serving.spool import ROWS
from modelworks.serving.tensors import rows_of
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import keys

_KEY = "redaction"
_MARK = "#"


@dataclass(frozen=True)
class Redaction:
    """Takes sensitive values out of what is logged.

    Attributes:
        columns: What becomes of the values of which column.
        key: Of the hash: without it nobody can try out which value it stands for.
    """

    columns: Mapping[str, Sensitive]
    key: bytes

    def rows(self, body: bytes) -> tuple[int, bytes]:
        """A request of rows as it is logged, and the kind of its entry."""
        rows: list[dict[str, Any]] = msgspec.json.decode(body)["rows"]
        return ROWS, msgspec.json.encode({"rows": [self.row(row) for row in rows]})

    def tensors(self, body: bytes, matrix: Sequence[str]) -> tuple[int, bytes]:
        """A request of tensors, in any form, as it is logged: as rows.

        Args:
            body: As it came.
            matrix: The columns of the one tensor that may stand for all inputs.
        """
        request = forms.from_log(*forms.to_log(body))
        rows = [self.row(row) for row in rows_of(request.inputs, matrix)]
        return ROWS, msgspec.json.encode({"rows": rows})

    def row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """One row without its sensitive values."""
        kept = {}
        for name, value in row.items():
            how = self.columns.get(name)
            if how is None or value is None:
                kept[name] = value
            elif how == "hash":
                kept[name] = self.hashed(value)
        return kept

    def hashed(self, value: Any) -> str:
        """What stands for a value in the log: the same for the same value.

        Source: keyed BLAKE2 (RFC 7693), 128 bits.
        """
        plain = value if isinstance(value, (str, bool, int, float)) else str(value)
        text = as_text(plain).encode("utf-8", "surrogatepass")
        return _MARK + blake2b(text, digest_size=16, key=self.key).hexdigest()


def redaction_of(contract: Sequence[Field], key: bytes) -> Redaction | None:
    """What becomes of the rows of a dataset; ``None`` where none of its columns is sensitive."""
    columns = {one.name: one.sensitive for one in contract if one.sensitive}
    return Redaction(columns, key) if columns else None


def key_of(db: Connection) -> bytes:
    """The factory's key; empty where none was made yet."""
    found: bytes | None = db.scalar(select(keys.c.value).where(keys.c.name == _KEY))
    return found or b""


def made_key(ledger: Ledger) -> bytes:
    """The factory's key, made when it is needed first; the same for all servers, whichever makes it."""
    with ledger.read() as db:
        if found := key_of(db):
            return found
    with ledger.write() as db:
        upsert(db, keys, [{"name": _KEY, "value": secrets.token_bytes(32)}], keep=True)
        return key_of(db)
