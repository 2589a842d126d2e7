"""The history checker: what the database holds at the end against what it must hold, and against what clients saw."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.tables import (
    AttackRow,
    EvaluationRow,
    JobRow,
    JobState,
    ModelRow,
    ModelState,
    NameRow,
    NetworkRow,
    PairRow,
    RefusalRow,
    TransferRow,
)
from sat_engine import bits
from tests.faults.clients import Diary


class Wrong(StrEnum):
    """What can be wrong with a history."""

    LOST = "an acknowledged registration is lost"
    FAILED = "a sound model failed"
    UNFINISHED = "work is left undone"
    MISSING = "a result is missing"
    DUPLICATE = "a result is there twice"
    DIFFERENT = "a result differs from the fault-free run"
    UNKNOWN = "a result that the fault-free run does not have"
    MISCOUNTED = "a pair's counts are not its cells'"
    UNLAWFUL = "a result was recorded under a lost fence"
    ORPHAN = "something belongs to nothing"
    ANSWER = "the api gave an improper answer"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing that must not be."""

    wrong: Wrong
    what: str

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"{self.wrong}: {self.what}"


Key = tuple[Hashable, ...]
Value = tuple[object, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Everything that was measured, as rows (key, value); networks are told by their digests."""

    evaluations: Sequence[tuple[Key, Value]]
    attacks: Sequence[tuple[Key, Value]]
    transfers: Sequence[tuple[Key, Value]]
    pairs: Sequence[tuple[Key, Value]]


def read_measured(session: Session) -> Measured:
    """Read every result, bit for bit; a pair is keyed by its ordered networks as it stands in the table."""
    digest = {row.id: row.digest.hex()[:8] for row in session.scalars(select(NetworkRow))}
    return Measured(
        evaluations=[
            ((digest[row.network_id], row.part.value, row.rung), (row.n, row.correct, row.n_correct, row.logits))
            for row in session.execute(select(EvaluationRow.__table__))
        ],
        attacks=[
            (
                (digest[row.network_id], row.rung),
                (row.attacked, row.fooled, row.n_fooled, row.noise_fooled, row.images_sha256),
            )
            for row in session.execute(select(AttackRow.__table__))
        ],
        transfers=[
            (
                (digest[row.source_id], digest[row.target_id], row.rung),
                (row.common, row.fooled, row.n_fooled, row.floor_fooled, row.ceiling_fooled),
            )
            for row in session.execute(select(TransferRow.__table__))
        ],
        pairs=[
            (
                (digest[row.a_id], digest[row.b_id]),
                (row.rungs, row.n, row.fooled_ab, row.fooled_ba, row.fooled_both),
            )
            for row in session.execute(select(PairRow.__table__))
        ],
    )


def check_results(found: Measured, expected: Measured) -> Iterator[Anomaly]:
    """Every result exactly once, and as in the fault-free run; every pair counted from its own two cells."""
    for table in ("evaluations", "attacks", "transfers"):
        yield from _compare(table, getattr(found, table), getattr(expected, table))
    cells = dict(found.transfers)
    for (a, b), counts in found.pairs:
        counted = _count(cells, a, b)
        if counts != counted:
            yield Anomaly(Wrong.MISCOUNTED, f"{a}, {b} has {counts}, its cells say {counted}")
    repeated = [key for key, times in Counter(frozenset(key) for key, _ in found.pairs).items() if times > 1]
    yield from (Anomaly(Wrong.DUPLICATE, f"pair {sorted(map(str, key))}") for key in repeated)
    paired = {frozenset(key) for key, _ in found.pairs}
    for pair in sorted({tuple(sorted(map(str, key[:2]))) for key, _ in expected.transfers}):
        if frozenset(pair) not in paired:
            yield Anomaly(Wrong.MISSING, f"pair {', '.join(pair)}")


def check_rows(session: Session, acknowledged: Iterable[str]) -> Iterator[Anomaly]:
    """Every acknowledged model is there and sound, and nothing waits, runs, failed or was refused."""
    named = set(session.scalars(select(NameRow.name)))
    for name in acknowledged:
        if name not in named:
            yield Anomaly(Wrong.LOST, name)
    for model in session.scalars(select(ModelRow).where(ModelRow.state.in_([ModelState.FAILED, ModelState.RECEIVED]))):
        yield Anomaly(Wrong.FAILED, f"model {model.id} is {model.state}: {model.failure}")
    for job in session.scalars(select(JobRow).where(JobRow.state != JobState.IDLE)):
        wrong = Wrong.FAILED if job.state is JobState.FAILED else Wrong.UNFINISHED
        yield Anomaly(wrong, f"job {job.id} ({job.kind}) is {job.state}: {job.failure}")
    refused = session.scalars(select(func.count()).select_from(RefusalRow)).one()
    if refused:
        yield Anomaly(Wrong.FAILED, f"{refused} cells were refused")


def check_answers(diary: Diary) -> Iterator[Anomaly]:
    """Every answer was a result, or a problem that says when to come again."""
    complaints = Counter(complaint for exchange in diary.exchanges if (complaint := exchange.complaint()))
    yield from (Anomaly(Wrong.ANSWER, f"{complaint}, {times} times") for complaint, times in complaints.items())
    yield from (Anomaly(Wrong.ANSWER, surprise) for surprise in diary.surprises)


def _compare(
    table: str, found: Sequence[tuple[Key, Value]], expected: Sequence[tuple[Key, Value]]
) -> Iterator[Anomaly]:
    times = Counter(key for key, _ in found)
    wanted = dict(expected)
    for key, value in found:
        if key not in wanted:
            yield Anomaly(Wrong.UNKNOWN, f"{table} {key}")
        elif value != wanted[key]:
            yield Anomaly(Wrong.DIFFERENT, f"{table} {key}")
    yield from (Anomaly(Wrong.DUPLICATE, f"{table} {key}") for key, n in times.items() if n > 1)
    yield from (Anomaly(Wrong.MISSING, f"{table} {key}") for key in wanted if key not in times)


def _count(cells: dict[Key, Value], a: Hashable, b: Hashable) -> Value:
    """A pair's counts from its cells, in plain arithmetic: over the leading rungs that both directions have."""
    rungs = [rung for rung in (0, 1) if (a, b, rung) in cells and (b, a, rung) in cells]
    there = [cells[a, b, rung] for rung in rungs]
    back = [cells[b, a, rung] for rung in rungs]
    return (
        len(rungs),
        sum(_number(cell[0]) for cell in there),
        sum(_ones(cell[1]) for cell in there),
        sum(_ones(cell[1]) for cell in back),
        sum(_both(one[1], other[1]) for one, other in zip(there, back, strict=True)),
    )


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _ones(packed: object) -> int:
    assert isinstance(packed, bytes)
    return int(bits.unpack(packed, 8 * len(packed)).sum())


def _both(one: object, other: object) -> int:
    assert isinstance(one, bytes)
    assert isinstance(other, bytes)
    return _ones(bytes(left & right for left, right in zip(one, other, strict=True)))


def as_json(anomalies: Iterable[Anomaly]) -> list[dict[str, str]]:
    """Return them for a summary."""
    return [{key: str(value) for key, value in asdict(anomaly).items()} for anomaly in anomalies]
