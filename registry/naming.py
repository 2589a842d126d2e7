"""Names: one name space for models and aliases, and what to say when a name is not there."""

import difflib

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import NotFoundError
from registry.tables import ModelRow, NameRow, NetworkRow


def find_model(session: Session, reference: str) -> ModelRow | None:
    """The model with that name, alias or `@<network digest>` (8 hexadecimal digits or more), unless it was deleted."""
    query = select(ModelRow).where(ModelRow.deleted_at.is_(None))
    if reference.startswith("@"):
        prefix = reference[1:]
        network = (
            select(NetworkRow.id).where(func.encode(NetworkRow.digest, "hex").startswith(prefix))
            if _is_hex(prefix)
            else None
        )
        if network is None:
            return None
        return session.scalars(query.where(ModelRow.network_id.in_(network)).order_by(ModelRow.id).limit(1)).first()
    return session.scalars(
        query.join(NameRow, NameRow.model_id == ModelRow.id).where(NameRow.name == reference)
    ).first()


def resolve(session: Session, reference: str) -> ModelRow:
    """As `find_model`; NotFoundError names near matches."""
    model = find_model(session, reference)
    if model is None:
        raise unknown_model(reference, list(session.scalars(select(NameRow.name))))
    return model


def own_name(session: Session, model_id: int) -> str:
    """The model's own name (not an alias); for a deleted model, the name it had."""
    name = session.scalars(select(NameRow.name).where(NameRow.model_id == model_id, ~NameRow.is_alias)).one_or_none()
    return name or session.get_one(ModelRow, model_id).deleted_name or f"model {model_id}"


def unknown_model(reference: str, names: list[str]) -> NotFoundError:
    """The 404 of a name, with the names that look like it."""
    near = difflib.get_close_matches(reference, names, n=5, cutoff=0.5)
    advice = f"Did you mean {', '.join(near)}?" if near else "GET /models lists the names."
    return NotFoundError(f"there is no model {reference!r}. {advice}", near=near)


def _is_hex(prefix: str) -> bool:
    return 8 <= len(prefix) <= 64 and all(digit in "0123456789abcdef" for digit in prefix)  # noqa: PLR2004  hex digits
