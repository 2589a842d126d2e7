"""Models: registering, changing, following, fetching, deleting."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from client import pieces
from client.errors import RegistryError
from client.events import Event, EventParser
from client.plans import ATTEMPTS, Emit, Items, NextLine, Open, Pause, Plan, Tick
from client.routes.base import RouteBase, given, in_path
from client.shapes import ModelDetail, ModelSummary

STALE = 412


class ModelRoutes(RouteBase):
    """`/models` and `/events`."""

    def models(self, /, **filters: Any) -> Items[ModelSummary]:
        """Yield all models that pass the filters.

        These are state, tag, family, base, architecture, owner, min_accuracy, max_accuracy, q and deleted; sort orders.
        """
        return self._all("/models", filters)

    def model(self, /, name: str, **comparison: Any) -> Plan[ModelDetail]:
        """Return one model in full; name may be a name, an alias or @digest."""
        return self._get(f"/models/{in_path(name)}", comparison)

    def register(
        self, metadata: Mapping[str, Any], checkpoint: Path | None = None, tick: Tick | None = None
    ) -> Plan[ModelDetail]:
        """Register a model: its checkpoint is streamed, a large one in pieces that survive a broken connection.

        Without a checkpoint, metadata names `pretrained` or `source`. The same model again is harmless; the same name
        with other content raises ConflictError.
        """
        if checkpoint is not None and checkpoint.stat().st_size < pieces.RESUMABLE_BYTES:
            model: ModelDetail = yield from self._upload("/models", metadata, "checkpoint", checkpoint, tick)
            return model
        upload = {}
        if checkpoint is not None:
            upload["upload"] = yield from pieces.send_in_pieces(self._exchanges, checkpoint, tick)
        registered: ModelDetail = yield from self._exchanges.answer("POST", "/models", json={**metadata, **upload})
        return registered

    def change_model(self, name: str, change: Mapping[str, Any], *, revision: int | None = None) -> Plan[ModelDetail]:
        """Change what describes a model: description, tags, card, license, expected_accuracy, state, last_rung.

        With a revision, as `model` gave it, the change is refused (RegistryError with status 412) where somebody else
        has changed the model since; without one it is made on top of whatever is there.
        """
        for attempts_left in range(ATTEMPTS - 1, -1, -1):
            tag = f'"{revision}"' if revision is not None else (yield from self._tag(f"/models/{in_path(name)}"))
            headers = {"If-Match": tag}
            try:
                changed: ModelDetail = yield from self._exchanges.answer(
                    "PATCH", f"/models/{in_path(name)}", json=change, headers=headers
                )
            except RegistryError as error:
                if error.status != STALE or revision is not None or not attempts_left:
                    raise
            else:
                return changed
        raise AssertionError("the last attempt returns or raises")

    def checkpoint(self, name: str, to: Path, tick: Tick | None = None) -> Plan[Path]:
        """Write the model's weights to the file `to` (safetensors), whole or not at all, and return it."""
        return self._exchanges.download(f"/models/{in_path(name)}/checkpoint", to, tick)

    def card(self, name: str, *, html: bool = False) -> Plan[str]:
        """Return the model's card: its Markdown, or that as HTML without anything that a page could run."""
        kind = "text/html" if html else "text/markdown"
        answer = yield from self._exchanges.request("GET", f"/models/{in_path(name)}/card", headers={"Accept": kind})
        return answer.text

    def delete_model(self, name: str, *, revision: int | None = None) -> Plan[None]:
        """Take the model out of every answer and free its name.

        RegistryError with status 412 where it is at another revision, or another one has its name by now.
        """
        return self._delete(f"/models/{in_path(name)}", None if revision is None else f'"{revision}"')

    def restore_model(self, name: str) -> Plan[ModelDetail]:
        """Bring a deleted model back, named as it was, or by the `reference` that models(deleted=True) gives."""
        return self._exchanges.answer("POST", f"/models/{in_path(name)}/restore")

    def retry(self, name: str) -> Plan[ModelDetail]:
        """Let a failed model's work be tried again."""
        return self._exchanges.answer("POST", f"/models/{in_path(name)}/retry")

    def model_events(self, /, name: str, **comparison: Any) -> Items[Event]:
        """Yield the model's progress whenever it changes, until it is measured, failed or deleted (kind "end")."""
        return self._events(f"/models/{in_path(name)}/events", comparison)

    def events(self) -> Items[Event]:
        """Yield how far the whole registry is, whenever that changes; it never ends."""
        return self._events("/events", {})

    def _events(self, path: str, query: Mapping[str, Any]) -> Items[Event]:
        """Follow a stream; where its connection breaks, go on after the last event that came."""
        last, failures = "", 0
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                self._exchanges.checked((yield Open(path=path, options={"params": given(query)}, headers=headers)))
                parser = EventParser()
                while (line := (yield NextLine())) is not None:
                    event = parser.take(line)
                    if event is None:
                        continue
                    last, failures = event.id or last, 0
                    yield Emit(event)
                    if event.kind == "end":
                        return
            except httpx.TransportError as error:
                failures += 1
                if failures >= ATTEMPTS:
                    raise self._exchanges.unreachable(error) from error
            yield Pause(min(2**failures / 10, 5))
