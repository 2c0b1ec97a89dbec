"""What people say of models; taking versions out, and renaming: never what has answered anybody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelworks.core.clock import FrozenClock, new_id
from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.core.ref import Ref
from modelworks.core.schema import Field, Kind
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.station import DeployStation
from modelworks.models.package import Package, Proof
from modelworks.models.signature import Signature
from modelworks.registry import labels, removal, search
from modelworks.registry.model_version import Draft
from modelworks.registry.station import RegistryStation
from modelworks.stores.ledger import Ledger

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PACKAGE = Package(
    Signature((Field("distance", Kind.NUMBER),), "binary", (0, 1)), "sklearn", "a" * 64, None,
    Proof(0, None, 1e-4, "why"), None, "e" * 64, "c" * 64,
)  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path, ledger_url: str) -> Iterator[RegistryStation]:
    """With three versions of a model, and one of a segment of another."""
    ledger = Ledger(ledger_url or f"sqlite:///{tmp_path / 'ledger.db'}")
    station = RegistryStation(ledger, FrozenClock(NOW))
    with ledger.write() as db:
        station.register_many(db, [Draft("price", (), new_id(), PACKAGE, {}) for _ in range(3)])
        station.register_many(db, [Draft("delay", ("UA",), new_id(), PACKAGE, {}, "flights", 1)])
    yield station
    ledger.close()


def test_what_is_said_stays(registry: RegistryStation) -> None:
    model, version, segment = Ref("price"), Ref("price", (), 2), Ref("delay", ("UA",))
    with registry.ledger.write() as db:
        labels.say(db, model, NOW, tags={"a": "1", "b": "2"}, note="**what** it is for", owner="ann")
        labels.say(db, model, NOW, tags={"a": None, "c": "3"})
        labels.say(db, version, NOW, tags={"a": "9"}, stage="Staging")
        labels.say(db, segment, NOW, owner="bob")
    with registry.ledger.read() as db:
        said = labels.of(db, model)
        assert (said.tags, said.note, said.owner) == ({"b": "2", "c": "3"}, "**what** it is for", "ann")
        found = labels.of_many(db, [model, version, segment, Ref("price", (), 1)])
    assert set(found) == {model, version, segment}
    assert (found[version].tags, found[version].stage) == ({"a": "9"}, "Staging")
    assert found[segment].owner == "bob"


@pytest.mark.parametrize("what", [{"tags": {"": "x"}}, {"tags": {"a": "x" * 9000}}, {"note": "x" * 200_000},
                                  {"tags": {str(i): "x" for i in range(2000)}}, {"owner": "x" * 300}])  # fmt: skip
def test_what_is_too_much(registry: RegistryStation, what: dict[str, object]) -> None:
    with pytest.raises(Invalid), registry.ledger.write() as db:
        labels.say(db, Ref("price"), NOW, **what)  # type: ignore[arg-type]
    with registry.ledger.read() as db:
        assert labels.of(db, Ref("price")) == labels.NONE


def test_a_number_is_not_given_again(registry: RegistryStation) -> None:
    with registry.ledger.write() as db:
        registry.set_alias(db, "price", (), "best", 3)
        labels.say(db, Ref("price", (), 3), NOW, note="gone soon")
        removal.remove_version(db, Ref("price", (), 3), NOW)
        assert labels.of(db, Ref("price", (), 3)) == labels.NONE
        (made,) = registry.register_many(db, [Draft("price", (), new_id(), PACKAGE, {})])
    assert made.version == 4
    assert registry.aliases("price", ()) == {}
    with pytest.raises(NotFound):
        registry.get(Ref("price", (), 3))


def test_what_answered_stays(registry: RegistryStation) -> None:
    deploy = DeployStation(registry.ledger, registry.clock)
    with registry.ledger.write() as db:
        deploy.promote_many(db, [Promotion("price", (), 1, "")])
        deploy.promote_many(db, [Promotion("price", (), 2, "")])
    for change in (
        lambda db: removal.remove_version(db, Ref("price", (), 1), NOW),
        lambda db: removal.remove_model(db, "price", NOW),
        lambda db: removal.rename_model(db, "price", "cost", NOW),
        lambda db: removal.remove_model(db, "delay", NOW),  # it learns from a dataset of the project
    ):
        with pytest.raises(Conflict), registry.ledger.write() as db:
            change(db)
    assert len(registry.versions("price")) == 3
    with registry.ledger.write() as db:
        removal.remove_version(db, Ref("price", (), 3), NOW)


def test_a_model_goes_with_its_versions_and_is_made_again(registry: RegistryStation) -> None:
    with registry.ledger.write() as db:
        assert len(removal.remove_model(db, "price", NOW)) == 3
        assert not search.exists(db, Ref("price"))
        with pytest.raises(NotFound):
            removal.remove_model(db, "price", NOW)
        (made,) = registry.register_many(db, [Draft("price", (), new_id(), PACKAGE, {})])
    assert made.version == 4


def test_a_model_is_renamed_with_all_that_is_said_of_it(registry: RegistryStation) -> None:
    with registry.ledger.write() as db:
        registry.set_alias(db, "price", (), "best", 2)
        labels.say(db, Ref("price", (), 2), NOW, note="good")
        with pytest.raises(Invalid):
            removal.rename_model(db, "price", "../up", NOW)
        with pytest.raises(Conflict):
            removal.rename_model(db, "price", "delay", NOW)
        assert removal.rename_model(db, "price", "cost", NOW) == [Ref("cost", (), n) for n in (1, 2, 3)]
        assert labels.of(db, Ref("cost", (), 2)).note == "good"
    assert registry.aliases("cost", ()) == {"best": 2}
    with pytest.raises(NotFound):
        registry.versions("price")
