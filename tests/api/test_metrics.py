"""GET /metrics: Prometheus' own parser reads it, its counts are true, and a scrape costs the database little."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, func, update
from starlette.routing import Route

from api.traffic import BOUNDS, MOST_PATHS, Traffic
from registry.tables import ComparisonRow, ComparisonState, JobKind, JobRow, JobState, WorkerRow
from tests.api.conftest import Api
from tests.api.world import World

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(api: Api) -> Samples:
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every scrape ask the database."""
    monkeypatch.setattr("api.metrics.FRESH_SECONDS", 0)


def test_requests_are_counted_by_route_and_status_kept_answers_too(api: Api, zoo: World) -> None:
    for _ in range(3):
        api.get("/similar/vit-a", settle=False)
    api.get("/similar/nobody", settle=False)
    api.get("/no/such/route", settle=False)
    samples = scrape(api)
    similar = {"method": "GET", "route": "/similar/{model}"}
    assert value(samples, "sat_http_request_seconds_count", **similar, status="200") == 3
    assert value(samples, "sat_http_request_seconds_count", **similar, status="404") == 1
    assert value(samples, "sat_http_request_seconds_count", method="GET", route="none", status="404") == 1
    assert value(samples, "sat_http_request_seconds_bucket", **similar, status="200", le="+Inf") == 3
    assert value(samples, "sat_http_requests_in_flight") == 1  # this scrape


def test_the_registry_is_described(api: Api, zoo: World, stale: None) -> None:
    zoo.end_job(JobKind.ATTACK, zoo.networks["vit-a"], "it broke")
    with zoo.sessions.begin() as session:
        session.execute(update(WorkerRow).values(leases_lost=3, device_bytes=100, device_bytes_used=40))
    samples = scrape(api)
    assert value(samples, "sat_database_up") == 1
    assert value(samples, "sat_jobs", state=JobState.FAILED, kind="attack") == 1
    assert value(samples, "sat_workers", state="run") == 1
    assert value(samples, "sat_leases_lost_total") == 3
    assert value(samples, "sat_device_memory_used_bytes", worker="here:7", device="cpu") == 40
    assert value(samples, "sat_models", state="ready") == 6
    assert value(samples, "sat_cells_measured", comparison="digits/pgd") == 2 * 6 * 5
    assert value(samples, "sat_cells_wanted", comparison="digits/pgd") == 2 * 6 * 5
    assert 0 <= value(samples, "sat_snapshot_age_seconds") < 60
    assert sum(size for (name, _), size in samples.items() if name == "sat_artifact_bytes") > 0


def test_the_queue_is_as_old_as_the_job_that_could_be_claimed_longest(api: Api, zoo: World, stale: None) -> None:
    def wait(minutes: float, **columns: object) -> float:
        with zoo.sessions.begin() as session:
            old = func.now() - func.make_interval(0, 0, 0, 0, 0, minutes)
            session.execute(update(JobRow).values(queued_at=old, state=JobState.QUEUED, **columns))
        return value(scrape(api), "sat_queue_age_seconds", lane="compute")

    zoo.end_job(JobKind.TRANSFERS, zoo.networks["vit-a"], "it broke")
    assert wait(60) == pytest.approx(3600, abs=60)
    # taken in between, and queued again with what is left
    assert wait(60, started_at=func.now()) < 60
    with zoo.sessions.begin() as session:
        session.execute(update(ComparisonRow).values(state=ComparisonState.PAUSED))
    with pytest.raises(KeyError):
        wait(60, started_at=None)


def test_many_scrapes_ask_the_database_once(api: Api, zoo: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.metrics.FRESH_SECONDS", 3600)
    asked = []
    event.listen(
        api.app.state.services.engine, "before_cursor_execute", lambda *args: asked.append(args[2]), named=False
    )
    for _ in range(5):
        api.get("/metrics", settle=False)
    assert sum("FROM artifacts" in statement for statement in asked) == 1


def test_a_tally_counts_each_answer_in_one_bucket() -> None:
    traffic = Traffic()
    seconds = [0.0, BOUNDS[0], BOUNDS[0] * 1.001, BOUNDS[-1], BOUNDS[-1] + 1]
    for each in seconds:
        traffic.note("GET", "/x", 200, each)
    (tally,) = traffic.tallies.values()
    assert sum(tally.buckets) == len(seconds)
    assert (tally.buckets[0], tally.buckets[1], tally.buckets[-2], tally.buckets[-1]) == (2, 1, 1, 1)
    assert tally.seconds == pytest.approx(sum(seconds))


def test_many_paths_do_not_grow_the_memory() -> None:
    traffic = Traffic()
    for number in range(MOST_PATHS + 10):
        scope = {"type": "http", "method": "GET", "path": f"/{number}", "route": Route("/{name}", endpoint=print)}
        assert traffic.route_of(scope, 200) == "/{name}"
    assert len(traffic._routes) == 10
