"""Tokens and the audit trail."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from modelworks.access import audit, tokens
from modelworks.access.allowance import Allowance, settle, spent_on
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
    assert tokens.found(db, token) == tokens.Token("ci", "builder")
    for other in ("", token[:-1], token + "x", token.upper(), tokens.digest(token)):
        assert tokens.found(db, other) is None
    tokens.revoke(db, "ci", NOW)
    assert tokens.found(db, token) is None
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
    assert tokens.found(db, first) is None
    assert tokens.found(db, second) == tokens.Token("ci", "admin")


def test_each_role_may_what_those_before_it_may() -> None:
    may = {(role, needed) for role in tokens.ROLES for needed in tokens.ROLES if tokens.allows(role, needed)}
    assert may == {
        ("caller", "caller"), ("reader", "caller"), ("builder", "caller"), ("admin", "caller"),
        ("reader", "reader"), ("builder", "reader"), ("builder", "builder"),
        ("admin", "reader"), ("admin", "builder"), ("admin", "admin"),
    }  # fmt: skip


def test_a_token_may_be_for_some_models_and_for_so_many_requests(db: Connection) -> None:
    secret = tokens.create(db, "shop", "caller", NOW, ["delay", "churn*"], 2.5)
    found = tokens.found(db, secret)
    assert found == tokens.Token("shop", "caller", ("delay", "churn*"), 2.5)
    assert found is not None
    assert [found.covers(name) for name in ("delay", "churn", "churn_eu", "delays", "value")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert tokens.Token("all", "caller").covers("anything")
    (told,) = tokens.listed(db)
    assert (told["models"], told["rate"]) == (["delay", "churn*"], 2.5)
    for wrong in (["../x"], [""], ["a" * 101], ["m"] * 101):
        with pytest.raises(Invalid, match="pattern"):
            tokens.create(db, "other", "caller", NOW, wrong)
    for quota in (0, -1, 2**31):
        with pytest.raises(Invalid, match="quota"):
            tokens.create(db, "other", "caller", NOW, quota=quota)
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(Invalid, match="rate"):
            tokens.create(db, "other", "caller", NOW, rate=rate)


class Clock:
    """Seconds as a test says."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_allowance_fills_steadily_up_to_a_second_of_requests() -> None:
    clock = Clock()
    allowance = Allowance("shop", 5, clock=clock)
    assert [allowance.spend() for _ in range(5)] == [None] * 5
    refused = allowance.spend()
    assert refused is not None
    assert refused.after == pytest.approx(0.2)
    assert "5 requests a second" in refused.why
    clock.now += 0.2
    assert allowance.spend() is None
    assert allowance.spend() is not None
    clock.now += 1000
    assert [allowance.spend() is None for _ in range(7)] == [True] * 5 + [False] * 2


def test_less_than_a_request_a_second_is_one_now_and_then() -> None:
    clock = Clock()
    allowance = Allowance("shop", 0.1, clock=clock)
    assert allowance.spend() is None
    refused = allowance.spend()
    assert refused is not None
    assert refused.after == pytest.approx(10)
    clock.now += 10
    assert allowance.spend() is None


def test_threads_spend_no_more_than_there_is() -> None:
    allowance = Allowance("shop", 1000, clock=Clock())
    with ThreadPoolExecutor(8) as pool:
        spent = list(pool.map(lambda _: allowance.spend() is None, range(3000)))
    assert sum(spent) == 1000


def test_servers_count_the_requests_of_a_day_together(db: Connection) -> None:
    secret = tokens.create(db, "shop", "caller", NOW, quota=10)
    token = tokens.found(db, secret)
    assert token is not None
    one, two = (Allowance(token.name, token.rate, token.quota) for _ in range(2))
    assert [one.spend() for _ in range(4)] == [two.spend() for _ in range(4)] == [None] * 4

    def settle_up(server: Allowance, now: datetime) -> None:
        counted = server.counted
        server.settled(counted, settle(db, server.caller, counted, now))

    for server in (one, two, one):  # the first one learns of the second one's when it settles again
        settle_up(server, NOW)
    assert spent_on(db, NOW) == {"shop": 8}
    assert [one.spend() is None for _ in range(4)] == [True, True, False, False]
    refused = one.spend()
    assert refused is not None
    assert "10 a day" in refused.why
    assert 0 < refused.after <= 86_400
    settle_up(one, NOW + timedelta(hours=23))
    settle_up(two, NOW + timedelta(hours=23))
    assert two.spend() is not None
    settle_up(two, NOW + timedelta(days=1))  # a new day
    assert two.spend() is None
    tokens.revoke(db, "shop", NOW)
    tokens.create(db, "shop", "caller", NOW, quota=10)  # the name of another one: nothing is spent
    assert spent_on(db, NOW) == {}


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
