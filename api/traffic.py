"""What this process answered: counted on the event loop, without locks, so that a kept answer costs about nothing."""

import bisect
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Upper bounds in seconds, from a kept answer to an upload.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
MOST_PATHS = 20_000
NO_ROUTE = "none"


class Tally:
    """Answers of one method, route and status: how many took how long."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0


class Traffic:
    """Counts of everything answered since the process began. For one thread: the event loop's."""

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str, int], Tally] = {}
        self.in_flight = 0
        self._routes: dict[str, str] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        tally = self.tallies.get((method, route, status))
        if tally is None:
            tally = self.tallies.setdefault((method, route, status), Tally())
        tally.buckets[bisect.bisect_left(BOUNDS, seconds)] += 1
        tally.seconds += seconds

    def route_of(self, scope: Scope, status: int) -> str:
        """The template of the route that answers. A kept answer meets no router: an earlier one had the same path."""
        path: str = scope["path"]
        found = getattr(scope.get("route"), "path", None)
        if found is None:
            return self._routes.get(path, NO_ROUTE)
        if status == 200 and path not in self._routes:  # noqa: PLR2004  OK: nothing else is kept
            if len(self._routes) >= MOST_PATHS:
                self._routes.clear()
            self._routes[path] = found
        return str(found)


class Meter:
    """Counts each request when its answer has gone out."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        self._traffic.in_flight += 1
        try:
            await self._app(scope, receive, noting)
        finally:
            self._traffic.in_flight -= 1
            route = self._traffic.route_of(scope, status)
            self._traffic.note(scope["method"], route, status, time.perf_counter() - started)
