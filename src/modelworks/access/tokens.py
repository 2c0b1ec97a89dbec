"""Tokens: secrets that callers send, of which the ledger keeps only the digest."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import Connection, delete, func, insert, select, update

from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.core.ref import check_name
from modelworks.stores.ledger.tables import spent, tokens

Role = Literal["caller", "reader", "builder", "admin"]
ROLES: tuple[Role, ...] = ("caller", "reader", "builder", "admin")
"""Each may do what those before it may; a caller may only predict and tell outcomes."""
_PATTERNS = 100
_PATTERN = re.compile(r"[A-Za-z0-9_.*?-]{1,100}")


@dataclass(frozen=True)
class Token:
    """A token in force, as the ledger knows it.

    Attributes:
        name: Its name.
        role: What it may do.
        models: Patterns of the models that it may ask, ``"churn*"``; empty for all.
        rate: Requests for predictions a second that it may make; ``None`` for any number.
        quota: Requests for predictions a day (of UTC); ``None`` for any number.
    """

    name: str
    role: Role
    models: tuple[str, ...] = ()
    rate: float | None = None
    quota: int | None = None

    def covers(self, model: str) -> bool:
        """Whether it may ask a model."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


def allows(role: Role, needed: Role) -> bool:
    """Whether a role may do what asks for `needed`."""
    return ROLES.index(role) >= ROLES.index(needed)


def digest(token: str) -> str:
    """What is kept of a token. It has 256 random bits, so that a plain hash cannot be guessed back."""
    return sha256(token.encode()).hexdigest()


def create(
    db: Connection,
    name: str,
    role: Role,
    at: datetime,
    models: Sequence[str] = (),
    rate: float | None = None,
    quota: int | None = None,
) -> str:
    """Make a token; it is shown this once.

    Args:
        db: An open transaction.
        name: Its name.
        role: What it may do.
        at: When.
        models: See `Token`.
        rate: See `Token`.
        quota: See `Token`.

    Raises:
        Conflict: there is one of that name in force.
        Invalid: the name, the role, a pattern, the rate or the quota is none.
    """
    check_name(name, "token name")
    if role not in ROLES:
        raise Invalid(f"{role!r} is no role", "", f"use one of {', '.join(ROLES)}")
    wrong = [one for one in models if not _PATTERN.fullmatch(one)]
    if wrong or len(models) > _PATTERNS:
        raise Invalid(
            f"{wrong[0][:80]!r} is no pattern of a model" if wrong else "these are too many patterns",
            f"up to {_PATTERNS} names, in which * stands for any characters",
            "write for instance churn*",
        )
    if rate is not None and not 0 < rate < 1e9:
        raise Invalid(f"{rate} is no rate", "it is requests a second, more than 0", "give for instance 50")
    if quota is not None and not 0 < quota < 2**31:
        raise Invalid(f"{quota} is no quota", "it is requests a day, more than 0", "give for instance 100000")
    if db.scalar(select(tokens.c.name).where(tokens.c.name == name, tokens.c.revoked.is_(None))) is not None:
        raise Conflict(f"there is a token {name!r} already", "", "choose another name, or revoke it")
    db.execute(delete(tokens).where(tokens.c.name == name))
    db.execute(delete(spent).where(spent.c.token == name))
    token = "mw_" + secrets.token_urlsafe(32)
    db.execute(
        insert(tokens).values(
            name=name,
            digest=digest(token),
            role=role,
            models=list(models),
            rate=rate,
            quota=quota,
            created=at,
        )
    )
    return token


def revoke(db: Connection, name: str, at: datetime) -> None:
    """Make a token worthless.

    Raises:
        NotFound: there is none of that name in force.
    """
    query = update(tokens).where(tokens.c.name == name, tokens.c.revoked.is_(None)).values(revoked=at)
    if db.execute(query).rowcount == 0:
        raise NotFound(f"there is no token {name!r} in force", "", "'modelworks token list' shows them")


def found(db: Connection, token: str) -> Token | None:
    """A token in force, ``None`` for any other text."""
    t = tokens.c
    query = select(t.name, t.role, t.models, t.rate, t.quota)
    row = db.execute(query.where(t.digest == digest(token), t.revoked.is_(None))).one_or_none()
    return None if row is None else Token(row.name, row.role, tuple(row.models), row.rate, row.quota)


def any_in_force(db: Connection) -> bool:
    """Whether there is any token, so that callers must show one."""
    return bool(db.scalar(select(func.count()).select_from(tokens).where(tokens.c.revoked.is_(None))))


def listed(db: Connection) -> list[dict[str, Any]]:
    """Every token without its digest, the newest first."""
    t = tokens.c
    query = select(t.name, t.role, t.models, t.rate, t.quota, t.created, t.revoked).order_by(t.created.desc())
    return [dict(row) for row in db.execute(query).mappings()]
