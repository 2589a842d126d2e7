"""No answer is older than two seconds, or it says how old it is; what is kept is never of another version."""

import threading
import time

from sqlalchemy import text

from tests.api.conftest import Api
from tests.api.world import World

CURRENT_SECONDS = 2.0
WRITING_SECONDS = 4.0


def test_answers_keep_up_with_pairs_that_arrive_at_full_speed(api: Api, zoo: World) -> None:
    committed: dict[int, float] = {}
    ended = threading.Event()
    a, b = sorted(zoo.networks[name] for name in ("resnet-a", "vit-a"))

    def write() -> None:
        while not ended.is_set():
            with zoo.sessions.begin() as session:
                zoo._update_pair(session, a, b)
                version = session.execute(text("select version from comparisons")).scalar_one()
            committed[version] = time.monotonic()

    writer = threading.Thread(target=write)
    writer.start()
    seen, late = set(), []
    until = time.monotonic() + WRITING_SECONDS
    try:
        while time.monotonic() < until:
            answer = api.get("/similar/resnet-a?k=1", settle=False)
            now = time.monotonic()
            version = answer.json()["version"]
            seen.add(version)
            # the answer lags since the next version was committed
            lag = now - committed.get(version + 1, now)
            if lag > max(CURRENT_SECONDS, int(answer.headers.get("age", 0)) + 1):
                late.append(lag)
            time.sleep(0.01)
    finally:
        ended.set()
        writer.join()
    assert len(committed) > 20
    assert len(seen) > 3, "the view was refreshed while writing went on"
    assert late == []


def test_an_answer_says_how_old_it_is_when_the_view_is_not_kept_current(api: Api, zoo: World) -> None:
    fresh = api.get("/similar/resnet-a")
    assert "age" not in fresh.headers
    api.app.state.services.watch.stop()  # as if the database did not answer
    time.sleep(CURRENT_SECONDS + 0.2)
    for path in ("/similar/resnet-a", "/similar/resnet-a?k=3", "/matrix"):
        older = api.get(path, settle=False)
        assert older.status_code == 200
        assert int(older.headers["age"]) >= CURRENT_SECONDS, path
    tag = {"If-None-Match": fresh.headers["etag"]}
    unchanged = api.get("/similar/resnet-a", settle=False, headers=tag)
    assert (unchanged.status_code, int(unchanged.headers["age"]) >= CURRENT_SECONDS) == (304, True)
    assert "age" not in api.get("/models/nobody", settle=False).headers
    assert "age" not in api.get("/similar/resnet-a").headers, "it was looked up anew"


def test_what_is_kept_is_not_given_for_a_newer_version(api: Api, zoo: World) -> None:
    path = "/similar/resnet-a?k=200"
    first = api.get(path)
    assert api.get(path).content == first.content
    zoo.add_model("vit-new")
    second = api.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert second.status_code == 200
    assert second.json()["missing"] == 1
    assert second.json()["version"] > first.json()["version"]
