"""Jobs done as a worker does them, in the same transactions, with computations that take no time."""

import numpy as np

from registry.jobs import Claim, finish, finish_with, hold
from registry.meetings import want_meetings
from registry.pending import pending_attacks, pending_cells, pending_evaluations
from registry.results import (
    AttackRecord,
    EvaluationResult,
    TransferRecord,
    record_attack,
    record_evaluation,
    record_transfers,
    want_measuring,
)
from registry.tables import JobKind
from registry.wanting import want
from tests.registry.conftest import N_ATTACK, PREFIX, Small, add_artifact

SIZES = (PREFIX, N_ATTACK - PREFIX)


def start(small: Small, name: str) -> int:
    """A newcomer, evaluated, whose attack and transfers are wanted; returns its network's id."""
    network_id = small.add_network(name)
    with small.sessions.begin() as session:
        for kind in (JobKind.ATTACK, JobKind.TRANSFERS):
            want(session, kind, network_id=network_id, comparison_id=small.comparison_id)
    return network_id


def measure_all(small: Small) -> int:
    """Do every queued job; return how many cells were recorded."""
    recorded = 0
    while (claimed := small.claim()) is not None:
        recorded += do(small, claimed)
    return recorded


def do(small: Small, claimed: Claim) -> int:
    """Do one job; return how many cells were recorded. LostLeaseError when it was fenced off meanwhile."""
    if claimed.kind is JobKind.EVALUATE:
        _evaluate(small, claimed)
    elif claimed.kind is JobKind.ATTACK:
        _attack(small, claimed)
    else:
        return _transfer(small, claimed)
    return 0


def attack_of(session, rung: int) -> AttackRecord:
    """A stub attack that fools its source everywhere."""
    everywhere = np.ones(SIZES[rung], bool)
    return AttackRecord(
        rung=rung, attacked=SIZES[rung], fooled=everywhere, noise_fooled=~everywhere,
        images=add_artifact(session, f"adversarial {rung}"), numeric_path="test",
    )  # fmt: skip


def transfer_of(source_id: int, rung: int) -> TransferRecord:
    """A stub cell that fools nobody."""
    return TransferRecord(
        source_id=source_id, rung=rung, common=SIZES[rung], fooled=np.zeros(SIZES[rung], bool),
        floor_fooled=None, ceiling_fooled=None, numeric_path="test",
    )  # fmt: skip


def _evaluate(small: Small, claimed: Claim) -> None:
    with small.sessions.begin() as session:
        image_set = small.image_set(session)
        missing = pending_evaluations(session, claimed.network_id, image_set)
    for part, rung in missing:
        with small.sessions.begin() as session:
            result = EvaluationResult(
                part=part, rung=rung, correct=np.ones(SIZES[rung], bool), logits=add_artifact(session, "logits"),
                numeric_path="test",
            )  # fmt: skip
            record_evaluation(session, claimed, image_set, result)
    with small.sessions.begin() as session:
        finish(session, claimed)
        want_measuring(session, claimed, rung=0)


def _attack(small: Small, claimed: Claim) -> None:
    with small.sessions.begin() as session:
        image_set = small.image_set(session)
        subject = (claimed.network_id, small.comparison_id, image_set)
        rungs = pending_attacks(session, *subject)
    for rung in rungs[:1]:
        with small.sessions.begin() as session:
            record_attack(session, claimed, attack_of(session, rung))
    with small.sessions.begin() as session:
        hold(session, claimed)
        want_meetings(session, claimed, image_set)
        left = pending_attacks(session, *subject)
        finish_with(session, claimed, left[0] if left else None)


def _transfer(small: Small, claimed: Claim) -> int:
    with small.sessions.begin() as session:
        image_set = small.image_set(session)
        subject = (claimed.network_id, small.comparison_id, image_set)
        cells = pending_cells(session, *subject, sources=claimed.sources)
    now = [cell for cell in cells if cell.rung == cells[0].rung]
    for cell in now:
        with small.sessions.begin() as session:
            record_transfers(session, claimed, [transfer_of(cell.source_id, cell.rung)])
    with small.sessions.begin() as session:
        left = pending_cells(session, *subject, sources=hold(session, claimed))
        first = left[0] if left else None
        finish_with(session, claimed, first.rung if first else None, nearness=first.nearness if first else None)
    return len(now)
