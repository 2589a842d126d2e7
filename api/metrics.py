"""Prometheus metrics of this process and of the registry, made at a scrape from counts that are kept anyway."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from api.traffic import BOUNDS, Traffic
from registry.database import Sessions
from registry.reads.gauges import Gauges, read_gauges
from registry.reads.progress import read_comparison_progress
from registry.reads.watch import Watch

# However often it is scraped, the database is asked once in this time.
FRESH_SECONDS = 1.0
# The pace of cells is that between two scrapes, at most this far apart.
PACE_SECONDS = 300.0


class Metrics:
    """What GET /metrics answers."""

    def __init__(self, sessions: Sessions, watch: Watch, traffic: Traffic) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_TrafficCollector(traffic))
        self._registry.register(_StateCollector(sessions, watch))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def text(self) -> bytes:
        """The exposition format, text version 0.0.4."""
        return generate_latest(self._registry)


class _TrafficCollector(Collector):
    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        """Requests by method, route and status."""
        requests = HistogramMetricFamily(
            "sat_http_request_seconds", "Seconds until an answer had gone out.", labels=("method", "route", "status")
        )
        for (method, route, status), tally in list(self._traffic.tallies.items()):
            counts = list(accumulate(tally.buckets))
            named = [(str(bound), count) for bound, count in zip((*BOUNDS, "+Inf"), counts, strict=True)]
            requests.add_metric((method, route, str(status)), buckets=named, sum_value=tally.seconds)
        yield requests
        yield GaugeMetricFamily("sat_http_requests_in_flight", "Requests under way.", value=self._traffic.in_flight)


class _StateCollector(Collector):
    """The registry's state; when the database does not answer, the last one known, and `sat_database_up` says so."""

    def __init__(self, sessions: Sessions, watch: Watch) -> None:
        self._sessions, self._watch = sessions, watch
        self._lock = threading.Lock()
        self._gauges: Gauges | None = None
        self._up = False
        self._read_at = float("-inf")
        self._paces: dict[str, deque[tuple[float, int]]] = {}

    def collect(self) -> Iterator[Metric]:
        """Jobs, workers, models, artifacts, comparisons."""
        with self._lock:
            self._refresh()
            gauges, up = self._gauges, self._up
        yield GaugeMetricFamily("sat_database_up", "Whether the database answers.", value=up)
        age = self._watch.age_seconds()
        if age is not None:
            yield GaugeMetricFamily("sat_snapshot_age_seconds", "Since the view that reads answer from.", value=age)
        if gauges is not None:
            yield from _gauge_metrics(gauges)
            yield from self._comparisons()

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at < FRESH_SECONDS:
            return
        try:
            with self._sessions.begin() as session:
                self._gauges = read_gauges(session)
            self._up = True
        except SQLAlchemyError:
            self._up = False
        self._read_at = time.monotonic()

    def _comparisons(self) -> Iterator[Metric]:
        """From the snapshots that are held anyway: of the default comparison, and of those asked for lately."""
        cells = GaugeMetricFamily("sat_cells_measured", "Directed cells, rung by rung.", labels=("comparison",))
        wanted = GaugeMetricFamily("sat_cells_wanted", "Directed cells when all is measured.", labels=("comparison",))
        version = GaugeMetricFamily("sat_comparison_version", "Rises with every result.", labels=("comparison",))
        pace = GaugeMetricFamily("sat_cells_per_second", "Since an earlier scrape.", labels=("comparison",))
        for snapshot in self._watch.view().snapshots.values():
            name, progress = snapshot.comparison.name, read_comparison_progress(snapshot)
            cells.add_metric((name,), progress.cells_measured)
            wanted.add_metric((name,), progress.cells)
            version.add_metric((name,), snapshot.comparison.version)
            pace.add_metric((name,), self._pace(name, progress.cells_measured))
        yield from (cells, wanted, version, pace)

    def _pace(self, name: str, measured: int) -> float:
        seen = self._paces.setdefault(name, deque(maxlen=64))
        now = time.monotonic()
        if seen and measured < seen[-1][1]:
            seen.clear()  # a model was deleted: its cells no longer count
        seen.append((now, measured))
        while now - seen[0][0] > PACE_SECONDS:
            seen.popleft()
        elapsed = now - seen[0][0]
        return (measured - seen[0][1]) / elapsed if elapsed else 0.0


def _gauge_metrics(gauges: Gauges) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("sat_jobs", "Jobs by state and kind.", labels=("state", "kind"))
    for (state, kind), count in gauges.jobs.items():
        jobs.add_metric((state, kind), count)
    yield jobs
    ages = GaugeMetricFamily("sat_queue_age_seconds", "How long the oldest queued job waits.", labels=("lane",))
    for lane, seconds in gauges.queue_age_seconds.items():
        ages.add_metric((lane,), seconds)
    yield ages
    workers = GaugeMetricFamily("sat_workers", "Workers that have not left.", labels=("state",))
    for each, count in gauges.workers.items():
        workers.add_metric((each,), count)
    yield workers
    yield CounterMetricFamily("sat_leases_lost", "Jobs taken over from silent workers.", value=gauges.leases_lost)
    yield from _device_metrics(gauges)
    models = GaugeMetricFamily("sat_models", "Models by state.", labels=("state",))
    for model_state, count in gauges.models.items():
        models.add_metric((model_state,), count)
    yield models
    artifacts = GaugeMetricFamily("sat_artifact_bytes", "Bytes in the artifact store.", labels=("kind", "state"))
    for labels, size in gauges.artifact_bytes.items():
        artifacts.add_metric(labels, size)
    yield artifacts


def _device_metrics(gauges: Gauges) -> Iterator[Metric]:
    total = GaugeMetricFamily("sat_device_memory_bytes", "Memory of a worker's GPU.", labels=("worker", "device"))
    used = GaugeMetricFamily("sat_device_memory_used_bytes", "In use, by anybody.", labels=("worker", "device"))
    for labels, (all_bytes, used_bytes) in gauges.devices.items():
        total.add_metric(labels, all_bytes)
        used.add_metric(labels, used_bytes)
    yield from (total, used)
