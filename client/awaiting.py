"""Plans carried out on an event loop: while one waits, others go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any, Self, TypeVar

import httpx

from client.plans import Emit, Exchanges, Items, NextLine, Open, Pause, Plan, Send, Step
from client.transport import CHUNK_BYTES, TIMEOUT, settings_of

T = TypeVar("T")


class AsyncTransport:
    """One connection pool to one registry, for asyncio."""

    def __init__(self, url: str, *, key: str | None = None, first_wait_seconds: float = 0.2) -> None:
        """Open nothing yet; the key goes with every request."""
        self.exchanges = Exchanges(url, first_wait_seconds=first_wait_seconds)
        self._http = httpx.AsyncClient(timeout=TIMEOUT, **settings_of(url, key))

    async def close(self) -> None:
        """Close the pool."""
        await self._http.aclose()

    async def run(self, plan: Plan[T]) -> T:
        """Carry the plan out and return its result."""
        with closing(plan):
            async with _Steps(self._http) as steps:
                result, error = None, None
                while True:
                    try:
                        step = plan.throw(error) if error is not None else plan.send(result)
                    except StopIteration as end:
                        answer: T = end.value
                        return answer
                    result, error = await steps.take(step)

    async def iterate(self, plan: Items[T]) -> AsyncIterator[T]:
        """Carry the plan out as far as its items are asked for; yield them."""
        with closing(plan):
            async with _Steps(self._http) as steps:
                result, error = None, None
                while True:
                    try:
                        step = plan.throw(error) if error is not None else plan.send(result)
                    except StopIteration:
                        return
                    if isinstance(step, Emit):
                        yield step.item
                        result, error = None, None
                    else:
                        result, error = await steps.take(step)


class _Steps:
    """Takes the steps of one plan; holds the stream that it has open."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._stream: httpx.Response | None = None
        self._lines: AsyncIterator[str] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._stream is not None:
            await self._stream.aclose()

    async def take(self, step: Step) -> tuple[Any, BaseException | None]:
        """Return the step's result, or the error that the plan is to hear of."""
        try:
            return await self._take(step), None
        except httpx.TransportError as error:
            return None, error

    async def _take(self, step: Step) -> Any:
        match step:
            case Send():
                return await self._send(step)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Open():
                return await self._open(step)
            case NextLine():
                return None if self._lines is None else await anext(self._lines, None)

    async def _send(self, step: Send) -> httpx.Response:
        async with self._http.stream(step.method, step.path, headers=dict(step.headers), **step.options) as response:
            if step.sink is None or not response.is_success:
                await response.aread()
                return response
            step.sink.begin(response)
            async for chunk in response.aiter_bytes(CHUNK_BYTES):
                # on a thread: the loop does not wait for a disk
                await asyncio.to_thread(step.sink.write, chunk)
            return response

    async def _open(self, step: Open) -> httpx.Response:
        await self.__aexit__()
        request = self._http.build_request("GET", step.path, headers=dict(step.headers), **step.options)
        self._stream = await self._http.send(request, stream=True)
        if not self._stream.is_success:
            await self._stream.aread()
        self._lines = self._stream.aiter_lines()
        return self._stream
