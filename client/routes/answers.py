"""What the registry is for: similarity, clusters, recommendations."""

import time
from pathlib import Path
from typing import Any

import httpx

from client.errors import BusyError
from client.plans import Items, Pause, Plan, Tick, late, retry_after
from client.routes.base import JOB_SECONDS, POLL_SECONDS, RouteBase, given, in_path
from client.shapes import Agreement, Clusters, Ensemble, Importance, Map, Matrix, Pair, PairRecord, Similar, Teachers


class AnswerRoutes(RouteBase):
    """`/similar`, `/pairs`, `/matrix`, `/clusters`, `/map`, `/importance`, `/agreement`, `/recommend`."""

    def similar(self, /, name: str, **query: Any) -> Plan[Similar]:
        """Return the nearest (order="farthest": farthest) k models."""
        return self._get(f"/similar/{in_path(name)}", query)

    def pairs(self, /, **filters: Any) -> Items[PairRecord]:
        """Yield all recorded pairs that pass the filters: model, obtained, flag, min_sat, max_sat."""
        return self._all("/pairs", filters)

    def pair(self, /, a: str, b: str, **comparison: Any) -> Plan[Pair]:
        """Return one pair in full; `sat` is None with a `reason` where it is not measured."""
        return self._get(f"/pairs/{in_path(a)}/{in_path(b)}", comparison)

    def matrix(self, /, **comparison: Any) -> Plan[Matrix]:
        """Return the whole matrix."""
        return self._get("/matrix", {"format": "json", **comparison})

    def matrix_csv(self, /, **comparison: Any) -> Plan[str]:
        """Return the whole matrix as CSV: the first row and column hold names."""
        answer = yield from self._exchanges.request("GET", "/matrix", params=given({"format": "csv", **comparison}))
        return answer.text

    def matrix_file(self, /, to: Path, tick: Tick | None = None, *, file_format: str, **comparison: Any) -> Plan[Path]:
        """Write the whole matrix to the file `to` as csv, npz or parquet, whole or not at all, and return it."""
        query = httpx.QueryParams(given({"format": file_format, **comparison}))
        return self._exchanges.download(f"/matrix?{query}", to, tick)

    def clusters(self, /, *, wait_seconds: float = JOB_SECONDS, **query: Any) -> Plan[Clusters]:
        """Return the clusters (k, or as many as the registry suggests), waiting while a worker computes them.

        When the time is over, or wait_seconds is 0, they may still be `stale`: of an older version.

        Raises:
            ConflictError: pairs are missing.
            BusyError: no worker has computed any within wait_seconds.
        """
        return self._computed("/clusters", "the clusters", query, wait_seconds)

    def map(self, /, *, wait_seconds: float = JOB_SECONDS, **comparison: Any) -> Plan[Map]:
        """Return a place in the plane for each model, waiting and raising as `clusters` does."""
        return self._computed("/map", "the map", comparison, wait_seconds)

    def importance(self, /, *, wait_seconds: float = JOB_SECONDS, **comparison: Any) -> Plan[Importance]:
        """Return which components matter, with the quality of the fit, waiting and raising as `clusters` does."""
        return self._computed("/importance", "the importance of components", comparison, wait_seconds)

    def _computed(self, path: str, what: str, query: dict[str, Any], wait_seconds: float) -> Plan[Any]:
        """Ask until a worker has computed the newest answer, or failed to."""
        deadline = time.monotonic() + wait_seconds
        while True:
            response = yield from self._exchanges.request("GET", path, params=given(query))
            found = response.json()
            there = response.status_code != httpx.codes.ACCEPTED
            over = late(deadline)
            if there and (over or not found["stale"] or found.get("failure")):
                return found
            if over:
                detail = f"No worker has computed {what} yet: see `sat workers`, then ask again."
                raise BusyError(503, {"detail": detail})
            asked = retry_after(response)
            yield Pause(POLL_SECONDS if asked is None else asked)

    def agreement(self, first: str, second: str) -> Plan[Agreement]:
        """Return how far two comparisons, named <image set>/<protocol>, rank pairs alike."""
        return self._get("/agreement", {"comparisons": f"{first},{second}"})

    def ensemble(self, /, *, wait_seconds: float = JOB_SECONDS, **query: Any) -> Plan[Ensemble]:
        """Return n members that fail apart, waiting at most wait_seconds for what the ensemble is worth.

        When the time is over, or wait_seconds is 0, `evaluated` may still be "pending".
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            ensemble: Ensemble = yield from self._get("/recommend/ensemble", query)
            if ensemble["evaluated"] != "pending" or late(deadline):
                return ensemble
            yield Pause(POLL_SECONDS)

    def teacher(self, /, student: str, **query: Any) -> Plan[Teachers]:
        """Return k teachers for the student, a model or an architecture, the default suggestion marked."""
        return self._get("/recommend/teacher", {"student": student, **query})
