"""A factory whose ledger an earlier version left goes on: what waited in it is honoured, what was cut off is said."""

from __future__ import annotations

from pathlib import Path

import loop_world as world
from sqlalchemy import create_engine, delete, update
from tests.older import content, make_older

from modelworks.core.plain import plain
from modelworks.factory import Factory
from modelworks.stores.ledger.tables import campaigns, runs


def older(root: Path) -> dict[str, list[dict[str, object]]]:
    """Its ledger as it was before plans, leases and truths; what is in it."""
    engine = create_engine(f"sqlite:///{root / '.modelworks' / 'ledger.db'}")
    make_older(engine)
    told = content(engine)
    engine.dispose()
    return told


def test_an_approval_that_waited_in_an_old_ledger_is_honoured_by_new_code(tmp_path: Path) -> None:
    world.make(tmp_path)
    with Factory(tmp_path) as factory:
        factory.apply()
        assert {row["action"] for row in plain(factory.decisions("returns"))} == {"train", "wait"}
        expected = plain(factory.deployments("refunds"))
    before = older(tmp_path)
    code = (tmp_path / "factory.py").read_text()
    (tmp_path / "factory.py").write_text(code.replace("C=1.0", "C=0.5"))
    with Factory(tmp_path, who="boss") as factory:
        assert factory.approve("returns[a]")["ref"] == "returns[a]@1"
        factory.apply()
        live = {row["segment"]: row["version"] for row in plain(factory.deployments("returns"))}
        assert live == {"a": 1}
        assert [row["what"] for row in plain(factory.audit()) if row["verb"] == "approve"] == ["returns[a]"]
        assert plain(factory.deployments("refunds")) == expected
        after = content(factory.stores.ledger.engine)
    for table in ("runs", "model_versions", "verdicts", "decisions", "dataset_versions", "ingested", "audit"):
        assert [row for row in before[table] if row not in after[table]] == [], table


def test_what_an_earlier_version_began_is_closed_or_trained_when_asked_for(tmp_path: Path) -> None:
    world.make(tmp_path)
    with Factory(tmp_path) as factory:
        factory.ingest()
        for model in ("returns", "refunds"):
            factory.train(model)
        with factory.stores.ledger.write() as db:  # as if both had been cut off before their last segment
            db.execute(update(campaigns).values(status="running", finished=None))
            db.execute(delete(runs).where(runs.c.segment == "d"))
    older(tmp_path)
    with Factory(tmp_path) as factory:
        (again,) = factory.train("refunds")
        assert (again.skipped, again.trained) == (4, 1)
        factory.apply("returns")
        with factory.stores.ledger.read() as db:
            rows = db.execute(campaigns.select().order_by(campaigns.c.created)).all()
        assert [(row.model, row.status, row.closed) for row in rows][:2] == [
            ("returns", "closed", "an earlier version began it and kept no plan of it"),
            ("refunds", "finished", None),
        ]
