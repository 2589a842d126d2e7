"""Small registries, written through the tables: networks that could have been measured, without measuring."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.bell import Bell
from registry.database import Sessions
from registry.jobs import Claim, claim
from registry.protocols import ensure_presets
from registry.settings import Settings
from registry.storage.artifacts import ArtifactStore
from registry.tables import (
    ArtifactRow,
    ArtifactState,
    ComparisonRow,
    ComparisonState,
    EvaluationRow,
    ImageSetRow,
    JobKind,
    Lane,
    ModelRow,
    ModelState,
    NameRow,
    NetworkRow,
    Part,
    ProtocolRow,
    Source,
    TaskRow,
    WorkerRow,
)
from sat_engine import bits
from worker.context import Context
from worker.device import Device
from worker.images import ImageSets

N_ATTACK, PREFIX = 24, 16


@dataclass(frozen=True)
class Small:
    """A registry with one comparison, whose networks' clean bits are all set."""

    sessions: Sessions
    comparison_id: int
    image_set_id: int
    task_id: int
    worker_id: int

    def add_network(self, name: str, *, evaluated: bool = True) -> int:
        """A ready model with a network of its own; returns the network's id."""
        with self.sessions.begin() as session:
            artifact = add_artifact(session, name)
            network = NetworkRow(
                digest=sha256(name.encode()).digest(), task_id=self.task_id, architecture="test_resnet", model_args={},
                input_side=32, channels=1, mean=[0.5], std=[0.5], class_map=[0, 1], components={}, base="CNN",
                family="resnet", parameters=1, macs=1, weights=artifact,
            )  # fmt: skip
            session.add(network)
            session.flush()
            model = ModelRow(
                task_id=self.task_id, network_id=network.id, source=Source.UPLOAD, declaration={},
                checkpoint=artifact, content_sha256=artifact, state=ModelState.READY,
            )  # fmt: skip
            session.add(model)
            session.flush()
            session.add(NameRow(name=name, model_id=model.id, is_alias=False))
            if evaluated:
                for rung, n in ((0, PREFIX), (1, N_ATTACK - PREFIX)):
                    session.add(
                        EvaluationRow(
                            network_id=network.id,
                            image_set_id=self.image_set_id,
                            part=Part.ATTACK,
                            rung=rung,
                            n=n,
                            correct=bits.pack(np.ones(n, bool)),
                            n_correct=n,
                            logits=artifact,
                            numeric_path="test",
                            worker_id=self.worker_id,
                        )
                    )
            return network.id

    def claim(self, lane: Lane = Lane.COMPUTE, lease_seconds: float = 15) -> Claim | None:
        """Claim the most urgent job, in a transaction of its own."""
        with self.sessions.begin() as session:
            return claim(session, (lane,), self.worker_id, lease_seconds)

    def claim_of(self, kind: JobKind, network_id: int) -> Claim:
        """Claim jobs until it is this one; the others stay claimed."""
        while (claimed := self.claim()) is not None:
            if (claimed.kind, claimed.network_id) == (kind, network_id):
                return claimed
        raise AssertionError(f"no {kind} job of network {network_id} is queued")

    def image_set(self, session: Session) -> ImageSetRow:
        """The image set, in that session."""
        return session.get_one(ImageSetRow, self.image_set_id)


def add_artifact(session: Session, content: str) -> bytes:
    """A row as if these bytes were stored; returns their sha256."""
    digest = sha256(content.encode()).digest()
    session.execute(
        insert(ArtifactRow)
        .values(sha256=digest, kind="test", bytes=len(content), state=ArtifactState.STORED)
        .on_conflict_do_nothing()
    )
    return digest


@pytest.fixture
def small(sessions: Sessions) -> Small:
    """A registry with one comparison that measures, and no model."""
    with sessions.begin() as session:
        ensure_presets(session)
        task = TaskRow(name="task", digest=b"t" * 32, classes=["no", "yes"])
        worker = WorkerRow(
            host="test", pid=1, lanes="compute,light", device="none", code_version="0", torch_version="0"
        )
        session.add_all([task, worker])
        session.flush()
        image_set = ImageSetRow(
            name="images", task_id=task.id, digest=b"i" * 32, content=add_artifact(session, "images"),
            n_attack=N_ATTACK, n_select=0, n_report=0, prefix=PREFIX, order_seed=0, side=32, channels=1,
        )  # fmt: skip
        session.add(image_set)
        session.flush()
        protocol = session.query(ProtocolRow).filter_by(name="pgd").one()
        comparison = ComparisonRow(
            image_set_id=image_set.id, protocol_id=protocol.id, state=ComparisonState.MEASURING, is_default=True
        )
        session.add(comparison)
        session.flush()
        return Small(sessions, comparison.id, image_set.id, task.id, worker.id)


@pytest.fixture
def worker_context(small: Small, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Context]:
    """A worker process in this one."""
    settings = Settings(
        database_url=database_url, redis_url=redis_url, artifacts=str(tmp_path / "artifacts"), cache=tmp_path / "cache"
    )
    store, bell = ArtifactStore(settings.artifacts, settings.cache), Bell(redis_url)
    yield Context(
        settings=settings, sessions=small.sessions, store=store, bell=bell, device=Device("cpu", "cpu"),
        worker_id=small.worker_id, image_sets=ImageSets(store),
    )  # fmt: skip
    bell.close()
