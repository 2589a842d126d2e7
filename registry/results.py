"""Recording what was measured: in short transactions, each under the claim that its results were made in.

Locks are taken in one order everywhere: the claim's job row, other job rows, the pair, and last the comparison.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import delete, exists, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.counting import PAIR_COLUMNS, Counts, count_pairs
from registry.jobs import Claim, hold, lock_jobs, note_progress
from registry.tables import (
    AttackRow,
    EvaluationRow,
    ImageSetRow,
    JobKind,
    JobRow,
    JobState,
    Part,
    RefusalRow,
)
from registry.versions import CHANNEL, RAISE, TELL, raise_version
from registry.wanting import want
from sat_engine import bits

_REFUSING = (JobKind.ATTACK, JobKind.TRANSFERS)  # whose cells may be refused
# Cells are recorded by a handful of statements: as text, since building them takes longer than running them.
_KEEP_IMAGES = text(
    "select network_id, rung, images_sha256 from attacks"
    " where comparison_id = :comparison and network_id = any(:sources) order by network_id, rung for key share"
)
# Pairs are locked in the order of their key, as every transaction locks them.
_INSERT_CELLS = text(
    "with inserted as (insert into transfers"
    " (comparison_id, target_id, source_id, rung, common, fooled, n_fooled, floor_fooled, ceiling_fooled, numeric_path,"
    " worker_id, seconds, fence)"
    " select :comparison, :target, source, rung, common, fooled, n_fooled, floor_fooled, ceiling_fooled, numeric_path,"
    " :worker, seconds, :fence from unnest(cast(:source as integer[]), cast(:rung as smallint[]),"
    " cast(:common as integer[]), cast(:fooled as bytea[]), cast(:n_fooled as integer[]),"
    " cast(:floor_fooled as bytea[]), cast(:ceiling_fooled as bytea[]), cast(:numeric_path as text[]),"
    " cast(:seconds as double precision[])) as cell (source, rung, common, fooled, n_fooled, floor_fooled,"
    " ceiling_fooled, numeric_path, seconds)"
    " on conflict do nothing returning source_id),"
    " met as (select distinct source_id from inserted),"
    " locked as (insert into pairs (comparison_id, a_id, b_id, rungs, n, fooled_ab, version)"
    " select :comparison, least(:target, source_id), greatest(:target, source_id), 1, 0, 0, 0 from met order by 2, 3"
    " on conflict (comparison_id, a_id, b_id) do update set version = pairs.version)"
    " select source_id from met order by source_id"
)
_SET = (
    "update pairs set rungs = new.rungs, n = new.n, fooled_ab = new.fooled_ab, fooled_ba = new.fooled_ba,"
    " fooled_both = new.fooled_both, version = {version} from {raised}"
    " unnest(cast(:a as integer[]), cast(:b as integer[]), cast(:rungs as smallint[]), cast(:n as integer[]),"
    " cast(:fooled_ab as integer[]), cast(:fooled_ba as integer[]), cast(:fooled_both as integer[]))"
    " as new (a, b, rungs, n, fooled_ab, fooled_ba, fooled_both)"
    " where pairs.comparison_id = :comparison and pairs.a_id = new.a and pairs.b_id = new.b"
)
_SET_PAIRS = text(_SET.format(version=":version", raised=""))
# `raise_version` and that in one exchange; the pairs are locked already, so the comparison still comes last
_RAISE_AND_SET_PAIRS = text(
    f"with raised as ({RAISE}), written as ({_SET.format(version='raised.version', raised='raised, ')}) {TELL}"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationResult:
    """One network's clean answers on one (part, rung)."""

    part: Part
    rung: int
    correct: np.ndarray
    logits: bytes
    numeric_path: str
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackRecord:
    """One source's adversarial images on one rung, and what they do to the source itself."""

    rung: int
    attacked: int
    fooled: np.ndarray
    noise_fooled: np.ndarray
    images: bytes
    numeric_path: str
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferRecord:
    """One directed cell on one rung."""

    source_id: int
    rung: int
    common: int
    fooled: np.ndarray
    floor_fooled: np.ndarray | None
    ceiling_fooled: np.ndarray | None
    numeric_path: str
    seconds: float | None = None
    images_sha256: bytes | None = None  # of the images that were used; None: whatever the attack has


def record_evaluation(session: Session, claimed: Claim, image_set: ImageSetRow, result: EvaluationResult) -> None:
    """Record clean bits; the first rung starts the network's attack and the transfers onto it."""
    assert claimed.network_id is not None
    hold(session, claimed)
    session.execute(
        insert(EvaluationRow)
        .values(
            network_id=claimed.network_id,
            image_set_id=image_set.id,
            part=result.part,
            rung=result.rung,
            n=len(result.correct),
            correct=bits.pack(result.correct),
            n_correct=int(result.correct.sum()),
            logits=result.logits,
            numeric_path=result.numeric_path,
            worker_id=claimed.worker_id,
            seconds=result.seconds,
        )
        .on_conflict_do_nothing()
    )
    note_progress(session, claimed)
    if result.part is Part.ATTACK:
        want_measuring(session, claimed, result.rung)
    assert claimed.comparison_id is not None
    raise_version(session, claimed.comparison_id)


def want_measuring(session: Session, claimed: Claim, rung: int) -> None:
    """Ask for the network's own attack and for the transfers of all recorded attacks onto it."""
    for kind in (JobKind.ATTACK, JobKind.TRANSFERS):
        want(session, kind, network_id=claimed.network_id, comparison_id=claimed.comparison_id, rung=rung)


def record_attack(session: Session, claimed: Claim, record: AttackRecord) -> None:
    """Record an attack; the end of its job asks the others for transfers of it (`meetings.want_meetings`)."""
    assert claimed.network_id is not None
    assert claimed.comparison_id is not None
    hold(session, claimed)
    session.execute(
        insert(AttackRow)
        .values(
            comparison_id=claimed.comparison_id,
            network_id=claimed.network_id,
            rung=record.rung,
            attacked=record.attacked,
            fooled=bits.pack(record.fooled),
            n_fooled=int(record.fooled.sum()),
            noise_fooled=bits.pack(record.noise_fooled),
            n_noise_fooled=int(record.noise_fooled.sum()),
            images=record.images,
            images_sha256=record.images,
            numeric_path=record.numeric_path,
            worker_id=claimed.worker_id,
            seconds=record.seconds,
            fence=claimed.fence,
        )
        .on_conflict_do_nothing()
    )
    raise_version(session, claimed.comparison_id)


def record_transfers(session: Session, claimed: Claim, records: Sequence[TransferRecord]) -> Sequence[int] | None:
    """Record directed cells onto one target and bring their pairs up to date. A cell twice changes nothing.

    A cell whose source was attacked anew meanwhile is not recorded: it is pending again. Return what `hold` returns.
    """
    assert claimed.network_id is not None
    assert claimed.comparison_id is not None
    sources = hold(session, claimed)
    current = _current(session, claimed.comparison_id, records)
    if current:
        _record_current(session, claimed, current)
    return sources


def _record_current(session: Session, claimed: Claim, current: Sequence[TransferRecord]) -> None:
    assert claimed.network_id is not None
    assert claimed.comparison_id is not None
    cells = {
        "source": [each.source_id for each in current],
        "rung": [each.rung for each in current],
        "common": [each.common for each in current],
        "fooled": [bits.pack(each.fooled) for each in current],
        "n_fooled": [int(each.fooled.sum()) for each in current],
        "floor_fooled": [_pack(each.floor_fooled) for each in current],
        "ceiling_fooled": [_pack(each.ceiling_fooled) for each in current],
        "numeric_path": [each.numeric_path for each in current],
        "seconds": [each.seconds for each in current],
    }
    claim = {
        "comparison": claimed.comparison_id,
        "target": claimed.network_id,
        "worker": claimed.worker_id,
        "fence": claimed.fence,
    }
    # The pairs' locks come before the count: two transactions that each record one direction would otherwise both miss
    # the other's.
    met = session.execute(_INSERT_CELLS, claim | cells).scalars().all()
    if met:
        note_progress(session, claimed)
        counted = count_pairs(session, claimed.comparison_id, claimed.network_id, met)
        session.execute(_RAISE_AND_SET_PAIRS, _columns(claimed.comparison_id, counted) | {"channel": CHANNEL})


def record_refusal(session: Session, claimed: Claim, source_id: int, rung: int, reason: str) -> None:
    """Record that a cell cannot be measured, so that its neighbours go on."""
    assert claimed.network_id is not None
    assert claimed.comparison_id is not None
    hold(session, claimed)
    refuse_cell(session, claimed.comparison_id, claimed.network_id, source_id, rung=rung, reason=reason)
    raise_version(session, claimed.comparison_id)


def refuse_cell(
    session: Session, comparison_id: int, target_id: int, source_id: int, *, rung: int, reason: str
) -> None:
    """Enter a cell that cannot be measured; the caller holds the target's job and raises the version last."""
    session.execute(
        insert(RefusalRow)
        .values(comparison_id=comparison_id, target_id=target_id, source_id=source_id, rung=rung, reason=reason)
        .on_conflict_do_nothing()
    )


def record_unattackable(session: Session, claimed: Claim, reason: str) -> None:
    """Record that the comparison's attack cannot be made against the claim's network."""
    assert claimed.network_id is not None
    record_refusal(session, claimed, claimed.network_id, 0, reason)


def retry_measuring(session: Session, network_id: int) -> bool:
    """Queue a network's failed jobs and forget the refusals of its cells; whether there were any."""
    own = (JobRow.network_id == network_id) & (JobRow.state == JobState.FAILED)
    refused = or_(RefusalRow.source_id == network_id, RefusalRow.target_id == network_id)
    targets = select(RefusalRow.target_id).where(refused)
    # all of them first, in their order: what is refused after this is not what somebody wants tried again
    locked = lock_jobs(session, own | (JobRow.kind.in_(_REFUSING) & JobRow.network_id.in_(targets)))
    failed = session.execute(select(JobRow.kind, JobRow.comparison_id).where(own, JobRow.id.in_(locked))).all()
    forgotten = session.execute(
        delete(RefusalRow)
        .where(refused, exists().where(JobRow.id.in_(locked), JobRow.network_id == RefusalRow.target_id))
        .returning(RefusalRow.target_id, RefusalRow.source_id, RefusalRow.comparison_id)
    ).all()
    for kind, comparison_id in failed:
        want(session, kind, network_id=network_id, comparison_id=comparison_id)
    for target_id, source_id, comparison_id in sorted({tuple(each) for each in forgotten}):
        kind = JobKind.ATTACK if source_id == target_id else JobKind.TRANSFERS
        want(session, kind, network_id=target_id, comparison_id=comparison_id)
    return bool(failed or forgotten)


def _current(session: Session, comparison_id: int, records: Sequence[TransferRecord]) -> list[TransferRecord]:
    """The records whose attack still has the images that were used; it keeps them until the transaction ends."""
    asked = {"comparison": comparison_id, "sources": sorted({each.source_id for each in records})}
    images = {(row.network_id, row.rung): row.images_sha256 for row in session.execute(_KEEP_IMAGES, asked)}
    return [
        each
        for each in records
        if (each.source_id, each.rung) in images and each.images_sha256 in (None, images[each.source_id, each.rung])
    ]


def write_pairs(session: Session, comparison_id: int, counted: Mapping[tuple[int, int], Counts], version: int) -> None:
    """Write what was counted into the rows of the pairs (a, b), which are locked, and stamp them with the version."""
    if counted:
        session.execute(_SET_PAIRS, _columns(comparison_id, counted) | {"version": version})


def _columns(comparison_id: int, counted: Mapping[tuple[int, int], Counts]) -> dict[str, object]:
    """What was counted, as the statements that write pairs take it."""
    columns = {name: [counts[name] for counts in counted.values()] for name in PAIR_COLUMNS}
    a, b = zip(*counted, strict=True)
    return {**columns, "comparison": comparison_id, "a": list(a), "b": list(b)}


def _pack(flags: np.ndarray | None) -> bytes | None:
    return None if flags is None else bits.pack(flags)
