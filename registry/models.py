"""Models: registering, deleting, retrying."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.access import Actor, record_audit, require_owner
from registry.comparisons import LIVE_STATES, want_evaluations
from registry.conditions import Seen, model_states, require_seen
from registry.declarations import InputDeclaration, ModelDeclaration
from registry.deliveries import tell
from registry.errors import ConflictError, InvalidError, NotFoundError
from registry.jobs import fence_off
from registry.naming import find_model, own_name, resolve
from registry.results import retry_measuring
from registry.storage.artifacts import Artifact
from registry.tables import (
    ComparisonRow,
    ImageSetRow,
    JobKind,
    ModelRow,
    ModelState,
    NameRow,
    ProtocolRow,
    Source,
    TaskRow,
)
from registry.tasks import class_map, default_task, find_task_for, get_task
from registry.versions import raise_all_versions
from registry.wanting import want
from registry.webhooks import EventKind
from sat_engine import catalogue
from sat_engine.catalogue import CatalogueEntry
from sat_engine.errors import ArchitectureError
from sat_engine.spec import check_model_args, check_tokens

# The fields that decide which network a declaration means; the rest describes it.
IDENTITY_FIELDS = ("architecture", "model_args", "pretrained", "input", "weights")


def register_model(
    session: Session, declaration: ModelDeclaration, *, checkpoint: Artifact | None, actor: Actor
) -> str:
    """Enter a model under its name, as the actor's team's, and ask for its preparation; return the name.

    The same declaration and bytes again change nothing, whoever comes second. The same name with other content is a
    ConflictError, an unknown architecture or classes of no known task an InvalidError.
    """
    if (checkpoint is None) == (declaration.pretrained is None):
        raise InvalidError(
            "send a checkpoint (form field `checkpoint`), or name a `source` of the operator's, or a `pretrained` tag "
            f"of the catalogue: one of them, not {'two' if checkpoint else 'none'}."
        )
    resolved = _resolve_input(declaration)
    task, outputs = _task_and_map(session, declaration)
    stored = _stored(resolved, outputs)
    model = ModelRow(
        task_id=task.id,
        source=Source.UPLOAD if checkpoint else Source.PRETRAINED,
        declaration=stored,
        checkpoint=checkpoint.sha256 if checkpoint else None,
        content_sha256=content_digest(stored, task, checkpoint.sha256 if checkpoint else None),
        owner=actor.team,
        supersedes=_superseded(session, declaration),
        expected_accuracy=declaration.expected_accuracy,
        description=declaration.description,
        license=declaration.license,
        card=declaration.card,
        tags=declaration.tags,
        last_rung=declaration.last_rung,
    )
    return _enter(session, model, declaration.name)


def check_declaration(session: Session, declaration: ModelDeclaration) -> None:
    """Raise what `register_model` would raise of the declaration alone: before gigabytes are stored for it."""
    _resolve_input(declaration)
    _task_and_map(session, declaration)
    _superseded(session, declaration)


def delete_model(session: Session, reference: str, *, actor: Actor, seen: Seen = None) -> None:
    """Free the model's names at once, fence off its work and take it out of every answer; its results stay.

    seen: the states that the caller has seen (StaleError when the model is in another). A protected alias is a
    ConflictError.
    """
    model = resolve(session, reference)
    require_owner(actor, model.owner, f"model {reference!r}")
    # jobs before models: the order in which workers lock too
    fence_off(session, model_id=model.id)
    session.refresh(model)
    if model.network_id is not None and not _named_by_another(session, model):
        fence_off(session, network_id=model.network_id)
        # a preparation that was about to name this network has committed while its jobs were being locked
        if _named_by_another(session, model):
            want_evaluations(session, model.network_id, model.task_id)
    session.refresh(model, with_for_update=True)
    if model.deleted_at is not None:
        raise NotFoundError(f"model {reference!r} was deleted meanwhile.")
    require_seen(seen, model_states(model.revision, model.id), f"model {reference!r}")
    names = session.scalars(select(NameRow).where(NameRow.model_id == model.id).order_by(NameRow.name)).all()
    _refuse_protected(names)
    model.deleted_name = own_name(session, model.id)
    model.deleted_at = func.now()
    aliases = [row.name for row in names if row.is_alias]
    record_audit(session, actor, "model.delete", model.deleted_name, {"id": model.id, "aliases": aliases})
    session.execute(delete(NameRow).where(NameRow.model_id == model.id))
    session.flush()
    raise_all_versions(session)


def retry_model(session: Session, reference: str, *, actor: Actor) -> str:
    """Try again what failed of a model, and then measure what is missing; return its name.

    A failed model is prepared again; of any other, failed jobs are queued and refused cells forgotten.
    ConflictError when nothing of it has failed.
    """
    model = resolve(session, reference)
    require_owner(actor, model.owner, f"model {reference!r}")
    if model.state is ModelState.FAILED:
        # before its network's jobs, as a preparation that ends locks them
        want(session, JobKind.PREPARE, model_id=model.id)
    revived = model.network_id is not None and retry_measuring(session, model.network_id)
    if model.state is not ModelState.FAILED and not revived:
        raise ConflictError(
            f"nothing of model {reference!r} has failed (it is {model.state}): there is nothing to retry."
        )
    session.refresh(model, with_for_update=True)
    if model.state is ModelState.FAILED:
        model.state, model.failure = ModelState.RECEIVED, None
    session.flush()
    raise_all_versions(session)
    return own_name(session, model.id)


def content_digest(stored: Mapping[str, Any], task: TaskRow, checkpoint: bytes | None) -> bytes:
    """sha256 of what gives a model its identity: the stored declaration, its task, and its file's sha256."""
    identity = {field: stored[field] for field in (*IDENTITY_FIELDS, "class_map")} | {
        "task": task.digest.hex(),
        "checkpoint": checkpoint.hex() if checkpoint else None,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).digest()


def declared_content(session: Session, declaration: ModelDeclaration, checkpoint: bytes | None) -> bytes:
    """The content digest of the model that `register_model` would enter for this declaration and file's sha256."""
    task, outputs = _task_and_map(session, declaration)
    return content_digest(_stored(_resolve_input(declaration), outputs), task, checkpoint)


def declared_task(session: Session, declaration: ModelDeclaration) -> TaskRow:
    """The task in which the model of this declaration would be measured."""
    return _task_and_map(session, declaration)[0]


def lock_models(session: Session, *, models: Sequence[int | None], networks: Sequence[int | None]) -> None:
    """Lock these models, and all of these networks, by id."""
    which = or_(ModelRow.id.in_(models), ModelRow.network_id.in_(networks))
    session.execute(select(ModelRow.id).where(which).order_by(ModelRow.id).with_for_update()).all()


def fail_model(session: Session, model_id: int, reason: str) -> None:
    """Mark a model failed, with the reason; its recorded results stay but are in no answer."""
    model = session.get_one(ModelRow, model_id, with_for_update=True)
    model.state, model.failure, model.concern = ModelState.FAILED, reason, None
    session.flush()
    if model.deleted_at is None:
        tell(session, EventKind.FAILED, model.id, reason=reason, comparison=None)
    raise_all_versions(session)


def fail_network(session: Session, network_id: int, reason: str) -> None:
    """Mark every live model of the network failed."""
    models = session.scalars(
        select(ModelRow)
        .where(ModelRow.network_id == network_id, ModelRow.deleted_at.is_(None), ModelRow.state.in_(LIVE_STATES))
        .order_by(ModelRow.id)
        .with_for_update()
    )
    failed = models.all()
    for model in failed:
        model.state, model.failure, model.concern = ModelState.FAILED, reason, None
    session.flush()
    for model in failed:
        tell(session, EventKind.FAILED, model.id, reason=reason, comparison=None)
    raise_all_versions(session)


def tell_of_network(session: Session, network_id: int, reason: str, comparison_id: int) -> None:
    """Tell webhooks that the network's models cannot be measured in a comparison; they stay what they are."""
    comparison = session.execute(
        select(ImageSetRow.name, ProtocolRow.name)
        .join(ComparisonRow, ComparisonRow.image_set_id == ImageSetRow.id)
        .join(ProtocolRow, ProtocolRow.id == ComparisonRow.protocol_id)
        .where(ComparisonRow.id == comparison_id)
    ).one()
    models = session.scalars(
        select(ModelRow.id)
        .where(ModelRow.network_id == network_id, ModelRow.deleted_at.is_(None), ModelRow.state.in_(LIVE_STATES))
        .order_by(ModelRow.id)
    )
    for model_id in models.all():
        tell(session, EventKind.FAILED, model_id, reason=reason, comparison="/".join(comparison))


def _enter(session: Session, model: ModelRow, name: str) -> str:
    session.add(model)
    session.flush()
    entered = session.execute(
        insert(NameRow).values(name=name, model_id=model.id).on_conflict_do_nothing().returning(NameRow.name)
    ).scalar_one_or_none()
    if entered is None:
        # another registration holds the name, committed: on_conflict_do_nothing waited for it
        session.delete(model)
        session.flush()
        return _same_again(session, model.content_sha256, name)
    want(session, JobKind.PREPARE, model_id=model.id)
    raise_all_versions(session)
    return name


def _same_again(session: Session, content: bytes, name: str) -> str:
    present = find_model(session, name)
    if present is None:
        raise ConflictError(f"the name {name!r} was taken and freed meanwhile: send the request again.")
    if present.content_sha256 != content:
        raise ConflictError(
            f"the name {name!r} already holds other content: choose another name, or DELETE /models/{name} first. "
            "Networks are immutable; a retrained one is a new model (`supersedes` links the two)."
        )
    return name


def _resolve_input(declaration: ModelDeclaration) -> ModelDeclaration:
    """The declaration with its input filled in from the catalogue, or refused."""
    try:
        entry = catalogue.find(declaration.architecture)
        check_model_args(declaration.model_args)
        check_tokens(declaration.model_args, declaration.input.size if declaration.input else entry.input_side or 1)
    except ArchitectureError as error:
        raise InvalidError(str(error)) from error
    if declaration.pretrained is not None:
        _require_tag(entry, declaration.pretrained)
        if declaration.model_args:
            raise InvalidError("pretrained weights bring their own build arguments: leave `model_args` out.")
        return declaration
    if declaration.input is not None:
        return declaration
    if entry.mean is None or entry.std is None or entry.input_side is None:
        raise InvalidError(
            f"the catalogue does not say what {declaration.architecture!r} is fed: send `input` with size, channels, "
            "mean and std."
        )
    channels = declaration.model_args.get("in_chans", len(entry.mean))
    if channels != len(entry.mean):
        raise InvalidError(f"`in_chans` is {channels}: send `input` with size, channels, mean and std.")
    size = declaration.model_args.get("img_size", entry.input_side)
    return declaration.model_copy(
        update={
            "input": InputDeclaration.model_validate(
                {"size": size, "channels": len(entry.mean), "mean": list(entry.mean), "std": list(entry.std)}
            )
        }
    )


def _require_tag(entry: CatalogueEntry, tag: str) -> None:
    if tag not in entry.pretrained_tags:
        tags = ", ".join(entry.pretrained_tags) or "none: upload a checkpoint instead"
        raise InvalidError(f"{entry.name} has no pretrained weights {tag!r}. Its tags: {tags}.")


def _task_and_map(session: Session, declaration: ModelDeclaration) -> tuple[TaskRow, list[int]]:
    if declaration.classes is not None:
        return find_task_for(session, declaration.classes)
    task = get_task(session, declaration.task) if declaration.task else default_task(session)
    if task is None:
        raise InvalidError(
            "say what the outputs stand for: send `classes` (the names, in output order), or import an image set first "
            "and send `task`."
        )
    identity = class_map(task.classes, task.classes)
    assert identity is not None
    return task, identity


def _stored(declaration: ModelDeclaration, outputs: list[int]) -> dict[str, Any]:
    stored = declaration.model_dump(mode="json", include=set(IDENTITY_FIELDS))
    n_outputs = len(declaration.classes) if declaration.classes is not None else None
    return stored | {"class_map": outputs, "outputs": n_outputs}


def _superseded(session: Session, declaration: ModelDeclaration) -> int | None:
    return resolve(session, declaration.supersedes).id if declaration.supersedes else None


def _refuse_protected(names: Sequence[NameRow]) -> None:
    protected = [row.name for row in names if row.protected]
    if protected:
        raise ConflictError(
            f"the protected alias {', '.join(protected)} names this model: have an administrator move or delete it "
            "first (PUT or DELETE /aliases/<alias>)."
        )


def _named_by_another(session: Session, model: ModelRow) -> bool:
    return session.execute(
        select(
            exists().where(
                ModelRow.network_id == model.network_id, ModelRow.id != model.id, ModelRow.deleted_at.is_(None)
            )
        )
    ).scalar_one()
