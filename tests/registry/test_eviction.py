"""Which adversarial images make room for others, in which order, and which must not."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, func, select, update

from registry.errors import StorageFullError
from registry.remaking import replace_attack
from registry.results import TransferRecord, record_transfers
from registry.storage.artifacts import ArtifactStore, StoreLimits
from registry.storage.eviction import adversarial_bytes, evict, make_room, touch
from registry.tables import (
    ArtifactRow,
    AttackRow,
    ComparisonRow,
    JobKind,
    JobRow,
    ModelRow,
    ModelState,
    PairRow,
    TransferRow,
)
from registry.upkeep.gc import Retention, preview, sweep
from registry.wanting import want
from sat_engine import bits
from tests.registry.conftest import PREFIX
from tests.registry.measured import add_attack, add_cell, add_networks, add_pair, put

SIZE = 1000


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache")


@pytest.fixture
def zoo(small, store):
    """Three networks with both rungs attacked, of a thousand bytes each, used an hour apart, the first longest ago."""
    networks = add_networks(small, store, "a", "b", "c")
    for age, network in enumerate(reversed(networks)):
        for rung in (0, 1):
            sha256 = add_attack(small, store, network, rung=rung, images=bytes([network, rung]) * (SIZE // 2))
            use(small, sha256, age)
    return networks


def use(small, sha256, hours_ago) -> None:
    with small.sessions.begin() as session:
        session.get_one(ArtifactRow, sha256).touched_at = datetime.now(UTC) - timedelta(hours=hours_ago)


def kept(small) -> set[tuple[int, int]]:
    with small.sessions() as session:
        return {
            (row.network_id, row.rung)
            for row in session.scalars(select(AttackRow).where(AttackRow.images.is_not(None)))
        }


def want_transfers(small, target) -> None:
    with small.sessions.begin() as session:
        want(session, JobKind.TRANSFERS, network_id=target, comparison_id=small.comparison_id)


def test_rung_1_goes_before_rung_0_and_the_least_recently_used_first(small, store, zoo):
    a, b, c = zoo
    order = [(a, 1), (b, 1), (c, 1), (a, 0), (b, 0), (c, 0)]
    for gone in range(1, 7):
        assert evict(small.sessions, store.remove, 1) == SIZE
        assert kept(small) == set(order[gone:])
    assert evict(small.sessions, store.remove, 1) == 0
    with small.sessions() as session:
        assert adversarial_bytes(session) == 0
        assert session.scalars(select(func.count()).where(AttackRow.images_sha256.is_not(None))).one() == 6


def test_a_use_is_noted_and_sources_that_are_measured_no_more_go_first(small, store, zoo):
    a, b, c = zoo
    with small.sessions.begin() as session:
        touch(session, [session.get_one(AttackRow, (small.comparison_id, a, 1)).images])
        session.execute(update(ModelRow).where(ModelRow.network_id == c).values(state=ModelState.ARCHIVED))
    assert evict(small.sessions, store.remove, 3 * SIZE) == 3 * SIZE
    assert kept(small) == {(a, 0), (a, 1), (b, 0)}


def test_images_that_a_cell_waits_for_stay(small, store, zoo):
    a, b, c = zoo
    want_transfers(small, c)
    add_cell(small, a, c, 5)  # rung 0 of a is done with
    assert evict(small.sessions, store.remove, 10 * SIZE) == 3 * SIZE
    assert kept(small) == {(a, 1), (b, 0), (b, 1)}
    with pytest.raises(StorageFullError, match="cells wait"):
        make_room(small.sessions, store.remove, SIZE, 3 * SIZE)
    make_room(small.sessions, store.remove, SIZE, 4 * SIZE)
    # a job that is held up does not keep others waiting
    with small.sessions.begin() as session:
        session.execute(update(JobRow).values(failure="another kind of worker is needed"))
    make_room(small.sessions, store.remove, SIZE, SIZE)
    assert kept(small) == set()


def test_a_target_holds_the_images_of_those_alone_that_asked_it(small, store, zoo):
    a, _, c = zoo
    with small.sessions.begin() as session:
        want(session, JobKind.TRANSFERS, network_id=c, comparison_id=small.comparison_id)
        session.execute(update(JobRow).values(sources=[a]))
    assert evict(small.sessions, store.remove, 10 * SIZE) == 4 * SIZE
    assert kept(small) == {(a, 0), (a, 1)}


def test_finding_room_looks_at_few_however_many_there_are(small, store, zoo):
    """However many there are, whether cells wait for them is asked twice at most."""
    asked = []
    engine = small.sessions.kw["bind"]
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    for number in range(20):
        network = small.add_network(f"more-{number}")
        add_attack(small, store, network, images=b"%09d" % number)

    def looks() -> int:
        return sum(
            statement.startswith("SELECT") and "JOIN" not in statement and "jobs" in statement for statement in asked
        )

    asked.clear()
    assert evict(small.sessions, store.remove, 1) == SIZE
    assert looks() == 1
    for target in zoo:
        want_transfers(small, target)
    asked.clear()
    assert evict(small.sessions, store.remove, 10**9) == 0
    assert looks() == 2


def test_a_quota_that_was_lowered_is_kept_by_the_next_sweep(small, tmp_path, zoo):
    tight = ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache", StoreLimits(adversarial=2 * SIZE))
    assert preview(small.sessions, tight, Retention()).evicted_bytes == 4 * SIZE
    assert sweep(small.sessions, tight, Retention()).evicted_bytes == 4 * SIZE
    assert len(kept(small)) == 2


def test_images_make_room_for_an_upload_within_the_quota(small, tmp_path, zoo):
    with small.sessions() as session:
        used = session.scalars(select(func.sum(ArtifactRow.bytes))).one()
    limited = ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache", StoreLimits(quota=int(used)))
    put(limited, small.sessions, b"x" * (SIZE + 1))
    assert len(kept(small)) == 4
    with pytest.raises(StorageFullError, match="SAT_ARTIFACTS_QUOTA_BYTES"):
        put(limited, small.sessions, b"y" * 100_000)
    with small.sessions() as session:
        assert session.scalars(select(func.sum(ArtifactRow.bytes))).one() <= used


def test_an_attack_that_comes_out_otherwise_goes_with_its_cells_alone(small, store, zoo):
    a, b, c = zoo
    for one, other in ((a, b), (a, c), (b, c)):
        add_pair(small, one, other)
    want_transfers(small, c)
    claimed = small.claim_of(JobKind.TRANSFERS, c)
    with small.sessions() as session:
        images = session.get_one(AttackRow, (small.comparison_id, a, 0)).images_sha256
    with small.sessions.begin() as session:
        assert not replace_attack(session, claimed, a, 0, b"w" * 32), "somebody else has replaced it"
    with small.sessions.begin() as session:
        assert replace_attack(session, claimed, a, 0, images)
    with small.sessions() as session:
        cells = {(row.source_id, row.target_id) for row in session.scalars(select(TransferRow))}
        assert cells == {(b, a), (c, a), (b, c), (c, b)}
        pairs = {(row.a_id, row.b_id): (row.fooled_ab, row.fooled_ba) for row in session.scalars(select(PairRow))}
        assert pairs == {(a, b): (None, 3), (a, c): (None, 3), (b, c): (5, 3)}
        versions = {row.version for row in session.scalars(select(PairRow).where(PairRow.a_id == a))}
        assert versions == {session.get_one(ComparisonRow, small.comparison_id).version}
        assert session.get(AttackRow, (small.comparison_id, a, 0)) is None
        assert session.scalars(select(JobRow.network_id).where(JobRow.kind == JobKind.ATTACK)).all() == [a]

    # a cell that was being computed from the old images comes too late
    late = TransferRecord(
        source_id=a, rung=0, common=PREFIX, fooled=bits.unpack(b"\xff\x00", PREFIX), floor_fooled=None,
        ceiling_fooled=None, numeric_path="test", images_sha256=images,
    )  # fmt: skip
    with small.sessions.begin() as session:
        record_transfers(session, claimed, [late])
    add_attack(small, store, a, images=b"others")
    with small.sessions.begin() as session:
        record_transfers(session, claimed, [late])
    with small.sessions() as session:
        assert session.get(TransferRow, (small.comparison_id, c, a, 0)) is None
