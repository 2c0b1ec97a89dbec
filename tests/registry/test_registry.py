"""Versions are numbered, immutable and found again; what is asked for in vain is answered with what is."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, func, select

from modelworks.core.clock import FrozenClock, new_id
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.ref import Ref, Segment
from modelworks.core.schema import Field, Kind
from modelworks.models.package import Package, Proof
from modelworks.models.signature import Signature
from modelworks.registry.gates.port import Verdict
from modelworks.registry.model_version import Draft
from modelworks.registry.station import RegistryStation
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import upsert
from modelworks.stores.ledger.tables import aliases, model_versions

SIGNATURE = Signature((Field("distance", Kind.NUMBER), Field("carrier", Kind.TEXT)), "binary", (0, 1))
PACKAGE = Package(SIGNATURE, "sklearn", "a" * 64, "b" * 64, Proof(20, 1e-7, 1e-4), None, "e" * 64, "c" * 64)
UA: Segment = ("UA", "EWR")


def draft(segment: Segment = UA, model: str = "delay", run: str | None = None) -> Draft:
    """A draft of a version."""
    where = {"carrier": segment[0]} if segment else {}
    return Draft(model, segment, run or new_id(), PACKAGE, {"log_loss": 0.4}, "flights", 3, where)


@pytest.fixture
def registry(tmp_path: Path) -> RegistryStation:
    """An empty registry."""
    return RegistryStation(
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}"), FrozenClock(datetime(2024, 1, 1, tzinfo=UTC))
    )


def register(registry: RegistryStation, *drafts: Draft) -> list[str]:
    """Register in one transaction; returns the references."""
    with registry.ledger.write() as db:
        return [str(version.ref) for version in registry.register_many(db, drafts)]


def crown(registry: RegistryStation, segment: Segment, version: int, model: str = "delay") -> None:
    """Set the alias as a deployment does."""
    text = ",".join(segment)
    row = {
        "model": model,
        "segment": text,
        "alias": "champion",
        "version": version,
        "updated": registry.clock(),
    }
    with registry.ledger.write() as db:
        upsert(db, aliases, [{**row, "updated": registry.clock()}])


def test_versions_count_from_one_within_model_and_segment(registry: RegistryStation) -> None:
    assert register(registry, draft(), draft(()), draft(), draft(UA, "fare")) == [
        "delay[UA,EWR]@1", "delay@1", "delay[UA,EWR]@2", "fare[UA,EWR]@1",
    ]  # fmt: skip
    assert register(registry, draft(), draft(("UA",))) == ["delay[UA,EWR]@3", "delay[UA]@1"]


def test_a_run_makes_one_version_however_often_it_is_registered(registry: RegistryStation) -> None:
    one = draft()
    assert register(registry, one, one) == ["delay[UA,EWR]@1"] * 2
    assert register(registry, draft(), one) == ["delay[UA,EWR]@2", "delay[UA,EWR]@1"]
    with registry.ledger.read() as db:
        assert db.scalar(select(func.count()).select_from(model_versions)) == 2


def test_what_is_registered_comes_back_whole(registry: RegistryStation) -> None:
    odd: Segment = ("Ünïted, [the] @one", "")
    with registry.ledger.write() as db:
        (made,) = registry.register_many(db, [draft(odd)])
    assert registry.get(made.ref) == made
    assert registry.get(Ref.parse(str(made.ref))) == made
    assert made.package.signature.numbers == ("distance",)


def test_nothing_stays_of_a_transaction_that_fails(registry: RegistryStation) -> None:
    def half_done() -> None:
        with registry.ledger.write() as db:
            registry.register_many(db, [draft()])
            registry.set_alias(db, "delay", UA, "candidate", 2)

    with pytest.raises(NotFound):
        half_done()
    assert registry.models() == []
    assert register(registry, draft()) == ["delay[UA,EWR]@1"]


def test_metrics_that_json_lacks_are_stored_as_missing(registry: RegistryStation) -> None:
    odd = Draft("delay", (), new_id(), PACKAGE, {"roc_auc": float("nan"), "log_loss": None})
    register(registry, odd)
    assert registry.get(Ref("delay")).metrics == {"roc_auc": None, "log_loss": None}


def test_two_writers_at_once_leave_no_gap_and_no_double(registry: RegistryStation) -> None:
    def work() -> None:
        for _ in range(10):
            register(registry, draft(), draft())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [version.version for version in registry.versions("delay", UA)] == list(range(60, 0, -1))


def test_one_batch_takes_a_few_statements_however_large(registry: RegistryStation) -> None:
    register(registry, *(draft((str(n), "x")) for n in range(300)))
    statements: list[str] = []
    event.listen(registry.ledger.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert register(registry, *(draft((str(n), "x")) for n in range(300)))[7] == "delay[7,x]@2"
    assert len(statements) <= 6, statements


def test_a_reference_names_a_version_the_latest_the_champion_or_an_alias(registry: RegistryStation) -> None:
    register(registry, draft(), draft(), draft())
    assert registry.get(Ref("delay", UA)).version == 3
    crown(registry, UA, 2)
    with registry.ledger.write() as db:
        registry.set_alias(db, "delay", UA, "candidate", 1)
    found = {
        at: registry.get(Ref("delay", UA, at)).version for at in (None, 1, "latest", "champion", "candidate")
    }
    assert found == {None: 2, 1: 1, "latest": 3, "champion": 2, "candidate": 1}
    assert registry.aliases("delay", UA) == {"candidate": 1, "champion": 2}


def test_an_alias_moves(registry: RegistryStation) -> None:
    register(registry, draft(), draft())
    for version in (1, 2):
        with registry.ledger.write() as db:
            registry.set_alias(db, "delay", UA, "candidate", version)
    assert registry.get(Ref("delay", UA, "candidate")).version == 2


@pytest.mark.parametrize("alias", ["latest", "champion", "a/b", ""])
def test_some_aliases_are_not_given_by_hand(registry: RegistryStation, alias: str) -> None:
    register(registry, draft())
    with pytest.raises(Invalid), registry.ledger.write() as db:
        registry.set_alias(db, "delay", UA, alias, 1)


def test_an_alias_needs_its_version(registry: RegistryStation) -> None:
    register(registry, draft())
    with pytest.raises(NotFound, match="has version 1"), registry.ledger.write() as db:
        registry.set_alias(db, "delay", UA, "candidate", 2)


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("dalay", r"no model 'dalay'; the registry has delay"),
        ("delay[UA,EWQ]", r"delay\[UA,EWQ\] has no version of its own; there is delay\[UA,EWR\]"),
        ("delay[UA,EWR]@9", r"delay\[UA,EWR\] has versions 1 to 2"),
        ("delay[UA,EWR]@champion", r"no version of delay\[UA,EWR\] is called 'champion'; .* latest"),
        ("empty", r"'empty' has no version yet; train it"),
    ],
)
def test_what_is_asked_for_in_vain_is_answered_with_what_there_is(
    registry: RegistryStation, ref: str, said: str
) -> None:
    register(registry, draft(), draft(), draft(()))
    declare(registry, "empty")
    with pytest.raises(NotFound, match=said):
        registry.get(Ref.parse(ref))


def test_an_empty_registry_says_so(registry: RegistryStation) -> None:
    with pytest.raises(NotFound, match="the registry is empty"):
        registry.get(Ref("delay"))
    with pytest.raises(NotFound, match="there is no model"):
        registry.versions("delay")


def test_versions_come_newest_first_and_limited(registry: RegistryStation) -> None:
    assert isinstance(registry.clock, FrozenClock)
    for segment in (UA, (), UA):
        register(registry, draft(segment))
        registry.clock.advance(timedelta(hours=1))
    assert [str(v.ref) for v in registry.versions("delay")] == [
        "delay[UA,EWR]@2",
        "delay@1",
        "delay[UA,EWR]@1",
    ]
    assert [v.version for v in registry.versions("delay", ())] == [1]
    assert len(registry.versions("delay", limit=2)) == 2
    assert registry.versions("delay", ("no", "such")) == []


def test_champions_of_all_segments_in_one_query(registry: RegistryStation) -> None:
    register(registry, draft(), draft(), draft(()), draft(("UA",)), draft(UA, "fare"))
    crown(registry, UA, 2)
    crown(registry, (), 1)
    crown(registry, UA, 1, "fare")
    statements: list[str] = []
    event.listen(registry.ledger.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    found = registry.champions("delay")
    assert {segment: version.version for segment, version in found.items()} == {UA: 2, (): 1}
    assert statements[1:] == statements[-1:], "one query after BEGIN"


def declare(registry: RegistryStation, name: str, code: str = "1") -> bool:
    """Enter a small definition."""
    with registry.ledger.write() as db:
        return registry.declare(
            db, name=name, dataset="flights", target="late", features=("distance",), per=("carrier",),
            definition={"min_rows": 100}, code=code,
        )  # fmt: skip


def test_a_definition_is_written_only_when_it_changes(registry: RegistryStation) -> None:
    assert isinstance(registry.clock, FrozenClock)
    first = registry.clock()
    assert declare(registry, "delay")
    registry.clock.advance(timedelta(hours=1))
    assert not declare(registry, "delay")
    assert registry.models()[0].updated == first
    assert declare(registry, "delay", code="2")
    (summary,) = registry.models()
    assert (summary.code, summary.updated) == ("2", registry.clock())


def test_models_are_counted_and_paged(registry: RegistryStation) -> None:
    declare(registry, "empty")
    register(registry, draft(), draft(), draft(()), draft((), "fare"))
    crown(registry, (), 1)
    counted = {m.name: (m.segments, m.versions, m.champions) for m in registry.models()}
    assert counted == {"delay": (2, 3, 1), "empty": (0, 0, 0), "fare": (1, 1, 0)}
    assert [m.name for m in registry.models(limit=2)] == ["delay", "empty"]
    assert [m.name for m in registry.models(after="empty", limit=2)] == ["fare"]


def test_a_model_without_a_definition_is_entered_by_its_first_version(registry: RegistryStation) -> None:
    register(registry, draft((), "churn"))
    (summary,) = registry.models()
    assert (summary.dataset, summary.features, summary.per) == ("flights", ("distance", "carrier"), ())
    declare(registry, "churn")
    register(registry, draft((), "churn"))
    assert registry.models()[0].definition == {"min_rows": 100}


@pytest.mark.parametrize("name", ["", "../x", "a/b", "1st", "x" * 101])
def test_a_name_that_cannot_name_a_model_is_refused(registry: RegistryStation, name: str) -> None:
    with pytest.raises(Invalid):
        register(registry, draft(UA, name))
    with pytest.raises(Invalid):
        declare(registry, name)


def test_verdicts_are_kept_in_order_with_their_evidence(registry: RegistryStation) -> None:
    said = [
        Verdict("AtLeast(roc_auc)", False, "roc_auc 0.5 is below", {"value": 0.5}),
        Verdict("Compiled", True, "it is compiled"),
    ]
    with registry.ledger.write() as db:
        versions = registry.register_many(db, [draft(), draft()])
        registry.record_verdicts(db, [(versions[0], said), (versions[1], [])])
    assert registry.verdicts(Ref("delay", UA, 1)) == said
    assert registry.verdicts(Ref("delay", UA)) == []
