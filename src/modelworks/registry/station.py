"""The registry's verbs: register versions, find them again, name them, keep the verdicts of the gates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, select

from modelworks.core.clock import Clock
from modelworks.core.errors import Invalid, NotFound
from modelworks.core.plain import plain
from modelworks.core.ref import Ref, Segment, check_name, segment_text
from modelworks.registry.gates.port import Verdict
from modelworks.registry.missing import archived, no_alias, no_model, no_segment, no_version
from modelworks.registry.model_version import (
    CHALLENGER,
    CHAMPION,
    LATEST,
    Draft,
    ModelSummary,
    ModelVersion,
)
from modelworks.registry.rows import Key, at, from_row, key, near, to_row
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.portable import chunks, insert_many, queue_up, upsert
from modelworks.stores.ledger.tables import aliases, labels, model_versions, models, verdicts


class RegistryStation:
    """Model versions of one ledger.

    Verbs that change something take the caller's transaction, so that a version, its verdicts and its
    deployment become true together.

    Args:
        ledger: Where they stand.
        clock: Gives the time.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock

    # -- models ----------------------------------------------------------------------------------------

    def declare(
        self,
        db: Connection,
        *,
        name: str,
        dataset: str | None,
        target: str | None,
        features: Sequence[str],
        per: Sequence[str],
        definition: Mapping[str, Any],
        code: str,
    ) -> bool:
        """Enter a model's definition, or bring it up to date.

        Args:
            db: An open transaction.
            name: Name of the model.
            dataset: Dataset it learns from.
            target: Column it predicts.
            features: Columns it sees.
            per: Columns whose values make its segments.
            definition: The rest, as data.
            code: Digest of its source.

        Returns:
            Whether anything changed.

        Raises:
            Invalid: the name cannot name a model.
        """
        row = {
            "name": check_name(name, "model name"),
            "dataset": dataset,
            "target": target,
            "features": list(features),
            "per": list(per),
            "definition": plain(definition),
            "code": code,
        }
        found = db.execute(select(models).where(models.c.name == name)).mappings().one_or_none()
        if found is not None and all(found[column] == value for column, value in row.items()):
            return False
        upsert(db, models, [{**row, "updated": self.clock()}])
        return True

    def models(self, after: str = "", limit: int = 10_000) -> list[ModelSummary]:
        """Models by name, with the number of their segments, versions and champions.

        Args:
            after: Only names that sort after this one; the last name of a page gives the next page.
            limit: Most models to return.
        """
        page = select(models.c.name).where(models.c.name > after).order_by(models.c.name).limit(limit)
        each = (
            select(model_versions.c.model, func.count().label("versions"))
            .where(model_versions.c.model.in_(page.scalar_subquery()))
            .group_by(model_versions.c.model, model_versions.c.segment)
            .subquery()
        )
        counts = select(each.c.model, func.count(), func.sum(each.c.versions)).group_by(each.c.model)
        live = (
            select(aliases.c.model, func.count().label("segments"))
            .where(aliases.c.alias == CHAMPION, aliases.c.model.in_(page.scalar_subquery()))
            .group_by(aliases.c.model)
        )
        with self.ledger.read() as db:
            rows = db.execute(
                select(models).where(models.c.name > after).order_by(models.c.name).limit(limit)
            ).all()
            made = {name: (segments, versions) for name, segments, versions in db.execute(counts)}
            champions = {row.model: row.segments for row in db.execute(live)}
        return [
            ModelSummary(
                name=row.name,
                dataset=row.dataset,
                target=row.target,
                features=tuple(row.features),
                per=tuple(row.per),
                definition=row.definition,
                code=row.code,
                updated=row.updated,
                segments=made.get(row.name, (0, 0))[0],
                versions=int(made.get(row.name, (0, 0))[1]),
                champions=champions.get(row.name, 0),
            )
            for row in rows
        ]

    # -- versions --------------------------------------------------------------------------------------

    def register_many(self, db: Connection, drafts: Sequence[Draft]) -> list[ModelVersion]:
        """Make versions of drafts, numbered within their model and segment.

        A draft whose run is registered already gives the version it became then: repeating is harmless.

        Args:
            db: An open transaction; nobody else registers until it ends.
            drafts: What to register.

        Returns:
            The versions, in the order of the drafts.

        Raises:
            Invalid: a name that cannot name a model.
        """
        if not drafts:
            return []
        for name in {draft.model for draft in drafts}:
            check_name(name, "model name")
        queue_up(db, "registry")
        known = self._by_run(db, [draft.run for draft in drafts])
        fresh = {draft.run: draft for draft in drafts if draft.run not in known}
        last = self._newest(db, {key(draft.ref) for draft in fresh.values()})
        now = self.clock()
        for run, draft in fresh.items():
            last[key(draft.ref)] += 1
            known[run] = ModelVersion(
                draft.model,
                draft.segment,
                last[key(draft.ref)],
                run,
                draft.package,
                dict(draft.metrics),
                draft.dataset,
                draft.dataset_version,
                dict(draft.rows_filter),
                now,
            )
        if fresh:
            self._ensure_models(db, list(fresh.values()))
            insert_many(db, model_versions, [to_row(known[run]) for run in fresh])
        return [known[draft.run] for draft in drafts]

    def get(self, ref: Ref) -> ModelVersion:
        """The version a reference names.

        Args:
            ref: At a version number, ``latest``, ``champion`` or another alias; without any of these it is
                the champion, or the latest where there is no champion.

        Raises:
            NotFound: there is none; the message says what there is.
        """
        with self.ledger.read() as db:
            number = self._number(db, ref)
            row = None
            if number is not None:
                here = (at(model_versions, ref), model_versions.c.version == number)
                row = db.execute(select(model_versions).where(*here)).one_or_none()
            if row is None:
                raise self._missing(db, ref)
        return from_row(row)

    def versions(self, model: str, segment: Segment | None = None, limit: int = 100) -> list[ModelVersion]:
        """Versions of a model, the newest first.

        Args:
            model: Name of the model.
            segment: Only of this segment; ``None`` for all.
            limit: Most versions to return.

        Raises:
            NotFound: there is no such model; the message lists the closest names.
        """
        query = select(model_versions).where(model_versions.c.model == model)
        if segment is None:
            query = query.order_by(model_versions.c.created.desc(), model_versions.c.segment)
        else:
            query = query.where(model_versions.c.segment == segment_text(segment))
        with self.ledger.read() as db:
            rows = db.execute(query.order_by(model_versions.c.version.desc()).limit(limit)).all()
            if not rows and db.scalar(select(models.c.name).where(models.c.name == model)) is None:
                raise no_model(db, model)
        return [from_row(row) for row in rows]

    def champions(
        self, model: str, segments: Collection[Segment] | None = None
    ) -> dict[Segment, ModelVersion]:
        """The version that answers, for every segment that has one, or for every one of `segments`."""
        same = and_(
            aliases.c.model == model_versions.c.model,
            aliases.c.segment == model_versions.c.segment,
            aliases.c.version == model_versions.c.version,
        )
        query = (
            select(model_versions)
            .join(aliases, same)
            .where(aliases.c.model == model, aliases.c.alias == CHAMPION)
            .order_by(model_versions.c.segment)
        )
        queries = (
            [query]
            if segments is None
            else [query.where(aliases.c.segment.in_(part)) for part in chunks(map(segment_text, segments))]
        )
        with self.ledger.read() as db:
            found = [from_row(row) for one in queries for row in db.execute(one)]
        return {version.segment: version for version in found}

    # -- names and verdicts ----------------------------------------------------------------------------

    def set_alias(self, db: Connection, model: str, segment: Segment, alias: str, version: int) -> None:
        """Give a version a name; a version that had it loses it.

        Raises:
            Invalid: ``latest``, ``champion`` and ``rollout`` are not given by hand, or the name is no name.
            NotFound: there is no such version.
        """
        if alias in (LATEST, CHAMPION, CHALLENGER):
            why = "it follows from what is registered and deployed"
            fix = "deploy the version" if alias == CHAMPION else "choose another name"
            raise Invalid(f"the alias {alias!r} cannot be set", why, fix)
        check_name(alias, "alias")
        ref, number = Ref(model, segment, version), model_versions.c.version
        of = select(model_versions.c.archived).where(at(model_versions, ref), number == version)
        found = db.execute(of).one_or_none()
        if found is None:
            raise self._missing(db, ref)
        if found.archived is not None:
            raise archived(ref, "named")
        row = {"model": model, "segment": segment_text(segment), "alias": alias}
        upsert(db, aliases, [{**row, "version": version, "updated": self.clock()}])

    def aliases(self, model: str, segment: Segment) -> dict[str, int]:
        """The names given to versions of one segment, and the versions."""
        query = select(aliases.c.alias, aliases.c.version).where(at(aliases, Ref(model, segment)))
        with self.ledger.read() as db:
            return {row.alias: row.version for row in db.execute(query.order_by(aliases.c.alias))}

    def record_verdicts(
        self, db: Connection, judged: Sequence[tuple[ModelVersion, Sequence[Verdict]]]
    ) -> None:
        """Keep what the gates said of versions."""
        now = self.clock()
        rows = [
            {
                "model": version.model,
                "segment": segment_text(version.segment),
                "version": version.version,
                "gate": verdict.gate,
                "passed": verdict.passed,
                "reason": verdict.reason,
                "evidence": dict(verdict.evidence),
                "created": now,
            }
            for version, said in judged
            for verdict in said
        ]
        insert_many(db, verdicts, rows)

    def verdicts(self, ref: Ref) -> list[Verdict]:
        """What the gates said of a version, in the order they said it.

        Raises:
            NotFound: there is no such version.
        """
        version = self.get(ref)
        query = select(verdicts).where(at(verdicts, ref), verdicts.c.version == version.version)
        with self.ledger.read() as db:
            return [
                Verdict(row.gate, row.passed, row.reason, row.evidence)
                for row in db.execute(query.order_by(verdicts.c.id))
            ]

    # -- inside ----------------------------------------------------------------------------------------

    def _by_run(self, db: Connection, ids: Sequence[str]) -> dict[str, ModelVersion]:
        found: dict[str, ModelVersion] = {}
        for some in chunks(ids):
            rows = db.execute(select(model_versions).where(model_versions.c.run.in_(some)))
            found.update({row.run: from_row(row) for row in rows})
        return found

    def _newest(self, db: Connection, keys: set[Key]) -> defaultdict[Key, int]:
        """The highest version of each of `keys` that has one, or had: a number is not given again."""
        last: defaultdict[Key, int] = defaultdict(int)
        for some in chunks(sorted(keys)):
            for table in (model_versions, labels):
                of = (table.c.model, table.c.segment)
                query = select(*of, func.max(table.c.version)).where(near(table, some)).group_by(*of)
                for model, segment, number in db.execute(query):
                    last[model, segment] = max(last[model, segment], number)
        return last

    def _ensure_models(self, db: Connection, drafts: Sequence[Draft]) -> None:
        """Enter models that come without a definition, so that every version has a model."""
        rows: dict[str, dict[str, Any]] = {
            draft.model: {
                "name": draft.model,
                "dataset": draft.dataset,
                "target": None,
                "features": [field.name for field in draft.package.signature.inputs],
                "per": [],
                "definition": {},
                "code": draft.package.code,
                "updated": self.clock(),
            }
            for draft in drafts
        }
        upsert(db, models, list(rows.values()), keep=True)

    def _number(self, db: Connection, ref: Ref) -> int | None:
        """The version number that a reference stands for; ``None`` where it stands for none."""
        if isinstance(ref.at, int):
            return ref.at
        number = None
        if ref.at != LATEST:
            here = (at(aliases, ref), aliases.c.alias == (ref.at or CHAMPION))
            number = db.scalar(select(aliases.c.version).where(*here))
        if number is None and ref.at in (None, LATEST):
            here = (at(model_versions, ref), model_versions.c.archived.is_(None))
            number = db.scalar(select(func.max(model_versions.c.version)).where(*here))
        return number

    def _missing(self, db: Connection, ref: Ref) -> NotFound:
        """The error for a reference that names nothing, at the first part of it that is wrong."""
        number = model_versions.c.version
        count, first, last = db.execute(
            select(func.count(), func.min(number), func.max(number)).where(at(model_versions, ref))
        ).one()
        if count and isinstance(ref.at, int):
            return no_version(ref, first, last)
        if count:
            return no_alias(ref, last, self._names(db, ref))
        if db.scalar(select(models.c.name).where(models.c.name == ref.name)) is None:
            return no_model(db, ref.name)
        return no_segment(db, ref)

    def _names(self, db: Connection, ref: Ref) -> list[str]:
        query = select(aliases.c.alias).where(at(aliases, ref)).order_by(aliases.c.alias)
        return list(db.scalars(query))
