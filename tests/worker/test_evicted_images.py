"""Adversarial images are a cache: evicted when nothing waits for them, made again when something does."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from registry.storage.artifacts import write_artifact
from registry.storage.eviction import evict
from registry.tables import ArtifactRow, AttackRow, JobRow, NetworkRow, PairRow, TransferRow

# Of 64 and 32 images at 32 by 32: two sets of rung 0 fit, and nothing more.
LIMIT = 2 * 64 * 32 * 32 + 8_000


def images_kept(workshop) -> int:
    with workshop.sessions() as session:
        return int(
            session.scalars(
                select(func.coalesce(func.sum(ArtifactRow.bytes), 0)).where(ArtifactRow.kind == "adversarial")
            ).one()
        )


def among(measured, digests):
    """What was measured of these networks alone."""
    return {
        "attacks": [row for row in measured["attacks"] if row[0] in digests],
        "transfers": [row for row in measured["transfers"] if row[0] in digests and row[1] in digests],
        "pairs": [row for row in measured["pairs"] if row[0] in digests and row[1] in digests],
    }


def evict_all(workshop) -> None:
    evict(workshop.sessions, workshop.store.remove, 10**9)
    with workshop.sessions() as session:
        assert session.scalars(select(AttackRow.images)).all() == [None] * 4
    assert images_kept(workshop) == 0


def test_evicted_images_are_made_again_and_changed_ones_are_measured_again(workshop, members, fault_free):
    """One registry, one worker with a small quota: what is measured is what a registry without a quota measures."""
    workshop.start_worker(SAT_ADVERSARIAL_BYTES=str(LIMIT), SAT_GC_INTERVAL_SECONDS="1")
    garbage = write_artifact(workshop.store, workshop.sessions, "test", lambda path: path.write_bytes(b"garbage"))
    with workshop.sessions.begin() as session:
        session.get_one(ArtifactRow, garbage.sha256).touched_at = datetime.now(UTC) - timedelta(hours=2)
    for member in members[:2]:
        workshop.register(member)
    workshop.wait(lambda: len(workshop.measured()["transfers"]) == 4 and workshop.idle())
    assert workshop.measured() == fault_free
    assert 0 < images_kept(workshop) <= LIMIT
    evict_all(workshop)

    # one of the four sets will come out otherwise than it is recorded, as on other hardware
    with workshop.sessions.begin() as session:
        network_id = session.scalars(select(NetworkRow.id).order_by(NetworkRow.id)).first()
        session.execute(
            update(AttackRow)
            .where(AttackRow.network_id == network_id, AttackRow.rung == 0)
            .values(images_sha256=b"other hardware made others here ")
        )
    workshop.register(members[2])
    workshop.wait(lambda: len(workshop.measured()["transfers"]) == 12 and workshop.idle())
    digests = {row[0] for row in fault_free["attacks"]}
    assert among(workshop.measured(), digests) == {name: fault_free[name] for name in ("attacks", "transfers", "pairs")}
    with workshop.sessions() as session:
        assert session.scalars(select(func.count()).select_from(PairRow).where(PairRow.rungs == 2)).one() == 3
        made_anew = session.scalars(
            select(TransferRow.fence).where(TransferRow.source_id == network_id, TransferRow.rung == 0)
        ).all()
        assert len(made_anew) == 2, "each cell once"
    assert images_kept(workshop) <= LIMIT
    assert not workshop.store.holds(garbage), "a worker collects it now and then"
    assert "comes out otherwise" in workshop.logs()


@pytest.mark.skipif("SAT_TEST_STORAGE" not in os.environ, reason="takes a while: make test-storage")
def test_a_full_store_makes_work_wait_with_a_reason_and_fails_nobody(workshop, members):
    with workshop.sessions() as session:
        used = session.scalars(select(func.sum(ArtifactRow.bytes))).one()
    files = sum(workshop.checkpoints[member.name].stat().st_size for member in members[:2])
    # room for checkpoints and weights (the same tensors, other headers), not for what is measured
    full = workshop.start_worker(SAT_ARTIFACTS_QUOTA_BYTES=str(int(used) + 2 * files + 8_000))
    for member in members[:2]:
        workshop.register(member)

    def waits() -> bool:
        with workshop.sessions() as session:
            reasons = session.scalars(select(JobRow.failure).where(JobRow.not_before > func.now())).all()
        return sum("SAT_ARTIFACTS_QUOTA_BYTES" in (reason or "") for reason in reasons) == 2

    workshop.wait(waits)
    assert [model.failure for model in workshop.models()] == [None, None]
    full.terminate()
    assert full.wait(timeout=60) == 0
    with workshop.sessions.begin() as session:  # a second from now rather than ten
        session.execute(update(JobRow).values(not_before=None))
    workshop.start_worker()
    workshop.wait(lambda: len(workshop.measured()["transfers"]) == 4 and workshop.idle())
