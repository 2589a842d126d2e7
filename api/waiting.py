"""Requests that wait for an analysis: one question to the database for all of them, however many wait."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.concurrency import run_in_threadpool

from registry.analyses import AnalysisKey, find_analyses, is_fresh
from registry.database import Sessions
from registry.tables import AnalysisRow

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Waiter:
    key: AnalysisKey
    version: int
    done: "asyncio.Future[AnalysisRow]"


class Waiters:
    """Those who wait in this process. For one event loop."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._waiting: set[_Waiter] = set()
        self._task: asyncio.Task[None] | None = None
        self.looks = 0  # at the database, so far

    async def wait(self, key: AnalysisKey, version: int, seconds: float) -> AnalysisRow | None:
        """The analysis as soon as it is fresh for that version; None when it is not within the time."""
        waiter = _Waiter(key, version, asyncio.get_running_loop().create_future())
        self._waiting.add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            return await asyncio.wait_for(waiter.done, seconds)
        except TimeoutError:
            return None
        finally:
            self._waiting.discard(waiter)

    async def end(self) -> None:
        """Look no more; a look that is under way is over when this returns, and its connection given back."""
        self._waiting.clear()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(POLL_SECONDS)
            waiting = tuple(self._waiting)
            try:
                rows = await run_in_threadpool(self._find, frozenset(waiter.key for waiter in waiting))
            except Exception as error:  # noqa: BLE001  whatever it is, those who wait are told
                for waiter in waiting:
                    if not waiter.done.done():
                        waiter.done.set_exception(error)
                continue
            for waiter in waiting:
                row = rows.get(waiter.key)
                if row is not None and is_fresh(row, waiter.version) and not waiter.done.done():
                    waiter.done.set_result(row)

    def _find(self, keys: frozenset[AnalysisKey]) -> Mapping[Any, AnalysisRow]:
        self.looks += 1
        with self._sessions.begin() as session:
            return find_analyses(session, keys)
