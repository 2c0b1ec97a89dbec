"""Tokens and the audit trail."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from modelworks.access import audit, tokens
from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import tokens as table

NOW = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with ledger.write() as db:
        yield db
    ledger.close()


def test_a_token_is_known_until_it_is_revoked(db: Connection) -> None:
    assert not tokens.any_in_force(db)
    token = tokens.create(db, "ci", "builder", NOW)
    assert tokens.any_in_force(db)
    assert tokens.role_of(db, token) == ("ci", "builder")
    for other in ("", token[:-1], token + "x", token.upper(), tokens.digest(token)):
        assert tokens.role_of(db, other) is None
    tokens.revoke(db, "ci", NOW)
    assert tokens.role_of(db, token) is None
    assert not tokens.any_in_force(db)
    with pytest.raises(NotFound):
        tokens.revoke(db, "ci", NOW)


def test_the_ledger_keeps_no_secret(db: Connection) -> None:
    token = tokens.create(db, "ci", "reader", NOW)
    (row,) = db.execute(select(table)).all()
    assert token not in map(str, row)
    assert "digest" not in tokens.listed(db)[0]


def test_names_and_roles_are_checked(db: Connection) -> None:
    tokens.create(db, "ci", "reader", NOW)
    with pytest.raises(Conflict, match="there is a token 'ci' already"):
        tokens.create(db, "ci", "admin", NOW)
    with pytest.raises(Invalid):
        tokens.create(db, "../ci", "reader", NOW)
    with pytest.raises(Invalid, match="'root' is no role"):
        tokens.create(db, "other", "root", NOW)  # type: ignore[arg-type]


def test_a_name_is_free_again_after_revoking(db: Connection) -> None:
    first = tokens.create(db, "ci", "reader", NOW)
    tokens.revoke(db, "ci", NOW)
    second = tokens.create(db, "ci", "admin", NOW)
    assert tokens.role_of(db, first) is None
    assert tokens.role_of(db, second) == ("ci", "admin")


def test_each_role_may_what_those_before_it_may() -> None:
    may = {(role, needed) for role in tokens.ROLES for needed in tokens.ROLES if tokens.allows(role, needed)}
    assert may == {
        ("reader", "reader"), ("builder", "reader"), ("builder", "builder"),
        ("admin", "reader"), ("admin", "builder"), ("admin", "admin"),
    }  # fmt: skip


def test_the_trail_is_kept_in_order(db: Connection) -> None:
    for n in range(5):
        audit.record(
            db, NOW + timedelta(hours=n), "ada", "deploy", f"delay@{n}", {"reason": "by hand", "at": NOW}
        )
    audit.record(db, NOW, "x" * 500, "train", "y" * 5000, {"n": float("nan")})
    newest, *others = audit.recent(db, 4)
    assert newest["detail"] == {"n": None}
    assert [line["what"] for line in others] == ["delay@4", "delay@3", "delay@2"]
    assert others[0]["who"] == "ada"
    assert others[0]["at"] == NOW + timedelta(hours=4)
    assert others[0]["detail"] == {"reason": "by hand", "at": "2024-05-01T00:00:00+00:00"}
