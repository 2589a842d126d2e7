"""The rows of artifacts around a write: room is reserved before it, and confirmed after it."""

import contextlib

from sqlalchemy import case, delete, func, literal, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from registry.database import Sessions
from registry.errors import StorageFullError
from registry.locks import AdvisoryLock
from registry.tables import ArtifactRow, ArtifactState


def stored_bytes(session: Session) -> int:
    """The bytes of all artifacts, those that are being written or deleted included."""
    return int(session.execute(select(func.coalesce(func.sum(ArtifactRow.bytes), 0))).scalar_one())


def reserve(sessions: Sessions, sha256: bytes, n_bytes: int, kind: str, quota: int | None) -> bool:
    """Enter the artifact as `writing`; one that is there is touched, and one that is condemned is taken back.

    Return whether it is new.

    StorageFullError when it is new and does not fit the quota. A deletion in progress is waited for.
    """
    with sessions.begin() as session:
        if quota is not None:
            # two writers must not both take the last room
            session.execute(select(func.pg_advisory_xact_lock(AdvisoryLock.QUOTA)))
            known = session.get(ArtifactRow, sha256) is not None
            used = stored_bytes(session)
            if not known and used + n_bytes > quota:
                raise StorageFullError(
                    f"the artifact store holds {used:,} of {quota:,} bytes (SAT_ARTIFACTS_QUOTA_BYTES) and takes no "
                    f"{n_bytes:,} more: its operator has to raise the quota, or delete models and run `sat gc`. Send "
                    "it again then."
                )
        row = insert(ArtifactRow).values(sha256=sha256, kind=kind, bytes=n_bytes, state=ArtifactState.WRITING)
        return bool(
            session.execute(
                row.on_conflict_do_update(
                    index_elements=[ArtifactRow.sha256],
                    set_={
                        "touched_at": func.now(),
                        "state": case(
                            (ArtifactRow.state == ArtifactState.CONDEMNED, literal(ArtifactState.WRITING.value)),
                            else_=ArtifactRow.state,
                        ),
                    },
                    # a row that was updated carries the transaction which did it
                ).returning(literal_column("xmax = 0"))
            ).scalar_one()
        )


def confirm(sessions: Sessions, sha256: bytes) -> bool:
    """Mark the artifact stored; False when it was condemned or deleted while it was written."""
    with sessions.begin() as session:
        confirmed = session.execute(
            update(ArtifactRow)
            .where(ArtifactRow.sha256 == sha256, ArtifactRow.state.in_((ArtifactState.WRITING, ArtifactState.STORED)))
            .values(state=ArtifactState.STORED, touched_at=func.now())
            .returning(ArtifactRow.sha256)
        ).one_or_none()
    return confirmed is not None


def release(sessions: Sessions, sha256: bytes) -> None:
    """Take back a new reservation whose write failed; `gc` finds what this misses."""
    with contextlib.suppress(SQLAlchemyError), sessions.begin() as session:
        session.execute(
            delete(ArtifactRow).where(ArtifactRow.sha256 == sha256, ArtifactRow.state == ArtifactState.WRITING)
        )
