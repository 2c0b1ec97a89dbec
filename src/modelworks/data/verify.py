"""Whether a dataset version still is what it was: its list of files, the content of each, the number of rows.

What is known of a version when it is made is a digest of its files, whose names are digests of their contents. So
no row can be changed, added or taken out behind the factory's back without its being seen. What the factory does
itself is no damage: packing checks the files that it writes anew, and a forgotten subject's rows are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from sqlalchemy import Text, cast, select

from modelworks.core.errors import NotFound
from modelworks.data import versions
from modelworks.data.undo import Stores
from modelworks.data.version import VERSION, DatasetVersion
from modelworks.stores.ledger.tables import dataset_versions
from modelworks.stores.tables.integrity import Damage

_STRANGE = "something else than Modelworks changed the table"


@dataclass(frozen=True)
class Verified:
    """What a look at a version's files found.

    Attributes:
        version: Which, for instance ``"flights@12"``.
        intact: Whether it is what it was.
        digest: Of the files that it was made of.
        packed: Whether these were written anew since, without another content.
        erased: Rows of forgotten subjects that it had; they are gone as they should be.
        rows: Rows that it has.
        damage: Files that are not what was written, and hold rows of it.
        findings: What else is wrong.
    """

    version: str
    intact: bool
    digest: str
    packed: bool
    erased: int
    rows: int
    damage: Sequence[Damage] = ()
    findings: Sequence[str] = ()


def verify(stores: Stores, version: DatasetVersion) -> Verified:
    """Look at every file of a version.

    Raises:
        NotFound: its rows are not kept any more.
    """
    if version.dropped is not None:
        versions.rows(stores.tables, version)  # says why it cannot be read
    table = versions.table_of(version.dataset)
    findings = _strange(stores, version)
    damage: list[Damage] = []
    try:
        if stores.tables.state(table, version.table_version) != version.files:
            findings.append("the table's log names other files than the ledger knows")
        damage = [
            one
            for one in stores.tables.damaged(table, VERSION, version.table_version)
            if one.first is None or one.first <= version.version
        ]
        if not damage:
            number = versions.rows(stores.tables, version).select(pl.len()).collect().item()
            if number != version.rows:
                findings.append(f"it has {number:,} rows, and was made with {version.rows:,}")
    except NotFound as error:
        findings.append(f"its table cannot be read: {error.why or error.what}")
    return Verified(
        version=f"{version.dataset}@{version.version}",
        intact=not damage and not findings,
        digest=version.digest,
        packed=version.files != version.digest,
        erased=version.erased,
        rows=version.rows,
        damage=damage,
        findings=findings,
    )


def legible(stores: Stores, version: DatasetVersion) -> bool:
    """Whether the files with the rows that came with a version are what was written; no others are looked at."""
    table = versions.table_of(version.dataset)
    return not stores.tables.damaged(table, VERSION, version.table_version, version.version)


def changed_by_others(dataset: str, stores: Stores) -> list[str]:
    """Whether the table is another than the newest version left it; one sentence, for that one's successor."""
    with stores.ledger.read() as db:
        newest = versions.newest(db, dataset)
    if newest is None or stores.tables.state(versions.table_of(dataset)) == newest.files:
        return []
    return [f"{_STRANGE} after {dataset}@{newest.version}"]


def _strange(stores: Stores, version: DatasetVersion) -> list[str]:
    """Versions that this one rests on, and that began with a table which somebody had changed."""
    v = dataset_versions.c
    query = select(v.warnings).where(v.dataset == version.dataset, v.version <= version.version)
    query = query.where(cast(v.warnings, Text).contains(_STRANGE))
    with stores.ledger.read() as db:
        found = [text for warnings in db.scalars(query) for text in warnings]
    return list(dict.fromkeys(text for text in found if text.startswith(_STRANGE)))
