"""Looking models and versions up by what people say of them: the rows that conditions over the tables pick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from modelworks.core.ref import Ref, segment_text
from modelworks.registry.labels import WHOLE
from modelworks.registry.model_version import ModelVersion
from modelworks.registry.rows import from_row
from modelworks.stores.ledger.tables import arrivals, labels, model_versions, models

MODEL_COLUMNS: dict[str, ColumnElement[Any]] = {
    "name": models.c.name,
    "created": func.coalesce(labels.c.created, models.c.updated),
    "updated": func.coalesce(labels.c.updated, models.c.updated),
}
VERSION_COLUMNS: dict[str, ColumnElement[Any]] = {
    "model": model_versions.c.model,
    "segment": model_versions.c.segment,
    "version": model_versions.c.version,
    "run": func.coalesce(arrivals.c.run, model_versions.c.run),
    "source": arrivals.c.source,
    "created": model_versions.c.created,
    "updated": func.coalesce(labels.c.updated, model_versions.c.created),
}
TAGS = labels.c.tags
"""What a condition or a key may be about."""


def find_models(
    db: Connection, where: ColumnElement[bool], order: Sequence[Any], skip: int, most: int
) -> list[str]:
    """The names of models that fulfil a condition."""
    mine = and_(labels.c.model == models.c.name, labels.c.segment == "", labels.c.version == WHOLE)
    query = select(models.c.name).join(labels, mine, isouter=True).where(where)
    return list(db.scalars(query.order_by(*order, models.c.name).offset(skip).limit(most)))


def find_versions(
    db: Connection, where: ColumnElement[bool], order: Sequence[Any], skip: int, most: int
) -> list[ModelVersion]:
    """The versions that fulfil a condition."""
    v = model_versions.c

    def same(other: Any) -> ColumnElement[bool]:
        return and_(other.c.model == v.model, other.c.segment == v.segment, other.c.version == v.version)

    query = select(model_versions).join(labels, same(labels), isouter=True)
    query = query.join(arrivals, same(arrivals), isouter=True).where(where)
    query = query.order_by(*order, v.model, v.segment, v.version.desc())
    return [from_row(row) for row in db.execute(query.offset(skip).limit(most))]


def newest(db: Connection, ref: Ref, stages: Sequence[str] = ()) -> list[ModelVersion]:
    """The newest version of a model or segment in each stage, or in each of some stages."""
    v = model_versions.c
    same = and_(labels.c.model == v.model, labels.c.segment == v.segment, labels.c.version == v.version)
    stage = func.coalesce(labels.c.stage, "")
    each = select(func.max(v.version).label("version")).join(labels, same, isouter=True)
    each = each.where(v.model == ref.name, v.segment == segment_text(ref.segment)).group_by(stage)
    if stages:
        each = each.where(stage.in_(stages))
    wanted = select(model_versions).where(
        v.model == ref.name, v.segment == segment_text(ref.segment), v.version.in_(each)
    )
    return [from_row(row) for row in db.execute(wanted.order_by(v.version))]


def exists(db: Connection, ref: Ref) -> bool:
    """Whether there is such a model, and of a segment, such a segment."""
    if not ref.segment:
        return db.scalar(select(models.c.name).where(models.c.name == ref.name)) is not None
    here = (model_versions.c.model == ref.name, model_versions.c.segment == segment_text(ref.segment))
    return db.scalar(select(model_versions.c.version).where(*here).limit(1)) is not None
