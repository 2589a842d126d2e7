"""What one api process holds, and how routes get at it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.access.keyring import KeyRing
from api.access.limiting import WriteLimit
from api.cache import AnswerCache
from api.live import Live
from api.metrics import Metrics
from api.renderings import Renderings
from api.traffic import Traffic
from api.waiting import Waiters
from registry.bell import Bell
from registry.database import Sessions, make_engine, make_sessions, transaction
from registry.errors import UnavailableError
from registry.reads.watch import Watch
from registry.settings import Settings
from registry.storage.artifacts import ArtifactStore, open_store

_log = logging.getLogger(__name__)
# Nothing is fetched, hashed or listed inside a transaction: one that waits for its process for so long has lost it.
IDLE_SECONDS = 15.0
# A first snapshot of 845,000 pairs takes two seconds, the doctor's longest question less than ten.
STATEMENT_SECONDS = 120.0
# Of one key, those that nobody asked before: each is work for a light worker, and a row.
QUESTIONS_PER_MINUTE = 240


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that lives as long as the process."""

    settings: Settings
    engine: Engine
    sessions: Sessions
    bell: Bell
    store: ArtifactStore
    watch: Watch
    cache: AnswerCache
    renderings: Renderings
    live: Live
    keys: KeyRing
    writes: WriteLimit
    questions: WriteLimit
    waiters: Waiters
    metrics: Metrics

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is committed, announced, and seen by this process's reads, when the block ends."""
        with transaction(self.sessions, self.bell.ring) as session:
            yield session
        try:
            self.watch.refresh()
        except UnavailableError:
            _log.warning("the view could not be refreshed after a write; the watch goes on trying")

    def close(self) -> None:
        """End threads and connections."""
        self.live.end()
        self.watch.stop()
        self.keys.close()
        self.bell.close()
        self.engine.dispose()


def make_services(settings: Settings, traffic: Traffic) -> Services:
    """Connect to nothing yet: the database and the broker may be down when the process starts."""
    engine = make_engine(
        settings.database_url,
        pool_size=10,
        application="sat-api",
        idle_seconds=IDLE_SECONDS,
        statement_seconds=STATEMENT_SECONDS,
    )
    sessions, watch = make_sessions(engine), Watch(engine)
    return Services(
        settings=settings,
        engine=engine,
        sessions=sessions,
        bell=Bell(settings.redis_url),
        store=open_store(settings),
        watch=watch,
        cache=AnswerCache(watch.peek),
        renderings=Renderings(settings.cache / "renderings"),
        live=Live(watch),
        keys=KeyRing(sessions),
        writes=WriteLimit(settings.redis_url, settings.writes_per_minute),
        questions=WriteLimit(settings.redis_url, QUESTIONS_PER_MINUTE, namespace="sat-questions"),
        waiters=Waiters(sessions),
        metrics=Metrics(sessions, watch, traffic),
    )


async def get_services(request: Request) -> Services:
    """The process's services. A coroutine: FastAPI runs plain functions in a thread, which costs more than a read."""
    services: Services = request.app.state.services
    return services


def get_session(services: Annotated[Services, Depends(get_services)]) -> Iterator[Session]:
    """A session for reading; it ends before the answer goes out."""
    with services.sessions.begin() as session:
        yield session


ServicesOf = Annotated[Services, Depends(get_services)]
ReadSession = Annotated[Session, Depends(get_session, scope="function")]
