"""Answering for challengers that cannot: with the champion, so that nobody notices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelworks.core.errors import Unfit
from modelworks.serving.arms import SLOW
from modelworks.serving.replica import Replica
from modelworks.serving.target import Job, Piece


def stand_in(jobs: Sequence[Job], predict: Callable[[Replica, list[Piece]], None]) -> None:
    """Let champions answer what others were asked and have no answer to; breakers are told how calls ended.

    Args:
        jobs: Requests whose pieces were asked.
        predict: Asks a replica for the answers of pieces.
    """
    again: dict[Replica, list[Piece]] = {}
    called: dict[int, tuple[Piece, bool]] = {}
    for job in jobs:
        for place, piece in enumerate(job.pieces):
            if piece.instead is None:
                continue
            unfit = isinstance(piece.error, Unfit)  # rows that its guard refuses are no fault of its own
            failed = piece.error is not None and not unfit
            if piece.error is not None:
                standby = piece.instead
                standby.rows = piece.rows
                if piece.arm == "challenger":
                    kind = "rejected" if unfit else "failed"
                    standby.failure, standby.seconds = f"{kind}: {piece.error}"[:500], None
                job.pieces[place] = standby
                again.setdefault(standby.replica, []).append(standby)
            elif piece.arm == "challenger" and piece.seconds is not None and piece.seconds > SLOW:
                piece.failure, failed = f"slow: it took {piece.seconds:.2f} s", True
            if piece.trial is not None and piece.arm == "challenger":
                key = id(piece.trial.breaker)
                called[key] = piece, failed or (key in called and called[key][1])
    for piece, failed in called.values():  # pieces that were asked together are one call
        assert piece.trial is not None
        piece.trial.breaker.told(failed)
    for replica, pieces in again.items():
        predict(replica, pieces)
        for piece in pieces:
            if piece.error is not None:  # the champion has none either: it is the rows' fault
                piece.failure = None
