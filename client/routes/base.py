"""What all routes are made of."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from client.plans import Emit, Exchanges, Items, Plan, Tick
from client.transport import CountedFile

PAGE = 200  # the largest page the registry gives
POLL_SECONDS = 1.0  # when a pending answer names no time
JOB_SECONDS = 120.0  # how long a light job may take before the client gives up on it


class RouteBase:
    """Plans of single exchanges, of pages and of uploads."""

    def __init__(self, exchanges: Exchanges) -> None:
        """Plan requests to the registry that `exchanges` is about."""
        self._exchanges = exchanges

    def _get(self, path: str, query: Mapping[str, Any]) -> Plan[Any]:
        return self._exchanges.answer("GET", path, params=given(query))

    def _tag(self, path: str) -> Plan[str]:
        """Return the entity tag of what is there, for If-Match."""
        response = yield from self._exchanges.request("GET", path)
        return str(response.headers.get("etag", "*"))

    def _delete(self, path: str, tag: str | None = None) -> Plan[None]:
        """Delete what has this tag (None: what is there now), and nothing that came in its place since."""
        tag = (yield from self._tag(path)) if tag is None else tag
        yield from self._exchanges.request("DELETE", path, headers={"If-Match": tag})

    def _all(self, path: str, query: Mapping[str, Any]) -> Items[Any]:
        """Emit the items of all pages; `next` is a path with the cursor in it."""
        page = yield from self._get(path, {"limit": PAGE, **query})
        while True:
            for item in page["items"]:
                yield Emit(item)
            if not page.get("next"):
                return
            page = yield from self._exchanges.answer("GET", page["next"])

    def _upload(self, path: str, metadata: Mapping[str, Any], field: str, file: Path, tick: Tick | None) -> Plan[Any]:
        with ExitStack() as stack:
            opened = stack.enter_context(file.open("rb"))
            body = opened if tick is None else CountedFile(opened, tick)
            form = {"metadata": json.dumps(metadata)}
            files: Any = {field: (file.name, body, "application/octet-stream")}
            return (yield from self._exchanges.answer("POST", path, data=form, files=files))


def given(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the query without what is None."""
    return {name: value for name, value in query.items() if value is not None}


def in_path(name: str) -> str:
    """Return the name as one part of a path."""
    return quote(name, safe="@~")
