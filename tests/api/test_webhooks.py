"""Webhooks: a message for every event, signed, sent until it arrives, and only where the operator allows it."""

import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from registry.access import Actor
from registry.bell import Bell
from registry.database import transaction
from registry.deliveries import MOST_ATTEMPTS, ask_for_news, tell
from registry.destinations import Destinations
from registry.errors import ForbiddenError, InvalidError
from registry.faults import give_up
from registry.jobs import claim
from registry.models import fail_model
from registry.settings import Settings
from registry.tables import DeliveryRow, DeliveryState, JobKind, JobRow, JobState, Lane, ModelState, Scope, WebhookRow
from registry.wanting import want
from registry.webhooks import EventKind, get_webhook, list_webhooks
from tests.api import receiver
from tests.api.conftest import Api
from tests.api.world import World

LOOPBACK = "127.0.0.1"


@dataclass
class Receiver:
    """A receiver's process and what it wrote down."""

    process: subprocess.Popen[str]
    record: Path
    url: str

    def messages(self) -> list[dict[str, Any]]:
        """What came, in order."""
        return [json.loads(line) for line in self.record.read_text().splitlines()] if self.record.exists() else []

    def wait(self, number: int, seconds: float = 60) -> list[dict[str, Any]]:
        """What came, once there are so many messages."""
        deadline = time.monotonic() + seconds
        while len(self.messages()) < number:
            assert time.monotonic() < deadline, self.messages()
            time.sleep(0.05)
        return self.messages()


@pytest.fixture
def receive(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    """Starts a receiver that answers with these statuses."""
    started: list[Receiver] = []

    def start(*statuses: int) -> Receiver:
        record = tmp_path / f"received-{len(started)}.jsonl"
        command = [sys.executable, receiver.__file__, str(record), *map(str, statuses or (204,))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        started.append(Receiver(process, record, f"http://{LOOPBACK}:{process.stdout.readline().strip()}/sat"))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def api(start: Callable[..., Api]) -> Api:
    """An api whose operator allows webhooks on loopback."""
    return start(webhook_hosts=(LOOPBACK, "hooks.example.com"))


def add(api: Api, url: str, *events: str) -> dict[str, Any]:
    answer = api.post("/webhooks", json={"url": url, "events": list(events or ("model.measured", "model.failed"))})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@dataclass
class Turns:
    """Runs the notify job as a worker does: claimed from its row, in this process."""

    context: Any
    task: Any
    ran: int = field(default=0)

    def run(self) -> bool:
        """One turn, if the job waits for one."""
        from worker.runner import run

        with self.context.sessions.begin() as session:
            claimed = claim(session, (Lane.LIGHT,), self.context.worker_id, 60)
        if claimed is None:
            return False
        assert claimed.kind is JobKind.NOTIFY
        run(self.context, claimed, self.task.run)
        self.ran += 1
        return True

    def until_idle(self, most: int = 30) -> None:
        """Turns, each as soon as it is due, until no message waits."""
        for _ in range(most):
            with self.context.sessions.begin() as session:
                session.execute(update(DeliveryRow).values(not_before=None))
                session.execute(update(JobRow).values(not_before=None))
            if not self.run():
                return
        raise AssertionError("messages go on and on")


@pytest.fixture
def turns(zoo: World, settings: Settings, tmp_path: Path) -> Iterator[Turns]:
    """The notify job's turns, on the zoo."""
    from registry.storage.artifacts import ArtifactStore
    from worker.context import Context
    from worker.device import choose_device
    from worker.images import ImageSets
    from worker.tasks.notify import Notify

    store = ArtifactStore(settings.artifacts, settings.cache)
    bell = Bell(settings.redis_url)
    yield Turns(
        Context(
            settings=settings.model_copy(update={"webhook_hosts": (LOOPBACK,)}),
            sessions=zoo.sessions,
            store=store,
            bell=bell,
            device=choose_device("cpu"),
            worker_id=zoo.worker_id,
            image_sets=ImageSets(store),
        ),
        Notify(),
    )
    bell.close()


def fail_one(zoo: World, api: Api, name: str = "resnet-a", reason: str = "it broke.") -> None:
    model_id = int(api.get(f"/models/{name}").json()["reference"].removeprefix("~"))
    with transaction(zoo.sessions, lambda _: None) as session:
        fail_model(session, model_id, reason)


def test_a_failure_is_told_signed(api: Api, zoo: World, turns: Turns, receive: Callable[..., Receiver]) -> None:
    to = receive(204)
    made = add(api, to.url, "model.failed")
    fail_one(zoo, api)
    turns.until_idle()
    (message,) = to.messages()
    told = json.loads(message["body"])
    digest = api.get("/models/resnet-a").json()["digest"]
    assert {name: told[name] for name in ("event", "model", "reason", "digest", "state", "comparison")} == {
        "event": "model.failed", "model": "resnet-a", "reason": "it broke.", "digest": digest, "state": "failed",
        "comparison": None,
    }  # fmt: skip
    assert (message["path"], message["headers"]["X-SAT-Event"]) == ("/sat", "model.failed")
    assert message["headers"]["X-SAT-Delivery"] == str(told["id"])
    timestamp, signature = (part.partition("=")[2] for part in message["headers"]["X-SAT-Signature"].split(","))
    signed = f"{timestamp}.{message['body']}".encode()
    assert hmac.compare_digest(signature, hmac.new(bytes.fromhex(made["secret"]), signed, hashlib.sha256).hexdigest())
    assert abs(time.time() - int(timestamp)) < 60
    shown = api.get(f"/webhooks/{made['id']}").json()
    assert (shown["waiting"], shown["delivered"], shown["failed"]) == (0, 1, 0)


def test_a_model_is_told_to_be_measured_once(
    api: Api, zoo: World, turns: Turns, receive: Callable[..., Receiver]
) -> None:
    to = receive(204)
    add(api, to.url, "model.measured")

    def news() -> list[str]:
        with transaction(zoo.sessions, lambda _: None) as session:
            ask_for_news(session)
        turns.until_idle()
        return [json.loads(message["body"])["model"] for message in to.messages()]

    assert news() == []  # what was measured before is no news
    zoo.add_model("vit-new")
    assert news() == []  # nor is what is not measured yet
    zoo.measure()
    assert news() == ["vit-new"]
    assert json.loads(to.messages()[0]["body"])["comparison"] == "digits/pgd"
    zoo.add_model("vit-newer")  # all others are incomplete again, and then not
    assert news() == ["vit-new"]
    zoo.measure()
    assert news() == ["vit-new", "vit-newer"]


def test_what_does_not_arrive_is_sent_again(
    api: Api, zoo: World, turns: Turns, receive: Callable[..., Receiver]
) -> None:
    to = receive(500, receiver.HANG_UP, 302, 204)
    made = add(api, to.url, "model.failed")
    fail_one(zoo, api)
    turns.until_idle()
    messages = to.messages()
    assert len(messages) == 4
    assert {message["path"] for message in messages} == {"/sat"}  # the redirect was not followed
    assert len({message["body"] for message in messages}) == 1
    (delivery,) = api.get(f"/webhooks/{made['id']}/deliveries").json()["items"]
    assert (delivery["state"], delivery["attempt"], delivery["failure"]) == ("delivered", 4, None)


def test_each_attempt_waits_longer_and_the_last_is_the_end(
    api: Api, zoo: World, turns: Turns, receive: Callable[..., Receiver]
) -> None:
    to = receive(503)
    made = add(api, to.url, "model.failed")
    fail_one(zoo, api)
    waits = []
    while turns.run():
        with zoo.sessions.begin() as session:
            row = session.scalars(select(DeliveryRow)).one()
            job = session.scalars(select(JobRow).where(JobRow.kind == JobKind.NOTIFY)).one()
            if row.not_before is not None:
                assert job.not_before == row.not_before  # nobody looks at it before it is due
                assert job.state is JobState.QUEUED
                waits.append((row.not_before - session.execute(select(row_now())).scalar_one()).total_seconds())
            row.not_before = job.not_before = None
    assert len(to.messages()) == MOST_ATTEMPTS
    assert waits == pytest.approx([5 * 4**attempt for attempt in range(MOST_ATTEMPTS - 1)], abs=5)
    (delivery,) = api.get(f"/webhooks/{made['id']}/deliveries").json()["items"]
    assert delivery["state"] == "failed"
    assert "503" in delivery["failure"]
    shown = api.get("/webhooks").json()["items"][0]
    assert (shown["failed"], "503" in shown["last_failure"]) == (1, True)


def row_now() -> Any:
    from sqlalchemy import func

    return func.now()


def test_a_dead_receiver_is_tried_once_a_turn(
    api: Api, zoo: World, turns: Turns, receive: Callable[..., Receiver]
) -> None:
    dead, alive = receive(500), receive(204)
    for to in (dead, alive):
        add(api, to.url, "model.failed")
    for name in ("resnet-a", "resnet-b", "vit-a"):
        fail_one(zoo, api, name)
    turns.run()
    assert (len(dead.messages()), len(alive.messages())) == (1, 3)


def test_a_deleted_webhook_is_told_nothing_more(
    api: Api, zoo: World, turns: Turns, receive: Callable[..., Receiver]
) -> None:
    to = receive(204)
    made = add(api, to.url)
    fail_one(zoo, api)
    assert api.delete(f"/webhooks/{made['id']}").status_code == 204
    fail_one(zoo, api, "vit-a")
    turns.until_idle()
    assert to.messages() == []
    assert api.get("/webhooks").json()["items"] == []
    for path in (f"/webhooks/{made['id']}", f"/webhooks/{made['id']}/deliveries"):
        assert api.get(path).status_code == 404


def test_an_event_that_is_rolled_back_was_never_told(api: Api, zoo: World, receive: Callable[..., Receiver]) -> None:
    add(api, receive(204).url)
    with pytest.raises(RuntimeError), transaction(zoo.sessions, lambda _: None) as session:
        fail_model(session, 1, "it broke.")
        raise RuntimeError
    with zoo.sessions() as session:
        assert session.scalars(select(DeliveryRow)).all() == []


def test_work_that_fails_in_one_comparison_is_told_with_its_name(
    api: Api, zoo: World, receive: Callable[..., Receiver]
) -> None:
    add(api, receive(204).url, "model.failed")
    network = zoo.networks["vit-a"]
    with zoo.sessions.begin() as session:
        want(session, JobKind.ATTACK, network_id=network, comparison_id=zoo.comparison_id)
    with transaction(zoo.sessions, lambda _: None) as session:
        claimed = claim(session, (Lane.COMPUTE,), zoo.worker_id, 60)
        assert claimed is not None
        give_up(session, claimed, "no gradient")
    with zoo.sessions() as session:
        payload = session.scalars(select(DeliveryRow.payload)).one()
    assert (payload["model"], payload["comparison"], payload["state"]) == ("vit-a", "digits/pgd", ModelState.READY)
    assert payload["reason"] == "its attack failed: no gradient"


def test_without_webhooks_an_event_asks_for_nothing(zoo: World) -> None:
    with zoo.sessions.begin() as session:
        tell(session, EventKind.FAILED, 1, reason="it broke.")
        ask_for_news(session)
        assert session.scalars(select(JobRow).where(JobRow.kind == JobKind.NOTIFY)).all() == []


ALLOWED = Destinations(["hooks.example.com", "*.corp.example", "10.1.0.0/16", "fd00::/8", "127.0.0.1"])


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/sat?x=1",
        "http://HOOKS.example.com:8080",
        "https://a.b.corp.example/",
        "https://10.1.2.3/",
        "http://[fd00::1]:9000/x",
        "http://127.0.0.1:1",
    ],
)
def test_what_the_operator_lists_is_allowed(url: str) -> None:
    assert ALLOWED.check(url).port > 0


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://corp.example/",
        "https://hooks.example.com.evil.test/",
        "https://evil.test/?hooks.example.com",
        "https://evil.test#@hooks.example.com",
        "https://hooks.example.com@evil.test/",
        "https://hooks.example.com:x/",
        "https://hooks.example.com\\@evil.test/",
        "https://user:password@hooks.example.com/",
        "https://evil.test\n.corp.example/",
        "https://evil.test .corp.example/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.2.0.1/",
        "http://127.0.0.2/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http:///x",
        "//hooks.example.com/",
        "",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidError):
        ALLOWED.check(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.2", "10.2.0.1", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1", "::",
        "fe80::1%eth0", "::ffff:10.2.0.1", "64:ff9b::a02:1",
        "2002:a02:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "::10.2.0.1", "::93.184.215.14", "64:ff9b:1::a02:1",
    ],
)  # fmt: skip
def test_a_listed_name_at_a_private_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidError, match="private"):
        ALLOWED.choose("hooks.example.com", ["93.184.215.14", address])


def test_public_and_listed_addresses_are_chosen() -> None:
    assert ALLOWED.choose("hooks.example.com", ["93.184.215.14"]) == "93.184.215.14"
    assert ALLOWED.choose("a.corp.example", ["10.1.9.9"]) == "10.1.9.9"
    with pytest.raises(InvalidError, match="no address"):
        ALLOWED.choose("hooks.example.com", [])


def test_a_name_that_turns_to_a_private_address_gets_no_connection(
    receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.deliveries import Message
    from worker.tasks.notify import send

    to = receive(204)
    port = int(to.url.rsplit(":", 1)[1].partition("/")[0])
    asked = []

    def rebinding(host: str, port: int, *_: object, **__: object) -> list[Any]:
        """A name server that gives a public address to who asks first, and loopback to who asks again."""
        asked.append(host)
        address = "93.184.215.14" if len(asked) == 1 else LOOPBACK
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    message = Message(
        delivery_id=1, webhook_id=1, url=f"http://hooks.example.com:{port}/", event="model.failed", attempt=1,
        body=b"{}", secret=b"s",
    )  # fmt: skip
    monkeypatch.setattr("worker.tasks.notify.MESSAGE_SECONDS", 1.0)
    allowed = Destinations(["hooks.example.com"])
    assert send(message, allowed) is not None  # the public address, where nothing answers
    assert "private" in str(send(message, allowed))
    assert len(asked) == 2  # looked up once a message: what was checked is what is connected to
    assert to.messages() == []
    # where the operator lists the address, too, the name leads there
    assert send(message, Destinations(["hooks.example.com", LOOPBACK])) is None
    assert to.messages()[0]["headers"]["Host"] == f"hooks.example.com:{port}"


def test_a_receiver_that_never_answers_is_given_up(
    receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.deliveries import Message
    from worker.tasks.notify import send

    monkeypatch.setattr("worker.tasks.notify.MESSAGE_SECONDS", 0.5)
    message = Message(
        delivery_id=1, webhook_id=1, url=receive(receiver.NEVER).url, event="model.failed", attempt=1, body=b"{}",
        secret=b"s",
    )  # fmt: skip
    assert "did not answer" in str(send(message, Destinations([LOOPBACK])))


def test_without_a_list_no_webhook_can_be_made(start: Callable[..., Api], zoo: World) -> None:
    answer = start().post("/webhooks", json={"url": "https://hooks.example.com/", "events": ["model.failed"]})
    assert answer.status_code == 422
    assert "SAT_WEBHOOK_HOSTS" in answer.json()["detail"]


def test_bad_webhooks_are_refused(api: Api, zoo: World) -> None:
    for body in (
        {},
        {"url": "https://hooks.example.com/", "events": []},
        {"url": "https://hooks.example.com/", "events": ["model.sold"]},
        {"url": "https://hooks.example.com/" + "x" * 2000, "events": ["model.failed"]},
        {"url": "https://hooks.example.com/\0", "events": ["model.failed"]},
        {"url": 7},
        {"url": "https://evil.test/"},
        {"url": "http://169.254.169.254/latest/meta-data"},
    ):
        answer = api.post("/webhooks", json=body)
        assert answer.status_code == 422, body
        assert answer.json()["detail"]
    assert api.get("/webhooks").json()["total"] == 0


def test_a_team_sees_only_its_own_and_has_not_too_many(api: Api, zoo: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add(api, "https://hooks.example.com/1")
    add(api, "https://hooks.example.com/2")
    listed = api.get("/webhooks?limit=1").json()
    assert (len(listed["items"]), listed["total"]) == (1, 2)
    assert [each["secret"] for each in listed["items"]] == [None]
    assert api.get(listed["next"]).json()["items"][0]["url"].endswith("/2")
    monkeypatch.setattr("registry.webhooks.MOST_OF_A_TEAM", 2)
    assert api.post("/webhooks", json={"url": "https://hooks.example.com/3"}).status_code == 409
    with zoo.sessions.begin() as session:
        session.execute(update(WebhookRow).where(WebhookRow.id == first["id"]).values(owner="them"))
        them, us = (Actor(name=team, team=team, scope=Scope.WRITE) for team in ("them", "us"))
        assert [each.row.id for each in list_webhooks(session, actor=them, after=0, limit=9)[0]] == [first["id"]]
        assert list_webhooks(session, actor=us, after=0, limit=9) == ([], 0)
        with pytest.raises(ForbiddenError, match="them"):
            get_webhook(session, first["id"], actor=us)


def test_a_real_worker_tells_a_real_receiver(
    api: Api, zoo: World, settings: Settings, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    to = receive(500, 204)
    add(api, to.url, "model.failed")
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SAT_ARTIFACTS": settings.artifacts,
        "SAT_CACHE": str(settings.cache),
        "SAT_LANES": "light",
        "SAT_DEVICE": "cpu",
        "SAT_WEBHOOK_HOSTS": LOOPBACK,
    }
    fail_one(zoo, api)
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen([sys.executable, "-m", "worker"], env=environment, stdout=log, stderr=log)
    try:
        # the second attempt comes five seconds after the first, by itself
        first, second = to.wait(2, seconds=120)
    finally:
        worker.kill()
        worker.wait()
    assert first["body"] == second["body"]
    with zoo.sessions() as session:
        states = session.scalars(select(DeliveryRow.state)).all()
    assert states in ([DeliveryState.DELIVERED], [DeliveryState.WAITING])  # it may have been killed before it noted it
