"""A worker of the light lane in a thread of the test, with the tasks of production."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from registry.tables import JobKind, Lane
from tests.api.conftest import Api
from tests.api.world import World
from worker.context import Context
from worker.device import choose_device
from worker.images import ImageSets
from worker.runner import drain
from worker.tasks import analyse


@contextmanager
def worker(api: Api, world: World) -> Iterator[None]:
    """A thread that drains the light lane, as a worker process does, until the block ends."""
    services, ended = api.app.state.services, threading.Event()
    context = Context(
        settings=services.settings,
        sessions=services.sessions,
        store=services.store,
        bell=services.bell,
        device=choose_device("cpu"),
        worker_id=world.worker_id,
        image_sets=ImageSets(services.store),
    )

    def run() -> None:
        while not ended.is_set():
            drain(context, Lane.LIGHT, {JobKind.ANALYSE: analyse.run})
            ended.wait(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
