"""An edge of the lineage graph."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edge:
    """`source` had a part in making `target`.

    Nodes are texts: ``file:URI#DIGEST`` (of its content), ``push:ID``, ``dataset:flights@12``,
    ``code:DIGEST``, ``environment:DIGEST``, ``run:ID``, ``model:delay[UA,EWR]@3``,
    ``deployment:delay[UA,EWR]#17``.

    Attributes:
        source: What was there before.
        relation: What it did, a verb in the past: ``"ingested"``, ``"trained"``, ``"made"``, ``"deployed"``.
        target: What came of it.
    """

    source: str
    relation: str
    target: str
