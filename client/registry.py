"""A registry over HTTP: one method a route.

    with Registry("http://127.0.0.1:8000") as registry:
        for model in registry.models(state="ready"):
            print(model["name"], model["accuracy"])

Answers are the registry's JSON, typed in client/shapes.py. Every read takes `image_set` and `protocol` where a
comparison other than the default one is meant. Every method raises RegistryError with the registry's own sentence,
or UnreachableError.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote

import httpx

from client.errors import BusyError, NotFoundError
from client.shapes import (
    Agreement,
    Clusters,
    Comparison,
    Ensemble,
    ImageSet,
    Job,
    Jobs,
    Matrix,
    ModelDetail,
    ModelSummary,
    Pair,
    Similar,
    Teachers,
    Worker,
)
from client.transport import CountedFile, Tick, Transport

PAGE = 200  # the largest page the registry gives
POLL_SECONDS = 1.0  # when a pending answer names no time
JOB_SECONDS = 120.0  # how long a light job may take before the client gives up on it


class Registry:
    """A synchronous client; close it, or use it as a context manager."""

    def __init__(self, url: str, *, first_wait_seconds: float = 0.2) -> None:
        """Open nothing yet; first_wait_seconds is the pause before the first repetition of a failed request."""
        self.url = url.rstrip("/")
        self._transport = Transport(self.url, first_wait_seconds=first_wait_seconds)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # ---- models

    def models(self, **filters: Any) -> Iterator[ModelSummary]:
        """Yield all models that pass the filters (state, tag, family, base, architecture, q, sort)."""
        return cast("Iterator[ModelSummary]", self._all("/models", filters))

    def model(self, name: str, **comparison: Any) -> ModelDetail:
        """Return one model in full; name may be a name, an alias or @digest."""
        return cast("ModelDetail", self._get(f"/models/{_path(name)}", comparison))

    def register(
        self, metadata: Mapping[str, Any], checkpoint: Path | None = None, tick: Tick | None = None
    ) -> ModelDetail:
        """Register a model: its checkpoint (.safetensors) is streamed; without one, metadata names `pretrained`.

        The same model again is harmless; the same name with other content raises ConflictError.
        """
        if checkpoint is None:
            return cast("ModelDetail", self._transport.answer("POST", "/models", json=metadata))
        return cast("ModelDetail", self._upload("/models", metadata, "checkpoint", checkpoint, tick))

    def checkpoint(self, name: str, to: Path, tick: Tick | None = None) -> Path:
        """Write the model's weights to the file `to` (safetensors), whole or not at all, and return it."""
        return self._transport.download(f"/models/{_path(name)}/checkpoint", to, tick)

    def delete_model(self, name: str) -> None:
        """Take the model out of every answer and free its name."""
        self._transport.request("DELETE", f"/models/{_path(name)}")

    def retry(self, name: str) -> ModelDetail:
        """Let a failed model's work be tried again."""
        return cast("ModelDetail", self._transport.answer("POST", f"/models/{_path(name)}/retry"))

    # ---- similarity

    def similar(self, name: str, **query: Any) -> Similar:
        """Return the nearest (order="farthest": farthest) k models."""
        return cast("Similar", self._get(f"/similar/{_path(name)}", query))

    def pair(self, a: str, b: str, **comparison: Any) -> Pair:
        """Return one pair in full; `sat` is None with a `reason` where it is not measured."""
        return cast("Pair", self._get(f"/pairs/{_path(a)}/{_path(b)}", comparison))

    def matrix(self, **comparison: Any) -> Matrix:
        """Return the whole matrix."""
        return cast("Matrix", self._get("/matrix", {"format": "json", **comparison}))

    def matrix_csv(self, **comparison: Any) -> str:
        """Return the whole matrix as CSV: the first row and column hold names."""
        return self._transport.request("GET", "/matrix", params=_given({"format": "csv", **comparison})).text

    def clusters(self, *, wait_seconds: float = JOB_SECONDS, **query: Any) -> Clusters:
        """Return the clusters (k, or as many as the registry suggests), waiting while a worker computes them.

        When the time is over, or wait_seconds is 0, they may still be `stale`: of an older version.

        Raises:
            ConflictError: pairs are missing.
            BusyError: no worker has computed any within wait_seconds.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            response = self._transport.request("GET", "/clusters", params=_given(query))
            found = cast("Clusters", response.json())
            there = response.status_code != httpx.codes.ACCEPTED
            late = time.monotonic() >= deadline
            if there and (late or not found["stale"]):
                return found
            if late:
                detail = "No worker has computed the clusters yet: see `sat workers`, then ask again."
                raise BusyError(503, {"detail": detail})
            time.sleep(float(response.headers.get("retry-after", POLL_SECONDS)))

    def agreement(self, first: str, second: str) -> Agreement:
        """Return how far two comparisons, named <image set>/<protocol>, rank pairs alike."""
        return cast("Agreement", self._get("/agreement", {"comparisons": f"{first},{second}"}))

    # ---- recommendations

    def ensemble(self, *, wait_seconds: float = JOB_SECONDS, **query: Any) -> Ensemble:
        """Return n members that fail apart, waiting at most wait_seconds for what the ensemble is worth.

        When the time is over, or wait_seconds is 0, `evaluated` may still be "pending".
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            ensemble = cast("Ensemble", self._get("/recommend/ensemble", query))
            if ensemble["evaluated"] != "pending" or time.monotonic() >= deadline:
                return ensemble
            time.sleep(POLL_SECONDS)

    def teacher(self, student: str, **query: Any) -> Teachers:
        """Return k teachers for the student, the default suggestion marked."""
        return cast("Teachers", self._get("/recommend/teacher", {"student": student, **query}))

    # ---- what is compared on, and how

    def image_sets(self) -> Iterator[ImageSet]:
        """Yield all image sets."""
        return cast("Iterator[ImageSet]", self._all("/image-sets", {}))

    def image_set(self, name: str) -> ImageSet:
        """Return one image set without its content."""
        return cast("ImageSet", self._get(f"/image-sets/{_path(name)}", {}))

    def create_image_set(self, metadata: Mapping[str, Any], content: Path, tick: Tick | None = None) -> ImageSet:
        """Send an image set (.safetensors with `images` and `labels`); the same again is harmless."""
        return cast("ImageSet", self._upload("/image-sets", metadata, "content", content, tick))

    def image_set_content(self, name: str, to: Path, tick: Tick | None = None) -> Path:
        """Write the image set's content to the file `to` (safetensors), whole or not at all, and return it."""
        return self._transport.download(f"/image-sets/{_path(name)}/content", to, tick)

    def protocols(self) -> Iterator[dict[str, Any]]:
        """Yield all protocols."""
        return self._all("/protocols", {})

    def attacks(self) -> list[dict[str, Any]]:
        """Return the attacks that a protocol can be made of, those that cannot be run with the reason."""
        return cast("list[dict[str, Any]]", self._get("/protocols/attacks", {})["items"])

    def create_protocol(self, protocol: Mapping[str, Any]) -> dict[str, Any]:
        """Create a protocol; the same name with other parameters raises ConflictError."""
        return cast("dict[str, Any]", self._transport.answer("POST", "/protocols", json=protocol))

    def comparisons(self) -> Iterator[Comparison]:
        """Yield all comparisons."""
        return cast("Iterator[Comparison]", self._all("/comparisons", {}))

    def comparison(self, image_set: str, protocol: str) -> Comparison:
        """Return one comparison, with its progress.

        Raises:
            NotFoundError: nothing is measured on this image set with this protocol.
        """
        found = [one for one in self.comparisons() if (one["image_set"], one["protocol"]) == (image_set, protocol)]
        if not found:
            raise NotFoundError(404, {"detail": f"There is no comparison {image_set}/{protocol}."})
        return found[0]

    def compare(self, image_set: str, protocol: str, *, state: str, default: bool | None = None) -> Comparison:
        """Make the comparison, or bring the existing one into this state; default=None leaves that as it is."""
        wanted = _given({"state": state, "default": default})
        try:
            present = self.comparison(image_set, protocol)
        except NotFoundError:
            body = {"image_set": image_set, "protocol": protocol, **wanted}
            return cast("Comparison", self._transport.answer("POST", "/comparisons", json=body))
        if all(present[field] == value for field, value in wanted.items()):  # type: ignore[literal-required]  # both are fields
            return present
        path = f"/comparisons/{_path(image_set)}/{_path(protocol)}"
        return cast("Comparison", self._transport.answer("PATCH", path, json=wanted))

    # ---- what is going on

    def jobs(self, **query: Any) -> Jobs:
        """Return one page of jobs (state, kind, limit) with counts of all and an estimate of the time left."""
        return cast("Jobs", self._get("/jobs", query))

    def all_jobs(self, **query: Any) -> Iterator[Job]:
        """Yield all jobs that pass the filters (state, kind)."""
        return cast("Iterator[Job]", self._all("/jobs", query))

    def workers(self) -> Iterator[Worker]:
        """Yield all workers, those that have gone included."""
        return cast("Iterator[Worker]", self._all("/workers", {}))

    def ready(self) -> dict[str, Any]:
        """Return the registry's own checks; BusyError when it is not ready."""
        return cast("dict[str, Any]", self._get("/readyz", {}))

    def _get(self, path: str, query: Mapping[str, Any]) -> Any:
        return self._transport.answer("GET", path, params=_given(query))

    def _all(self, path: str, query: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the items of all pages; `next` is a path with the cursor in it."""
        page = self._get(path, {"limit": PAGE, **query})
        while True:
            yield from page["items"]
            if not page.get("next"):
                return
            page = self._transport.answer("GET", page["next"])

    def _upload(self, path: str, metadata: Mapping[str, Any], field: str, file: Path, tick: Tick | None) -> Any:
        with ExitStack() as stack:
            opened = stack.enter_context(file.open("rb"))
            body = opened if tick is None else CountedFile(opened, tick)
            form = {"metadata": json.dumps(metadata)}
            files: Any = {field: (file.name, body, "application/octet-stream")}
            return self._transport.answer("POST", path, data=form, files=files)


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the query without what is None."""
    return {name: value for name, value in query.items() if value is not None}


def _path(name: str) -> str:
    return quote(name, safe="@")
