"""Aliases: further names of models, which can be moved. A protected one is an administrator's to move."""

from dataclasses import dataclass

from pydantic import Field
from sqlalchemy import Row, Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from registry.access import Actor, record_audit, require_owner, require_scope
from registry.conditions import Seen, require_seen, state_of
from registry.declarations import Declaration, Reference
from registry.errors import ConflictError, NotFoundError
from registry.naming import own_name, resolve
from registry.tables import ModelRow, NameRow, NetworkRow, Scope
from registry.versions import raise_all_versions


class AliasDeclaration(Declaration):
    """The body of PUT /aliases/<alias>."""

    model: Reference
    protected: bool | None = Field(
        default=None, description="Only an administrator moves or deletes it then. Left out: as it is."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """An alias, the name of its model, and the digest of that model's network (None until it is prepared)."""

    alias: str
    model: str
    digest: str | None
    protected: bool
    state: str


def set_alias(
    session: Session, alias: str, declaration: AliasDeclaration, *, actor: Actor, seen: Seen = None
) -> tuple[Alias, bool]:
    """Let the alias name a model; return it, and whether it is new. The same again changes nothing.

    seen: the states that the caller has seen (StaleError when it is in another, or was not there).
    ConflictError when a model itself has the name; ForbiddenError for other teams' models and protected aliases.
    """
    model = resolve(session, declaration.model)
    require_owner(actor, model.owner, f"model {declaration.model!r}")
    made = _enter(session, alias, model.id)
    row = session.get_one(NameRow, alias, with_for_update=True)
    if not row.is_alias:
        raise ConflictError(f"{alias!r} is a model's own name: choose another alias, or delete that model first.")
    require_seen(seen, () if made else (state_of(row.model_id, row.protected),), f"alias {alias!r}")
    before = None if made else own_name(session, row.model_id)
    protected = row.protected if declaration.protected is None else declaration.protected
    moved, changed = row.model_id != model.id, protected != row.protected
    if moved or changed or made:
        if row.protected or protected:
            require_scope(actor, Scope.ADMIN, f"move, protect or free the protected alias {alias!r}")
        if moved:
            require_owner(
                actor, session.get_one(ModelRow, row.model_id).owner, f"model {before!r}, which it names now,"
            )
        row.model_id, row.protected = model.id, protected
        name = own_name(session, model.id)
        detail = {"model": name, "before": before, "protected": protected}
        record_audit(session, actor, "alias.create" if made else "alias.move", alias, detail)
        session.flush()
        raise_all_versions(session)
    return get_alias(session, alias), made


def delete_alias(session: Session, alias: str, *, actor: Actor, seen: Seen = None) -> None:
    """Free the alias; its model stays. seen: as in `set_alias`."""
    found = get_alias(session, alias)
    row = session.get_one(NameRow, alias, with_for_update=True)
    require_seen(seen, (state_of(row.model_id, row.protected),), f"alias {alias!r}")
    require_owner(actor, session.get_one(ModelRow, row.model_id).owner, f"model {found.model!r}, which it names,")
    if row.protected:
        require_scope(actor, Scope.ADMIN, f"delete the protected alias {alias!r}")
    record_audit(session, actor, "alias.delete", alias, {"model": found.model})
    session.execute(delete(NameRow).where(NameRow.name == alias))
    session.flush()
    raise_all_versions(session)


def get_alias(session: Session, alias: str) -> Alias:
    """The alias of that name; NotFoundError when it is none."""
    found = session.execute(_aliases().where(NameRow.name == alias)).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no alias {alias!r}: GET /aliases lists them, PUT /aliases/{alias} makes it.")
    return _alias(found)


def list_aliases(session: Session, *, after: str, limit: int) -> tuple[list[Alias], int]:
    """Up to limit + 1 aliases after this one, by name, and how many there are in all."""
    total = session.execute(select(func.count()).select_from(NameRow).where(NameRow.is_alias)).scalar_one()
    rows = session.execute(_aliases().where(NameRow.name > after).order_by(NameRow.name).limit(limit + 1))
    return [_alias(row) for row in rows], total


def _aliases() -> Select[str, str, bytes | None, bool, int]:
    own = aliased(NameRow)
    return (
        select(NameRow.name, own.name, NetworkRow.digest, NameRow.protected, NameRow.model_id)
        .join(own, (own.model_id == NameRow.model_id) & ~own.is_alias)
        .join(ModelRow, ModelRow.id == NameRow.model_id)
        .outerjoin(NetworkRow, NetworkRow.id == ModelRow.network_id)
        .where(NameRow.is_alias)
    )


def _alias(row: Row[str, str, bytes | None, bool, int]) -> Alias:
    alias, model, digest, protected, model_id = row
    return Alias(
        alias=alias,
        model=model,
        digest=digest.hex() if digest else None,
        protected=protected,
        state=state_of(model_id, protected),
    )


def _enter(session: Session, alias: str, model_id: int) -> bool:
    """Make the alias unless the name is there; waits for a transaction that is about to take or free it."""
    entered = session.execute(
        insert(NameRow)
        .values(name=alias, model_id=model_id, is_alias=True)
        .on_conflict_do_nothing()
        .returning(NameRow.name)
    ).scalar_one_or_none()
    return entered is not None
