"""Changing what describes a model, and how deep and how long it is measured. Its network never changes."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from sqlalchemy.orm import Session

from registry.access import Actor, record_audit, require_owner
from registry.archiving import archive_model, lock_model, measure_to, unarchive_model
from registry.conditions import Seen, model_states, require_seen
from registry.declarations import Card, Declaration, Text, Word, require_number, without_null
from registry.errors import ConflictError, InvalidError
from registry.naming import own_name, resolve
from registry.networks import judge_accuracy
from registry.tables import ModelRow, ModelState
from registry.tasks import settle_tasks
from registry.versions import raise_all_versions

DESCRIBING = ("description", "tags", "card", "license", "expected_accuracy")


class ModelChange(Declaration):
    """The body of PATCH /models/<model>: fields that are left out stay as they are."""

    model_config = ConfigDict(
        json_schema_extra={
            "minProperties": 1,
            "examples": [{"tags": ["baseline", "2026"], "card": "# resnet-a\n\nTrained on …"}],
        }
    )

    description: Text | None = Field(default=None, json_schema_extra=without_null)
    tags: Annotated[list[Word], Field(max_length=64)] | None = Field(default=None, json_schema_extra=without_null)
    card: Card | None = Field(default=None, description="Markdown.", json_schema_extra=without_null)
    license: Word | None = Field(default=None, description="null: none is known.")
    expected_accuracy: Annotated[float, Field(strict=True, ge=0, le=1)] | None = Field(
        default=None, description="null: none is expected. The model is judged by it at once."
    )
    state: Literal["archived", "ready"] | None = Field(
        default=None,
        description="archived: measured no more, its scores stay. ready: measured again.",
        json_schema_extra=without_null,
    )
    last_rung: Annotated[Literal[0, 1] | None, BeforeValidator(require_number)] = Field(
        default=None, description="0: measured on the prefix only.", json_schema_extra=without_null
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(f"the change is empty: send some of {', '.join(type(self).model_fields)}")
        for field in ("description", "tags", "card", "state", "last_rung"):
            if field in self.model_fields_set and getattr(self, field) is None:
                raise ValueError(f"`{field}` cannot be null: leave it out, or send what it shall be")
        return self


def change_model(session: Session, reference: str, change: ModelChange, *, actor: Actor, seen: Seen) -> str:
    """Make the change and raise the model's revision; return its name.

    seen: the states that the caller has seen (StaleError when the model is in another).
    """
    settle_tasks(session, alone=False)
    model = resolve(session, reference)
    require_owner(actor, model.owner, f"model {reference!r}")
    # these lock jobs, which come before models; an error further down takes them back
    if change.state is not None:
        _move(session, model, reference, change.state)
    if change.last_rung is not None:
        measure_to(session, reference, change.last_rung)
    lock_model(session, model, reference)
    require_seen(seen, model_states(model.revision, model.id), f"model {reference!r}")
    for field in DESCRIBING:
        if field in change.model_fields_set:
            setattr(model, field, getattr(change, field))
    model.revision += 1
    session.flush()
    if "expected_accuracy" in change.model_fields_set and model.network_id is not None:
        judge_accuracy(session, model.network_id)
    name = own_name(session, model.id)
    record_audit(session, actor, "model.change", name, {"fields": sorted(change.model_fields_set)})
    raise_all_versions(session)
    return name


def _move(session: Session, model: ModelRow, reference: str, state: str) -> None:
    if state == ModelState.ARCHIVED:
        archive_model(session, reference)
    elif model.state is ModelState.ARCHIVED:
        unarchive_model(session, reference)
    elif model.state is ModelState.SUSPECT:
        raise ConflictError(
            f"model {reference!r} is suspect ({model.concern}): correct `expected_accuracy`, or register it again "
            "with what was wrong set right."
        )
    elif model.state is not ModelState.READY:
        raise InvalidError(f"model {reference!r} is {model.state}: POST /models/{reference}/retry tries again.")
