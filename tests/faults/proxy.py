"""A TCP proxy that can be told to cut, hold up and refuse connections: the network between a process and a server."""

import asyncio
import contextlib
import threading
import time
from pathlib import Path
from typing import Self

CHUNK = 1 << 16

Upstream = Path | tuple[str, int]


class Network:
    """The event loop, in a thread of its own, that all proxies of a run share."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        """Begin to forward."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End all connections and the thread."""
        asyncio.run_coroutine_threadsafe(self._end_tasks(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def proxy(self, name: str, upstream: Upstream) -> "Proxy":
        """A proxy on a free port of loopback, in front of a unix socket or of a host and port."""
        proxy = Proxy(name, upstream, self._loop)
        self._proxies.append(proxy)
        asyncio.run_coroutine_threadsafe(proxy.listen(), self._loop).result(timeout=10)
        return proxy

    async def _end_tasks(self) -> None:
        for proxy in self._proxies:
            proxy.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Proxy:
    """One proxy. Its faults may be ordered from any thread, and end by themselves."""

    def __init__(self, name: str, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.port = 0
        self._upstream = upstream
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._delay_seconds = 0.0
        self._delayed_until = self._refusing_until = 0.0

    async def listen(self) -> None:
        """Take connections; `port` is known afterwards."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    def cut(self) -> int:
        """Reset every connection; new ones are taken. Return how many there were."""
        return asyncio.run_coroutine_threadsafe(self._abort_all(), self._loop).result(timeout=10)

    def delay(self, each_seconds: float, for_seconds: float) -> int:
        """Hold every piece up for a while, in both directions. Return how many connections there are."""
        self._delay_seconds, self._delayed_until = each_seconds, time.monotonic() + for_seconds
        return len(self._writers)

    def refuse(self, for_seconds: float) -> int:
        """Reset every connection, and new ones as soon as they come. Return how many there were."""
        self._refusing_until = time.monotonic() + for_seconds
        return self.cut()

    def heal(self) -> None:
        """Forward as if nothing had been."""
        self._delayed_until = self._refusing_until = 0.0

    async def _abort_all(self) -> int:
        for writer in self._writers:
            writer.transport.abort()
        return len(self._writers)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if time.monotonic() < self._refusing_until:
                return
            far_reader, far_writer = await self._open()
        except OSError:  # the server is down: so is this connection
            return
        else:
            self._writers.add(far_writer)
            try:
                await self._forward(reader, writer, far_reader, far_writer)
            finally:
                self._drop(far_writer)
        finally:
            self._drop(writer)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(str(self._upstream))
        return await asyncio.open_connection(*self._upstream)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        """Both directions, until either end closes or breaks."""
        pumps = {
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(CHUNK):
                if time.monotonic() < self._delayed_until:
                    await asyncio.sleep(self._delay_seconds)
                writer.write(piece)
                await writer.drain()

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        # what is still to be sent is sent; a connection that was cut has nothing left
        writer.close()
