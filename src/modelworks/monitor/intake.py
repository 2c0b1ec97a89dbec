"""When somebody should know about what comes in, or does not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from modelworks.core.errors import ModelworksError
from modelworks.data.contract import Rejected
from modelworks.data.version import IngestReport
from modelworks.monitor.alerting import Finding, Kind

KINDS: frozenset[Kind] = frozenset({"source", "quarantine", "lost", "contract"})
"""What is judged when something came in, or should have."""
RECENT = timedelta(hours=1)
"""How far back refused rows are looked at."""
REMEMBERED = timedelta(days=1)
"""How long an alert about lost messages stays open."""
_NAMED = 3


@dataclass(frozen=True)
class Intake:
    """What came into one dataset in the time of `RECENT`.

    Attributes:
        added: Rows that fit the contract.
        refused: Rows that did not.
        reasons: What was said of those most often, the most frequent first.
    """

    added: int
    refused: int
    reasons: tuple[str, ...] = ()


def about(dataset: str) -> str:
    """What an alert about a dataset is filed under; no model can have this name."""
    return f"dataset:{dataset}"


def findings(dataset: str, told: IngestReport | ModelworksError, recent: Intake) -> list[Finding]:
    """All that there is to say.

    Args:
        dataset: Its name.
        told: How the last ingest ended.
        recent: What came in lately, the last ingest included.
    """
    found = []
    if isinstance(told, Rejected):
        found.append(Finding((), "contract", "critical", f"nothing was let into {dataset}: {told}"))
    elif isinstance(told, ModelworksError):
        found.append(Finding((), "source", "critical", f"nothing comes into {dataset}: {told}"))
    else:
        if told.failed:
            some = "; ".join(list(told.failed.values())[:_NAMED])
            parts = f"{len(told.failed)} part{'' if len(told.failed) == 1 else 's'}"
            found.append(
                Finding(
                    (), "source", "critical", f"{parts} of the source of {dataset} cannot be read: {some}"
                )
            )
        if told.refused:
            found.append(Finding((), "contract", "critical", told.refused))
        elif told.warnings:
            some = "; ".join(
                f"{what} ({rows:,} rows)" if rows else what
                for what, rows in list(told.warnings.items())[:_NAMED]
            )
            message = f"{dataset}@{told.version} came in, though something is wrong: {some}"
            found.append(Finding((), "contract", "warning", message, dict(told.warnings)))
        if told.lost:
            found.append(Finding((), "lost", "critical", "; ".join(told.lost)))
    if recent.refused:
        share = recent.refused / (recent.refused + recent.added)
        why = f": {'; '.join(recent.reasons[:_NAMED])}" if recent.reasons else ""
        message = (
            f"{recent.refused:,} rows of {dataset} ({share:.1%}) broke the contract in the last hour{why}"
        )
        found.append(
            Finding((), "quarantine", "warning", message, {"refused": recent.refused, "added": recent.added})
        )
    return found
