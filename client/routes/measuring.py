"""What is compared on, and how; what is going on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from client.errors import NotFoundError
from client.plans import Emit, Items, Plan, Tick
from client.routes.base import RouteBase, given, in_path
from client.shapes import Comparison, ImageSet, Job, Jobs, RegistrationPlan, Worker


class MeasuringRoutes(RouteBase):
    """`/image-sets`, `/protocols`, `/comparisons`, `/jobs`, `/workers`, `/readyz`."""

    def image_sets(self) -> Items[ImageSet]:
        """Yield all image sets."""
        return self._all("/image-sets", {})

    def image_set(self, name: str) -> Plan[ImageSet]:
        """Return one image set without its content."""
        return self._get(f"/image-sets/{in_path(name)}", {})

    def create_image_set(self, metadata: Mapping[str, Any], content: Path, tick: Tick | None = None) -> Plan[ImageSet]:
        """Send an image set (.safetensors with `images` and `labels`); the same again is harmless."""
        return self._upload("/image-sets", metadata, "content", content, tick)

    def image_set_content(self, name: str, to: Path, tick: Tick | None = None) -> Plan[Path]:
        """Write the image set's content to the file `to` (safetensors), whole or not at all, and return it."""
        return self._exchanges.download(f"/image-sets/{in_path(name)}/content", to, tick)

    def protocols(self) -> Items[dict[str, Any]]:
        """Yield all protocols."""
        return self._all("/protocols", {})

    def attacks(self) -> Plan[list[dict[str, Any]]]:
        """Return the attacks that a protocol can be made of, those that cannot be run with the reason."""
        return (yield from self._get("/protocols/attacks", {}))["items"]  # type: ignore[no-any-return]  # JSON

    def create_protocol(self, protocol: Mapping[str, Any]) -> Plan[dict[str, Any]]:
        """Create a protocol; the same name with other parameters raises ConflictError."""
        return self._exchanges.answer("POST", "/protocols", json=protocol)

    def comparisons(self) -> Items[Comparison]:
        """Yield all comparisons."""
        return self._all("/comparisons", {})

    def comparison(self, image_set: str, protocol: str) -> Plan[Comparison]:
        """Return one comparison, with its progress.

        Raises:
            NotFoundError: nothing is measured on this image set with this protocol.
        """
        found: list[Comparison] = yield from self._collected("/comparisons")
        for one in found:
            if (one["image_set"], one["protocol"]) == (image_set, protocol):
                return one
        raise NotFoundError(404, {"detail": f"There is no comparison {image_set}/{protocol}."})

    def compare(self, image_set: str, protocol: str, *, state: str, default: bool | None = None) -> Plan[Comparison]:
        """Make the comparison, or bring the existing one into this state; default=None leaves that as it is."""
        wanted = given({"state": state, "default": default})
        try:
            present = yield from self.comparison(image_set, protocol)
        except NotFoundError:
            body = {"image_set": image_set, "protocol": protocol, **wanted}
            return (yield from self._exchanges.answer("POST", "/comparisons", json=body))  # type: ignore[no-any-return]  # JSON
        if all(present[field] == value for field, value in wanted.items()):  # type: ignore[literal-required]  # both are fields
            return present
        path = f"/comparisons/{in_path(image_set)}/{in_path(protocol)}"
        return (yield from self._exchanges.answer("PATCH", path, json=wanted))  # type: ignore[no-any-return]  # JSON

    def jobs(self, /, **query: Any) -> Plan[Jobs]:
        """Return one page of jobs (state, kind, limit) with counts of all and an estimate of the time left."""
        return self._get("/jobs", query)

    def all_jobs(self, /, **query: Any) -> Items[Job]:
        """Yield all jobs that pass the filters (state, kind)."""
        return self._all("/jobs", query)

    def workers(self, *, everyone: bool = False) -> Items[Worker]:
        """Yield the workers that are there; everyone: also those that have left, or were silent for an hour."""
        return self._all("/workers", {"all": "true"} if everyone else {})

    def worker(self, worker: int) -> Plan[Worker]:
        """Return one worker."""
        return self._get(f"/workers/{worker}", {})

    def change_worker(self, worker: int, wish: str) -> Plan[Worker]:
        """Have a worker run, pause (after the result at hand) or drain (end after its job)."""
        return self._exchanges.answer("PATCH", f"/workers/{worker}", json={"wish": wish})

    def plan(self, models: Sequence[Mapping[str, Any]], /, **comparison: Any) -> Plan[RegistrationPlan]:
        """Return what registering these models would cost, each as `register` takes it; nothing is started.

        An entry may hold checkpoint_bytes and checkpoint_sha256 of the file that would be sent.
        """
        body = {"models": list(models)}
        return self._exchanges.answer("POST", "/plan", json=body, params=given(comparison))

    def ready(self) -> Plan[dict[str, Any]]:
        """Return the registry's own checks; BusyError when it is not ready."""
        return self._get("/readyz", {})

    def _collected(self, path: str) -> Plan[list[Any]]:
        """Return the items of all pages as a list."""
        items: list[Any] = []
        result = None
        pages = self._all(path, {})
        while True:
            try:
                step = pages.send(result)
            except StopIteration:
                return items
            if isinstance(step, Emit):
                items.append(step.item)
                result = None
            else:
                result = yield step
