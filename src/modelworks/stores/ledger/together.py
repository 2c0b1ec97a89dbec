"""Small transactions of many callers, committed together: a commit waits for the disk, whatever its size."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
_MOST = 100


@dataclass(eq=False)
class _Ticket:
    work: Callable[[Connection], Any]
    done: bool = False
    result: Any = None
    error: BaseException | None = None


class Together:
    """Does what comes while a commit is under way in the next one, in the order in which it came.

    Whoever finds nobody at it does what waits, his own and that of others, who only take the result. Each piece
    is a savepoint of its own: what fails undoes nothing of the others.

    Args:
        write: Opens a transaction.
    """

    def __init__(self, write: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._write = write
        self._turn = threading.Lock()
        self._waiting: list[_Ticket] = []

    def __call__(self, work: Callable[[Connection], T]) -> T:
        """Do a piece of work in a transaction; when this returns, it is committed.

        Raises:
            BaseException: what the work raised, or the commit.
        """
        mine = _Ticket(work)
        self._waiting.append(mine)
        with self._turn:
            if not mine.done:
                taken = self._waiting[:_MOST]
                del self._waiting[: len(taken)]
                if mine not in taken:  # more wait than fit: one's own must not be left to nobody
                    self._waiting.remove(mine)
                    taken.append(mine)
                self._do(taken)
        if mine.error is not None:
            raise mine.error
        return mine.result  # type: ignore[no-any-return]

    def _do(self, taken: list[_Ticket]) -> None:
        try:
            with self._write() as db:
                for one in taken:
                    try:
                        with db.begin_nested():
                            one.result = one.work(db)
                    except Exception as error:
                        one.error = error
        except BaseException as error:
            for one in taken:
                one.error = one.error or error
            if not isinstance(error, Exception):
                raise
        finally:
            for one in taken:
                one.done = True
