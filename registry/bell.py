"""The bell: a Celery message that says only that a lane has work. Rows are the truth; a lost bell costs seconds."""

import contextlib
import queue
import threading

from celery import Celery
from redis import Redis
from redis.exceptions import RedisError

from registry.tables import Lane

TASK = "work"
# Bells beyond this many waiting in a lane's queue would wake nobody new.
ENOUGH_BELLS = 16
SOCKET_SECONDS = 0.5


def queue_name(lane: Lane) -> str:
    """The Celery queue of a lane, which is also its Redis list."""
    return f"sat-{lane}"


def broker_url(redis_url: str) -> str:
    """The URL as kombu takes it: a unix socket is redis+socket://."""
    return "redis+socket://" + redis_url.removeprefix("unix://") if redis_url.startswith("unix://") else redis_url


def redis_client(redis_url: str) -> Redis:
    """A client for a few quick calls; a unix socket is unix:// for redis-py."""
    url = redis_url.replace("redis+socket://", "unix://", 1)
    return Redis.from_url(url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS)


def make_celery(redis_url: str) -> Celery:
    """The Celery app that api and workers share; results are ignored, completion is a SQL count."""
    app = Celery("sat", broker=broker_url(redis_url), set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "retry_on_timeout": True,
        },
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
    )
    return app


class Bell:
    """Rings lanes from a daemon thread: `ring` neither raises nor waits, whatever state Redis is in."""

    def __init__(self, redis_url: str) -> None:
        self._celery = make_celery(redis_url)
        self._redis = redis_client(redis_url)
        self._asked: queue.SimpleQueue[Lane | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, name="bell", daemon=True)
        self._thread.start()

    def ring(self, lane: Lane) -> None:
        """Tell one worker of the lane that there is work, soon."""
        self._asked.put(lane)

    def reachable(self) -> bool:
        """Whether the broker answers within half a second."""
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False

    def close(self) -> None:
        """Send what was asked for and end the thread."""
        self._asked.put(None)
        self._thread.join(timeout=2)
        self._celery.close()
        self._redis.close()

    def _send_all(self) -> None:
        while (lane := self._asked.get()) is not None:
            # the reconciler rings again for what this loses
            with contextlib.suppress(Exception):
                if int(self._redis.llen(queue_name(lane))) < ENOUGH_BELLS:
                    self._celery.send_task(TASK, args=[lane.value], queue=queue_name(lane), retry=False)
