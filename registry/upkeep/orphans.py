"""What belongs to nothing, or lacks what it belongs to: bytes without a row, rows without their bytes, lone results."""

import time
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from registry.intervals import seconds
from registry.storage.artifacts import ArtifactStore
from registry.storage.references import is_referenced
from registry.tables import (
    ArtifactRow,
    ComparisonRow,
    EvaluationRow,
    ModelRow,
    NetworkRow,
    PairRow,
    Part,
    TransferRow,
)


class OrphanKind(StrEnum):
    """Which of the two is missing."""

    UNREFERENCED_ARTIFACT = "unreferenced artifact"
    MISSING_BYTES = "missing bytes"
    UNKNOWN_BYTES = "unknown bytes"
    UNNAMED_NETWORK = "unnamed network"
    CELL_WITHOUT_EVALUATION = "cell without evaluation"
    PAIR_WITHOUT_CELLS = "pair without cells"


@dataclass(frozen=True, slots=True)
class Orphan:
    """One thing that belongs to nothing; `what` names it: the key of bytes, or ids."""

    kind: OrphanKind
    what: str


def find_orphans(session: Session, store: ArtifactStore, *, older_than_seconds: float = 0.0) -> list[Orphan]:
    """Everything that is orphaned for so long; after `sweep` with nothing kept, and no work running, there is nothing.

    Bytes are looked for by listing the store, whatever its size.
    """
    return [
        *_find_unreferenced(session, older_than_seconds),
        *find_lost_bytes(session, store, older_than_seconds=older_than_seconds),
        *_find_unnamed(session, older_than_seconds),
        *find_lone_results(session),
    ]


def find_lost_bytes(session: Session, store: ArtifactStore, *, older_than_seconds: float) -> list[Orphan]:
    """Referenced rows whose bytes are missing or of another size, and bytes that have no row.

    Ends the session's transaction before the store is listed, which may take long.
    """
    # rows before objects: bytes that come meanwhile have a row that is not in the list, and are too young to count
    rows = {
        f"{sha256.hex()[:2]}/{sha256.hex()}": (n_bytes, referenced)
        for sha256, n_bytes, referenced in session.execute(
            select(ArtifactRow.sha256, ArtifactRow.bytes, is_referenced())
        )
    }
    session.rollback()
    objects = {key: (size, changed_at) for key, size, changed_at in store.stored_objects()}
    return [
        *(
            Orphan(OrphanKind.MISSING_BYTES, key)
            for key, (n_bytes, referenced) in rows.items()
            if referenced and (key not in objects or objects[key][0] != n_bytes)
        ),
        *(
            Orphan(OrphanKind.UNKNOWN_BYTES, key)
            for key, (_, changed_at) in objects.items()
            if key not in rows and time.time() - changed_at >= older_than_seconds
        ),
    ]


def find_lone_results(session: Session) -> list[Orphan]:
    """Cells whose target has no evaluation under them, and pairs that no cell was counted for."""
    evaluated = exists().where(
        EvaluationRow.network_id == TransferRow.target_id,
        EvaluationRow.image_set_id == ComparisonRow.image_set_id,
        EvaluationRow.part == Part.ATTACK,
        EvaluationRow.rung == TransferRow.rung,
    )
    cells = session.execute(
        select(TransferRow.comparison_id, TransferRow.source_id, TransferRow.target_id, TransferRow.rung)
        .join(ComparisonRow, ComparisonRow.id == TransferRow.comparison_id)
        .where(~evaluated)
    )
    # one join a direction: either of two in one condition would be looked up pair by pair
    lone = [
        ~exists().where(
            TransferRow.comparison_id == PairRow.comparison_id,
            TransferRow.source_id == source,
            TransferRow.target_id == target,
        )
        for source, target in ((PairRow.a_id, PairRow.b_id), (PairRow.b_id, PairRow.a_id))
    ]
    pairs = session.execute(select(PairRow.comparison_id, PairRow.a_id, PairRow.b_id).where(*lone))
    return [
        *(Orphan(OrphanKind.CELL_WITHOUT_EVALUATION, "/".join(map(str, cell))) for cell in cells),
        *(Orphan(OrphanKind.PAIR_WITHOUT_CELLS, "/".join(map(str, pair))) for pair in pairs),
    ]


def _find_unreferenced(session: Session, older_than_seconds: float) -> list[Orphan]:
    old = ArtifactRow.touched_at <= func.now() - seconds(older_than_seconds)
    found = session.scalars(select(ArtifactRow.sha256).where(~is_referenced(), old))
    return [Orphan(OrphanKind.UNREFERENCED_ARTIFACT, sha256.hex()) for sha256 in found]


def _find_unnamed(session: Session, older_than_seconds: float) -> list[Orphan]:
    old = NetworkRow.created_at <= func.now() - seconds(older_than_seconds)
    found = session.scalars(select(NetworkRow.id).where(~exists().where(ModelRow.network_id == NetworkRow.id), old))
    return [Orphan(OrphanKind.UNNAMED_NETWORK, str(network_id)) for network_id in found]
