"""Streams of server-sent events: what changed is rendered once, however many listen, and nobody queues anything.

A stream is a coroutine that sleeps until the view is replaced and then sends the state as it is: a listener that is
slow, or away for a while, misses states in between but never the last one, and holds no more than one of them.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass

from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.types import Receive, Scope, Send

from api.budget import Budget
from registry.errors import UnavailableError
from registry.reads.snapshot import View
from registry.reads.watch import Watch

KEEP_ALIVE_SECONDS = 15.0  # proxies close a connection that says nothing for a minute or less
LEAST_SECONDS = 0.5  # between two events of a stream
RETRY_MILLISECONDS = 1000
AWAY_SECONDS = 1.0  # between two looks at a database that does not answer
# Then the listener comes back, with its key: one that was revoked meanwhile, or has run out, hears nothing more.
LONGEST_SECONDS = 120.0
MAX_LISTENERS, MAX_OF_ONE = 1000, 250  # of one process, and of one key
_FULL = f"{MAX_LISTENERS} clients follow events here already, or {MAX_OF_ONE} with this key: try again in a moment."


@dataclass(frozen=True, slots=True)
class State:
    """What a stream tells: its JSON, a tag that is equal while nothing has changed, and why it ends, if it does."""

    content: str
    tag: str
    end: str | None = None


Make = Callable[[View], State]


class EventStream(StreamingResponse):
    """An answer that is one of so many streams from before its first byte until its connection ends."""

    def __init__(self, live: "Live", holder: str, stream: AsyncIterator[bytes]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(stream, media_type="text/event-stream", headers=headers)
        self._live, self._holder = live, holder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; UnavailableError, and so 503, when there are too many streams."""
        with self._live.listeners.holding(self._holder) as held:
            held.take(1)
            await super().__call__(scope, receive, send)


class Live:
    """Wakes the streams of one process. For one event loop."""

    def __init__(self, watch: Watch, *, keep_alive_seconds: float = KEEP_ALIVE_SECONDS) -> None:
        self._watch = watch
        self._keep_alive_seconds = keep_alive_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._view: View | None = None
        self._made: dict[Hashable, asyncio.Task[State]] = {}
        self.listeners = Budget(MAX_LISTENERS, MAX_OF_ONE, _FULL)
        self._ended = False
        watch.on_change(self.wake)

    def wake(self) -> None:
        """Let every stream look again. From any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    def end(self) -> None:
        """End every stream: the process stops. Listeners come back to another, or to the next."""
        self._ended = True
        self.wake()

    def listen(self, key: Hashable, make: Make, last_id: str | None) -> AsyncIterator[bytes]:
        """The stream of the state that `make` reads off a view, which `key` names.

        last_id: of the last event received.
        """
        self._loop = asyncio.get_running_loop()
        return self._stream(key, make, last_id)

    async def _stream(self, key: Hashable, make: Make, last_id: str | None) -> AsyncIterator[bytes]:
        yield format_sse_event(data_str=None, retry=RETRY_MILLISECONDS)
        until = asyncio.get_running_loop().time() + LONGEST_SECONDS
        while not self._ended and asyncio.get_running_loop().time() < until:
            changed = self._changed  # taken before looking, so that no change falls between
            try:
                state = await self._state(key, make)
            except UnavailableError:  # the database is away: whoever listens goes on waiting for it
                yield KEEPALIVE_COMMENT
                await asyncio.sleep(AWAY_SECONDS)
                continue
            if state.tag != last_id:
                last_id = state.tag
                yield format_sse_event(data_str=state.content, event="progress", id=state.tag)
            if state.end is not None:
                yield format_sse_event(data_str=f'{{"reason": "{state.end}"}}', event="end", id=state.tag)
                return
            while not await _within(changed.wait(), self._keep_alive_seconds):
                yield KEEPALIVE_COMMENT
                if asyncio.get_running_loop().time() >= until:
                    return
                with contextlib.suppress(UnavailableError):
                    await self._state(key, make)  # says that the comparison is still looked at
            await asyncio.sleep(0 if self._ended else LEAST_SECONDS)

    async def _state(self, key: Hashable, make: Make) -> State:
        """The state in the current view, made once for all who listen to it."""
        view = await run_in_threadpool(self._watch.view) if self._view is None else self._watch.view()
        if view is not self._view:
            self._view, self._made = view, {}
        task = self._made.get(key)
        if task is None:
            task = asyncio.ensure_future(run_in_threadpool(make, view))
            self._made[key] = task
        try:
            return await asyncio.shield(task)  # one listener that leaves does not take it from the others
        except UnavailableError:
            self._made.pop(key, None)  # made anew by whoever looks next
            raise

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def tag_of(content: str) -> str:
    """A short tag of what a listener would not want to be told twice."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


async def _within(waiting: Awaitable[object], seconds: float) -> bool:
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return False
    return True
