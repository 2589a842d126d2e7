"""The Celery app of one worker process: a bell comes in, the lane is drained."""

import contextlib
import logging
import os
import platform
import socket
from typing import Any

from celery import Celery, signals
from sqlalchemy.exc import SQLAlchemyError

from registry.bell import TASK, Bell, make_celery, queue_name
from registry.database import foreign_revision, make_engine, make_sessions
from registry.settings import Settings
from registry.storage.artifacts import open_store
from registry.tables import JobKind, Lane, WorkerRow
from registry.workers import say_goodbye
from sat_engine.memory import keep_freed_memory
from sat_engine.protocol import ENGINE_REVISION
from worker.context import Context
from worker.device import choose_device
from worker.images import ImageSets
from worker.reconciler import Reconciler
from worker.runner import Task, drain
from worker.upkeep import Upkeep

log = logging.getLogger(__name__)
PAUSE_SECONDS = 0.5
# A worker computes outside transactions: one that waits for its worker for so long has lost it.
IDLE_SECONDS = 60.0


def load_tasks() -> dict[JobKind, Task]:
    """The task of each kind of job; importing them imports torch."""
    from worker.tasks import analyse, attack, evaluate, notify, prepare, transfers

    return {
        JobKind.PREPARE: prepare.run,
        JobKind.EVALUATE: evaluate.run,
        JobKind.ATTACK: attack.run,
        JobKind.TRANSFERS: transfers.run,
        JobKind.ANALYSE: analyse.run,
        JobKind.NOTIFY: notify.Notify().run,
    }


def make_context(settings: Settings) -> Context:
    """Connect, refuse a database of another schema, choose a device, and enter this worker into the database.

    RuntimeError, with what to do, where the worker must not start.
    """
    import torch

    engine = make_engine(settings.database_url, application="sat worker", idle_seconds=IDLE_SECONDS)
    sessions = make_sessions(engine)
    with sessions.begin() as session:
        foreign = foreign_revision(session)
    if foreign:
        raise RuntimeError(f"{foreign} This worker does not start.")
    device = choose_device(settings.device, engine)
    with sessions.begin() as session:
        worker = WorkerRow(
            host=socket.gethostname(),
            pid=os.getpid(),
            lanes=",".join(settings.lanes),
            device=f"{device.label}, {platform.machine()}",
            code_version=code_version(),
            torch_version=torch.__version__,
            precision=settings.precision,
        )
        session.add(worker)
        session.flush()
        worker_id = worker.id
    store = open_store(settings)
    return Context(
        settings=settings,
        sessions=sessions,
        store=store,
        bell=Bell(settings.redis_url),
        device=device,
        worker_id=worker_id,
        image_sets=ImageSets(store),
    )


def code_version() -> str:
    """The release and the engine revision: what a result was made by."""
    from importlib.metadata import version

    return f"{version('sat-registry')} (engine {ENGINE_REVISION})"


def make_app(context: Context) -> Celery:
    """The Celery app whose one task drains a lane."""
    app = make_celery(context.settings.redis_url)
    tasks = load_tasks()
    reconciler, upkeep = Reconciler(context), Upkeep(context)

    @app.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]  # celery ships no types
    def work(lane: str) -> None:
        hold_still(context, Lane(lane))
        drain(context, Lane(lane), tasks)

    def on_ready(**_: Any) -> None:
        reconciler.start()
        upkeep.start()

    def on_shutting_down(**_: Any) -> None:
        context.stopping.set()

    def on_shutdown(**_: Any) -> None:
        upkeep.stop()
        reconciler.stop()

    # weak=False: the handlers are closures, and nothing else holds them
    signals.worker_ready.connect(on_ready, weak=False)
    signals.worker_shutting_down.connect(on_shutting_down, weak=False)
    signals.worker_shutdown.connect(on_shutdown, weak=False)
    return app


def hold_still(context: Context, lane: Lane) -> None:
    """Wait while this worker is paused; its bell goes on to another one."""
    if context.standing.paused:
        context.bell.ring(lane)
    while context.standing.paused and not context.stopping.wait(PAUSE_SECONDS):
        pass


def serve(settings: Settings) -> int:
    """Run one solo worker process for the settings' lanes until it is told to stop; return its exit status."""
    from sat_engine.precision import make_cublas_repeatable

    make_cublas_repeatable()
    context = make_context(settings)
    if context.device.torch_name == "cpu":
        keep_freed_memory()
    app = make_app(context)
    queues = ",".join(queue_name(lane) for lane in settings.lanes)
    log.info("worker %s on %s takes %s", context.worker_id, context.device.label, queues)
    # the solo pool: CUDA and fork do not mix, and one process is one device
    with contextlib.suppress(SystemExit):
        app.worker_main(
            [
                "worker", "--pool=solo", f"--queues={queues}", "--without-gossip", "--without-mingle",
                "--without-heartbeat", "--loglevel=INFO", f"--hostname=sat-{context.worker_id}@%h",
            ]
        )  # fmt: skip
    # without it, the worker counts as silent some seconds later
    with contextlib.suppress(SQLAlchemyError), context.sessions.begin() as session:
        say_goodbye(session, context.worker_id)
    context.standing.leave()
    context.bell.close()
    return context.standing.exit_status
