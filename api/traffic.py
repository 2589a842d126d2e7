"""What this process answered: counted on the event loop, without locks, so that a kept answer costs about nothing."""

import bisect
import time
from collections.abc import Iterable, Iterator

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Upper bounds in seconds, from a kept answer to an upload.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
MOST_PATHS = 4096
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

    def route_of(self, scope: Scope, routes: Iterable[BaseRoute]) -> str:
        """The template of the route that answers: what the router found, else (a kept answer) what it would find."""
        found = getattr(scope.get("route"), "path", None)
        if found is not None:
            return str(found)
        path: str = scope["path"]
        known = self._routes.get(path)
        if known is None:
            known = next(_matching(scope, routes), NO_ROUTE)
            if len(self._routes) < MOST_PATHS:
                self._routes[path] = known
        return known


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
                status = message["status"]
            await send(message)

        self._traffic.in_flight += 1
        try:
            await self._app(scope, receive, noting)
        finally:
            self._traffic.in_flight -= 1
            routes = scope["app"].routes if "app" in scope else ()
            route = self._traffic.route_of(scope, routes)
            self._traffic.note(scope["method"], route, status, time.perf_counter() - started)


def _matching(scope: Scope, routes: Iterable[BaseRoute]) -> Iterator[str]:
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL:
            yield str(getattr(route, "path", NO_ROUTE))
