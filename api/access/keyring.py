"""The keys that are valid now, held in memory: no request waits for the database while they are fresh."""

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf

from sqlalchemy.exc import SQLAlchemyError

from registry.access import Actor
from registry.database import Sessions
from registry.errors import UnavailableError
from registry.keys import LiveKey, digest_of, is_secret, live_keys, note_use

_log = logging.getLogger(__name__)
# Older than this, the keys are read again while requests go on; older than MAX_SECONDS, requests wait for it.
FRESH_SECONDS = 0.8
# A key that was revoked stops within these; where the database cannot be asked for so long, nobody is let in.
MAX_SECONDS = 1.8
# Keys that nobody knows make no more reads than this, however many of them come.
PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 5.0
USED_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _View:
    """What one read of the keys found; began and ends are of time.monotonic."""

    began: float
    keys: Mapping[bytes, LiveKey]

    def find(self, digest: bytes, now: float) -> LiveKey | None:
        # A look-up by hash needs no constant time: what its time could tell is about the sha256 of the guess, which
        # nobody can steer towards that of a key.
        key = self.keys.get(digest)
        if key is None or now - self.began >= (inf if key.seconds_left is None else key.seconds_left):
            return None
        return key


class KeyRing:
    """Says whom a key stands for. For one event loop; it reads in a thread of its own, which no slow route can take."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._view = _View(began=-inf, keys={})
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")
        self._reading: asyncio.Task[None] | None = None
        self._reading_began = -inf
        self._forgotten_at = -inf
        self._used_at: dict[int, float] = {}

    def peek(self, secret: bytes) -> Actor | None:
        """Whom the key stands for, where that is known and fresh; `find` knows the rest."""
        now = time.monotonic()
        if now - self._view.began > FRESH_SECONDS or self._view.began < self._forgotten_at:
            return None
        key = self._view.find(digest_of(secret), now)
        return None if key is None else self._use(key, now)

    async def find(self, secret: bytes) -> Actor | None:
        """Whom the key stands for; None when it is unknown, expired or revoked.

        Raises UnavailableError where the database has not confirmed the keys for too long.
        """
        if not is_secret(secret):
            return None
        asked, digest = time.monotonic(), digest_of(secret)
        if asked - self._view.began > FRESH_SECONDS:
            self._read()
        while asked - self._view.began > MAX_SECONDS or self._view.began < self._forgotten_at:
            await self._wait(self._read())
        key = self._view.find(digest, time.monotonic())
        while key is None and self._view.began < asked:  # it may have been made just now
            await asyncio.sleep(self._reading_began + PAUSE_SECONDS - time.monotonic())
            await self._wait(self._read())
            key = self._view.find(digest, time.monotonic())
        return None if key is None else self._use(key, asked)

    def forget(self) -> None:
        """Have the next request wait for a new read: a key was just made or revoked. Any thread may call it."""
        self._forgotten_at = time.monotonic()

    def close(self) -> None:
        """End the thread, when it has written what it was asked to."""
        self._thread.shutdown()

    def _read(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading_began = time.monotonic()
            self._reading = asyncio.ensure_future(self._load(self._reading_began))
            self._reading.add_done_callback(_heed)
        return self._reading

    async def _load(self, began: float) -> None:
        keys = await asyncio.get_running_loop().run_in_executor(self._thread, self._live_keys)
        self._view = _View(began=began, keys={key.sha256: key for key in keys})

    async def _wait(self, reading: asyncio.Task[None]) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(reading), PATIENCE_SECONDS)
        except (SQLAlchemyError, TimeoutError) as error:
            raise UnavailableError(
                "keys cannot be checked while the database does not answer: try again in a moment. GET /readyz says "
                "when it is back."
            ) from error

    def _use(self, key: LiveKey, now: float) -> Actor:
        if now - self._used_at.get(key.id, -inf) >= USED_EVERY_SECONDS:
            self._used_at[key.id] = now
            self._thread.submit(self._write_use, key.id)
        return key.actor

    def _live_keys(self) -> list[LiveKey]:
        with self._sessions.begin() as session:
            return live_keys(session)

    def _write_use(self, key_id: int) -> None:
        try:
            with self._sessions.begin() as session:
                note_use(session, key_id)
        except SQLAlchemyError:
            _log.warning("when a key was last used could not be written")


def _heed(reading: asyncio.Task[None]) -> None:
    """Take note of a failed read that nobody waited for."""
    if not reading.cancelled() and reading.exception() is not None:
        _log.warning("the keys could not be read: %s", type(reading.exception()).__name__)
