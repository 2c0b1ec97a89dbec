"""Tokens: secrets that callers send, of which the ledger keeps only the digest."""

from __future__ import annotations

import secrets
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import Connection, delete, func, insert, select, update

from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.core.ref import check_name
from modelworks.stores.ledger.tables import tokens

Role = Literal["reader", "builder", "admin"]
ROLES: tuple[Role, ...] = ("reader", "builder", "admin")
"""Each may do what those before it may."""


def allows(role: Role, needed: Role) -> bool:
    """Whether a role may do what asks for `needed`."""
    return ROLES.index(role) >= ROLES.index(needed)


def digest(token: str) -> str:
    """What is kept of a token. It has 256 random bits, so that a plain hash cannot be guessed back."""
    return sha256(token.encode()).hexdigest()


def create(db: Connection, name: str, role: Role, at: datetime) -> str:
    """Make a token; it is shown this once.

    Raises:
        Conflict: there is one of that name in force.
        Invalid: the name or the role is none.
    """
    check_name(name, "token name")
    if role not in ROLES:
        raise Invalid(f"{role!r} is no role", "", f"use one of {', '.join(ROLES)}")
    if db.scalar(select(tokens.c.name).where(tokens.c.name == name, tokens.c.revoked.is_(None))) is not None:
        raise Conflict(f"there is a token {name!r} already", "", "choose another name, or revoke it")
    db.execute(delete(tokens).where(tokens.c.name == name))
    token = "mw_" + secrets.token_urlsafe(32)
    db.execute(insert(tokens).values(name=name, digest=digest(token), role=role, created=at))
    return token


def revoke(db: Connection, name: str, at: datetime) -> None:
    """Make a token worthless.

    Raises:
        NotFound: there is none of that name in force.
    """
    query = update(tokens).where(tokens.c.name == name, tokens.c.revoked.is_(None)).values(revoked=at)
    if db.execute(query).rowcount == 0:
        raise NotFound(f"there is no token {name!r} in force", "", "'modelworks token list' shows them")


def role_of(db: Connection, token: str) -> tuple[str, Role] | None:
    """Name and role of a token in force, ``None`` for any other text."""
    row = db.execute(
        select(tokens.c.name, tokens.c.role).where(
            tokens.c.digest == digest(token), tokens.c.revoked.is_(None)
        )
    ).one_or_none()
    return None if row is None else (row.name, row.role)


def any_in_force(db: Connection) -> bool:
    """Whether there is any token, so that callers must show one."""
    return bool(db.scalar(select(func.count()).select_from(tokens).where(tokens.c.revoked.is_(None))))


def listed(db: Connection) -> list[dict[str, Any]]:
    """Every token without its digest, the newest first."""
    query = select(tokens.c.name, tokens.c.role, tokens.c.created, tokens.c.revoked).order_by(
        tokens.c.created.desc()
    )
    return [dict(row) for row in db.execute(query).mappings()]
