"""How many changes a key may make: counted in Redis for all api processes, and in this one while Redis is away."""

import logging
import time

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from registry.bell import SOCKET_SECONDS

_log = logging.getLogger(__name__)
# Asked again after so long; until then, nobody waits for a Redis that is away.
AWAY_SECONDS = 5.0


class WriteLimit:
    """So many hits a minute for each name; 0: no limit."""

    def __init__(self, redis_url: str, per_minute: int, namespace: str = "sat-writes") -> None:
        self.per_minute = per_minute
        self._item = RateLimitItemPerMinute(max(per_minute, 1), namespace=namespace)
        self._shared = SlidingWindowCounterRateLimiter(_redis(redis_url))
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._away_until = 0.0

    def hit(self, name: str) -> int | None:
        """Count one; None, or the seconds to wait when there were too many. It never raises, nor waits for long."""
        if self.per_minute == 0:
            return None
        limiter = self._own
        if time.monotonic() >= self._away_until:
            try:
                return self._ask(self._shared, name)
            except StorageError:
                self._away_until = time.monotonic() + AWAY_SECONDS
                _log.warning("Redis is away: changes are counted by this process alone")
        return self._ask(limiter, name)

    def _ask(self, limiter: SlidingWindowCounterRateLimiter, name: str) -> int | None:
        if limiter.hit(self._item, name):
            return None
        return max(1, round(limiter.get_window_stats(self._item, name).reset_time - time.time()))


def _redis(redis_url: str) -> RedisStorage:
    url = redis_url.replace("redis+socket://", "redis+unix://", 1)
    if url.startswith("unix://"):
        url = f"redis+{url}"
    return RedisStorage(url, wrap_exceptions=True, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS)
