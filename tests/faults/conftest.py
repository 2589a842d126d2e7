"""A registry of three measured models, made once and in this process."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import make_url

from registry.database import Sessions, make_engine, make_sessions
from registry.storage.artifacts import ArtifactStore
from tests.faults.baseline import measure_undisturbed
from tests.faults.history import Measured
from tests.faults.zoo import Entry, make_zoo


@dataclass(frozen=True)
class Undisturbed:
    """What was measured, and where it lies; `copy` gives a database of its own to tests that commit."""

    folder: Path
    redis_url: str
    sessions: Sessions
    store: ArtifactStore
    measured: Measured
    entries: tuple[Entry, ...]
    copy: Callable[[], AbstractContextManager[tuple[str, Sessions]]]

    @property
    def names(self) -> tuple[str, ...]:
        """The models' names."""
        return tuple(entry.name for entry in self.entries)


@pytest.fixture(scope="session")
def undisturbed(servers, template, tmp_path_factory) -> Iterator[Undisturbed]:
    """Three small networks, measured with nobody to disturb."""
    folder: Path = tmp_path_factory.mktemp("undisturbed")
    entries = make_zoo(folder, 3, seed=0)
    with servers.clone(template) as url:
        measured = measure_undisturbed(url, servers.valkey.url, folder, entries)
        engine = make_engine(url)
        store = ArtifactStore(str(folder / "artifacts"), folder / "cache")

        @contextmanager
        def copy() -> Iterator[tuple[str, Sessions]]:
            engine.dispose()  # a database that is copied must have no other connections
            with servers.clone(str(make_url(url).database)) as copied:
                other = make_engine(copied)
                yield copied, make_sessions(other)
                other.dispose()

        yield Undisturbed(folder, servers.valkey.url, make_sessions(engine), store, measured, tuple(entries), copy)
        engine.dispose()
