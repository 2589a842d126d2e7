"""A workshop: a migrated database, a real Valkey, an artifact folder, trained networks, and real worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from examples.digits.fit import fit
from examples.digits.images import CLASSES, held_out
from examples.digits.zoo import Member, Recipe
from registry.access import LOCAL
from registry.comparisons import create_comparison
from registry.database import Sessions, make_engine, make_sessions, transaction
from registry.declarations import (
    ComparisonDeclaration,
    ImageSetDeclaration,
    ModelDeclaration,
    ProtocolDeclaration,
)
from registry.image_sets import create_image_set
from registry.models import register_model
from registry.protocols import create_protocol
from registry.storage.artifacts import ArtifactStore
from registry.tables import AttackRow, EvaluationRow, JobRow, JobState, ModelRow, NetworkRow, PairRow, TransferRow
from sat_engine.io.tensors import write_arrays
from sat_engine.scores import MISSING

N_ATTACK, N_SELECT, N_REPORT, PREFIX = 96, 24, 24, 64
QUICK = Recipe(epochs=4)
# Three that learn digits in seconds; one of another input size, so that floors and ceilings are measured too.
MEMBERS = (
    Member(name="resnet", architecture="test_resnet", options={}, recipe=QUICK),
    Member(name="byobnet", architecture="test_byobnet", options={}, recipe=QUICK),
    Member(
        name="nfnet", architecture="test_nfnet", options={}, input_side=24,
        recipe=QUICK,
    ),
)  # fmt: skip


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """The trained members' checkpoints by name."""
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {member.name: folder / f"{member.name}.safetensors" for member in MEMBERS}
    for member in MEMBERS:
        fit(member, paths[member.name])
    return paths


@dataclass
class Workshop:
    """A registry whose workers are started and killed by tests."""

    sessions: Sessions
    store: ArtifactStore
    checkpoints: dict[str, Path]
    environment: dict[str, str]
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def register(self, member: Member, name: str | None = None, **declared: object) -> None:
        """Register a trained member, as POST /models does."""
        declaration = ModelDeclaration.model_validate(member.metadata() | {"name": name or member.name} | declared)
        self.register_file(declaration, self.checkpoints[member.name])

    def register_file(self, declaration: ModelDeclaration, path: Path | None) -> None:
        """Register a declaration with a file, or without one."""
        checkpoint = self.store.put_file(path, "checkpoint", self.sessions) if path else None
        with transaction(self.sessions, lambda _: None) as session:
            register_model(session, declaration, checkpoint=checkpoint, actor=LOCAL)

    def start_worker(self, lanes: str = "compute,light", **environment: str) -> subprocess.Popen[bytes]:
        """Start one real worker process."""
        log = (self.folder / f"worker-{len(self.workers)}.log").open("wb")
        worker = subprocess.Popen(
            [sys.executable, "-m", "worker"],
            env=self.environment | {"SAT_LANES": lanes} | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        self.workers.append(worker)
        return worker

    def logs(self) -> str:
        """What all workers have said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("worker-*.log")))

    def wait(self, condition: Callable[[], object], seconds: float = 120) -> None:
        """Wait until the condition holds; fail with the workers' logs when it does not, or a worker dies by itself."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s; the workers said:\n{self.logs()[-4000:]}")
            time.sleep(0.05)

    def idle(self) -> bool:
        """Whether every job has run out of work."""
        with self.sessions() as session:
            busy = session.scalars(
                select(func.count()).select_from(JobRow).where(JobRow.state.in_([JobState.QUEUED, JobState.RUNNING]))
            ).one()
        return busy == 0

    def models(self) -> list[ModelRow]:
        """All models, in order of registration."""
        with self.sessions() as session:
            return list(session.scalars(select(ModelRow).order_by(ModelRow.id)))

    def measured(self) -> dict[str, list[tuple[object, ...]]]:
        """Everything that was measured, bit for bit; networks are told by their digests."""
        with self.sessions() as session:
            digest = {row.id: row.digest.hex()[:8] for row in session.scalars(select(NetworkRow))}
            return {
                "evaluations": sorted(
                    (digest[row.network_id], row.part.value, row.rung, row.correct, row.logits)
                    for row in session.scalars(select(EvaluationRow))
                ),
                "attacks": sorted(
                    (digest[row.network_id], row.rung, row.attacked, row.fooled, row.noise_fooled, row.images_sha256)
                    for row in session.scalars(select(AttackRow))
                ),
                "transfers": sorted(
                    (
                        digest[row.source_id], digest[row.target_id], row.rung, row.common, row.fooled,
                        row.floor_fooled or b"", row.ceiling_fooled or b"",
                    )
                    for row in session.scalars(select(TransferRow))
                ),
                "pairs": sorted(
                    (
                        *sorted((digest[row.a_id], digest[row.b_id])), row.rungs, row.n,
                        MISSING if row.fooled_both is None else row.fooled_both,
                    )
                    for row in session.scalars(select(PairRow))
                ),
            }  # fmt: skip

    def stop_all(self) -> None:
        """End every worker, gently first."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(timeout=20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


@pytest.fixture
def workshop(sessions, database_url, empty_redis, checkpoints, tmp_path) -> Iterator[Workshop]:
    """A workshop whose comparison measures 96 digits in two rungs; no model, no worker yet."""
    workshop = make_workshop(sessions, database_url, empty_redis, checkpoints, tmp_path)
    yield workshop
    workshop.stop_all()


def make_workshop(
    sessions: Sessions,
    database_url: str,
    redis_url: str,
    checkpoints: dict[str, Path],
    folder: Path,
    *,
    artifacts: str | None = None,
    label: int | None = None,
) -> Workshop:
    """A workshop in that folder, on that database and broker, ready to measure; its artifacts may be elsewhere.

    label: what every image is said to show, instead of what it does.
    """
    artifacts = artifacts or str(folder / "artifacts")
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SAT_ARTIFACTS": artifacts,
        "SAT_CACHE": str(folder / "cache"),
        "SAT_DEVICE": "cpu",
        "SAT_LEASE_SECONDS": "2",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    store = ArtifactStore(artifacts, folder / "cache")
    workshop = Workshop(sessions, store, checkpoints, environment, folder)
    add_comparison(workshop, label)
    return workshop


def add_comparison(workshop: Workshop, label: int | None = None) -> None:
    """The image set `digits`, the protocol `quick`, and the comparison that measures."""
    images, labels = held_out()
    if label is not None:
        labels = np.full_like(labels, label)
    chosen = np.arange(N_ATTACK + N_SELECT + N_REPORT)
    path = workshop.folder / "digits.safetensors"
    write_arrays(path, {"images": images[chosen], "labels": labels[chosen]})
    content = workshop.store.put_file(path, "image-set", workshop.sessions)
    with workshop.sessions.begin() as session:
        create_image_set(
            session,
            ImageSetDeclaration.model_validate(
                {
                    "name": "digits",
                    "classes": list(CLASSES),
                    "parts": {"attack": N_ATTACK, "select": N_SELECT, "report": N_REPORT},
                    "prefix": PREFIX,
                }
            ),
            content=content,
            content_path=path,
        )
        create_protocol(
            session,
            ProtocolDeclaration.model_validate(
                {"name": "quick", "epsilon": "16/255", "step_size": "4/255", "steps": 8}
            ),
        )
        create_comparison(
            session,
            ComparisonDeclaration.model_validate({"image_set": "digits", "protocol": "quick", "state": "measuring"}),
        )


@pytest.fixture
def members() -> tuple[Member, ...]:
    """The members that `checkpoints` holds trained networks of."""
    return MEMBERS


@pytest.fixture(scope="session")
def fault_free(servers, template, checkpoints, tmp_path_factory) -> dict[str, list[tuple[object, ...]]]:
    """What two members measure when nothing goes wrong, bit for bit."""
    folder = tmp_path_factory.mktemp("fault-free")
    with servers.clone(template) as url:
        engine = make_engine(url)
        workshop = make_workshop(make_sessions(engine), url, servers.valkey.url, checkpoints, folder)
        try:
            for member in MEMBERS[:2]:
                workshop.register(member)
            workshop.start_worker()
            workshop.wait(lambda: workshop.idle() and len(workshop.measured()["pairs"]) == 1)
            return workshop.measured()
        finally:
            workshop.stop_all()
            engine.dispose()
