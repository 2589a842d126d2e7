"""One pair in full: its score, what it is made of, its controls, and who made it."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.reads.scores import Neighbour, neighbours
from registry.reads.similar import require_not_failed
from registry.reads.snapshot import Snapshot
from registry.reads.solo import Share
from registry.reads.zoo import Model
from registry.tables import AttackRow, ModelState, TransferRow, WorkerRow
from sat_engine import bits


@dataclass(frozen=True, kw_only=True, slots=True)
class Controls:
    """Rates beside one direction's; None where not measured, or where both input sizes are equal (floor, ceiling).

    floor: the target is wrong on the source's clean image, resized. ceiling: the source is fooled by its own
    image after it went to the target's size and back. noise: random noise of the same size fools the target.
    """

    floor: float | None
    ceiling: float | None
    noise: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RungCounts:
    """The counts of one rung, over its n images that both classify correctly; None: this direction is missing."""

    rung: int
    n: int
    a_fools_b: int | None
    b_fools_a: int | None


@dataclass(frozen=True, slots=True)
class Maker:
    """Where a part of the result was computed."""

    code_version: str
    device: str
    numeric_path: str
    worker: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A pair. score is b seen from a, None where nothing is recorded; reason says why there is no SAT."""

    a: Model
    b: Model
    score: Neighbour | None
    a_fools_b: Share | None
    b_fools_a: Share | None
    both: int | None
    reason: str | None
    rungs: tuple[RungCounts, ...]
    a_to_b: Controls
    b_to_a: Controls
    made_by: tuple[Maker, ...]


NO_CONTROLS = Controls(floor=None, ceiling=None, noise=None)


def read_pair(session: Session, snapshot: Snapshot, a_reference: str, b_reference: str) -> Pair:
    """The pair as the snapshot has it, with the evidence behind it from the database."""
    a, b = snapshot.find(a_reference), snapshot.find(b_reference)
    for model in (a, b):
        require_not_failed(model)
    here, there = snapshot.row(a), snapshot.row(b)
    score = next(iter(neighbours(snapshot, a, [b])), None)
    if score is None or here is None or there is None:
        return _unmeasured(snapshot, a, b)
    cells = snapshot.cells
    out, into = (int(cells.fooled[index]) for index in ((here, there), (there, here)))
    both = int(cells.both[here, there])
    evidence = _Diagonal(session, snapshot, a) if here == there else _Transfers(session, snapshot, a, b)
    return Pair(
        a=a,
        b=b,
        score=score,
        a_fools_b=Share(out, score.n) if out >= 0 else None,
        b_fools_a=Share(into, score.n) if into >= 0 else None,
        both=both if both >= 0 else None,
        reason=None if score.n else "no image is classified correctly by both, so there is nothing to compare on.",
        rungs=tuple(evidence.rungs()),
        a_to_b=evidence.controls(a, b),
        b_to_a=evidence.controls(b, a),
        made_by=tuple(evidence.makers()),
    )


def _unmeasured(snapshot: Snapshot, a: Model, b: Model) -> Pair:
    return Pair(
        a=a,
        b=b,
        score=None,
        a_fools_b=None,
        b_fools_a=None,
        both=None,
        reason=_why_missing(snapshot, a, b),
        rungs=(),
        a_to_b=NO_CONTROLS,
        b_to_a=NO_CONTROLS,
        made_by=(),
    )


def _why_missing(snapshot: Snapshot, a: Model, b: Model) -> str:
    for model in (a, b):
        if not model.measured:
            return f"not measured yet: {model.name} is still being prepared."
        if not snapshot.solo(model).attack and not (model.network and model.network.id in snapshot.unattackable):
            return f"not measured yet: {model.name} has not been attacked."
    assert a.network is not None
    assert b.network is not None
    refused = snapshot.find_refusal(a.network.id, b.network.id)
    if refused:
        return f"this pair could not be measured: {refused}"
    archived = next((model.name for model in (a, b) if model.state is ModelState.ARCHIVED), None)
    if archived:
        return f"it was not measured before {archived} was archived, and no longer is."
    return "not measured yet: its transfers are queued (GET /jobs)."


class _Diagonal:
    """The evidence of a network with itself: its attacks."""

    def __init__(self, session: Session, snapshot: Snapshot, model: Model) -> None:
        assert model.network is not None
        self._rows = session.execute(
            select(AttackRow, WorkerRow)
            .join(WorkerRow, WorkerRow.id == AttackRow.worker_id)
            .where(AttackRow.comparison_id == snapshot.comparison.id, AttackRow.network_id == model.network.id)
            .order_by(AttackRow.rung)
        ).all()

    def rungs(self) -> Iterable[RungCounts]:
        for attack, _ in self._rows:
            yield RungCounts(rung=attack.rung, n=attack.attacked, a_fools_b=attack.n_fooled, b_fools_a=attack.n_fooled)

    def controls(self, _source: Model, _target: Model) -> Controls:
        noise = Share(sum(row.n_noise_fooled for row, _ in self._rows), sum(row.attacked for row, _ in self._rows))
        return Controls(floor=None, ceiling=None, noise=noise.rate if noise.n else None)

    def makers(self) -> Iterable[Maker]:
        return _makers((attack.numeric_path, worker) for attack, worker in self._rows)


class _Transfers:
    """The evidence of two networks: the cells of both directions, and the noise control of both."""

    def __init__(self, session: Session, snapshot: Snapshot, a: Model, b: Model) -> None:
        assert a.network is not None
        assert b.network is not None
        self._snapshot, self._a, self._b = snapshot, a.network.id, b.network.id
        shown = int(snapshot.cells.rungs[snapshot.position[self._a], snapshot.position[self._b]])
        ids = (self._a, self._b)
        self._rows = session.execute(
            select(TransferRow, WorkerRow)
            .join(WorkerRow, WorkerRow.id == TransferRow.worker_id)
            .where(
                TransferRow.comparison_id == snapshot.comparison.id,
                TransferRow.source_id.in_(ids),
                TransferRow.target_id.in_(ids),
                TransferRow.rung < shown,
            )
            .order_by(TransferRow.rung)
        ).all()
        self._cells = {(row.source_id, row.rung): row for row, _ in self._rows}

    def rungs(self) -> Iterable[RungCounts]:
        for rung in (0, 1):
            out, into = self._cells.get((self._a, rung)), self._cells.get((self._b, rung))
            one = out or into
            if one is not None:
                yield RungCounts(
                    rung=rung,
                    n=one.common,
                    a_fools_b=out.n_fooled if out else None,
                    b_fools_a=into.n_fooled if into else None,
                )

    def controls(self, source: Model, target: Model) -> Controls:
        assert source.network is not None
        assert target.network is not None
        cells = [cell for (source_id, _), cell in self._cells.items() if source_id == source.network.id]
        if not cells:
            return NO_CONTROLS
        n = sum(cell.common for cell in cells)
        return Controls(
            floor=_rate((cell.floor_fooled for cell in cells), n),
            ceiling=_rate((cell.ceiling_fooled for cell in cells), self._attacked(source.network.id, cells)),
            noise=_rate((self._noise(cell) for cell in cells), n),
        )

    def makers(self) -> Iterable[Maker]:
        return _makers((cell.numeric_path, worker) for cell, worker in self._rows)

    def _attacked(self, source_id: int, cells: list[TransferRow]) -> int:
        """The images that the source's attack has on the cells' rungs: those that it classifies correctly."""
        correct = self._snapshot.measures.attack_bits[source_id].correct
        return sum(bits.count(correct[cell.rung]) for cell in cells)

    def _noise(self, cell: TransferRow) -> bytes | None:
        """The common images on which noise fools the cell's target; None before its own attack."""
        of_source = self._snapshot.measures.attack_bits[cell.source_id]
        of_target = self._snapshot.measures.attack_bits[cell.target_id]
        if len(of_target.noise) <= cell.rung:
            return None

        both = int.from_bytes(of_target.noise[cell.rung])
        for each in (of_source, of_target):
            both &= int.from_bytes(each.correct[cell.rung])
        return both.to_bytes(len(of_target.noise[cell.rung]))


def _rate(packed: Iterable[bytes | None], n: int) -> float | None:
    known = list(packed)
    if not n or None in known:
        return None
    return sum(bits.count(each) for each in known if each is not None) / n


def _makers(made: Iterable[tuple[str, WorkerRow]]) -> list[Maker]:
    makers = {
        Maker(worker.code_version, worker.device, numeric_path, f"{worker.host}:{worker.pid}")
        for numeric_path, worker in made
    }
    return sorted(makers, key=lambda each: (each.worker, each.code_version, each.numeric_path))
