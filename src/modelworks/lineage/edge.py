"""An edge of the lineage graph."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edge:
    """`source` had a part in making `target`.

    Nodes are texts: ``file:URI#DIGEST`` (of its content), ``push:ID``, ``dataset:flights@12``,
    ``code:DIGEST``, ``source:DIGEST``, ``environment:DIGEST``, ``campaign:ID``, ``run:ID``,
    ``model:delay[UA,EWR]@3``, ``verdict:delay[UA,EWR]@3#5``, ``deployment:delay[UA,EWR]#17``,
    ``prediction:ID``, ``outcome:ID``.

    Attributes:
        source: What was there before.
        relation: What it did, a verb in the past: ``"ingested"``, ``"trained"``, ``"made"``, ``"deployed"``.
        target: What came of it.
    """

    source: str
    relation: str
    target: str
