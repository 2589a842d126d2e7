"""Protocols are data: created from parameters, known by the digest of their canonical form."""

from itertools import chain, count

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.access import LOCAL, Actor, record_audit
from registry.declarations import ProtocolDeclaration
from registry.errors import ConflictError, InvalidError
from registry.tables import ProtocolRow
from sat_engine.errors import ProtocolError
from sat_engine.protocol import PRESETS, Protocol, with_published

PRESET_DESCRIPTIONS = {
    "pgd": "PGD-50, L-infinity, step 2/255 from the image itself; iterates stay on the uint8 grid. The default.",
    "pgd-paper": "The paper's words read literally: step 0.1, so that every step lands on a corner of the ball.",
    "mi-fgsm": "Momentum iterative FGSM (Dong et al., 2018): 10 steps of a tenth of the radius.",
    "vmi-fgsm": "MI-FGSM tuned by the gradients of 20 random neighbours (Wang and He, 2021); four times pgd's cost.",
    "low-frequency-pgd": "pgd along the lower half of the gradient's frequencies on each axis.",
    "apgd": "AutoAttack's first part (Croce and Hein, 2020): 100 steps from a random start, halving its own step.",
    "patch-fool": "One patch of any values, driven by attention (Fu et al., 2022); vision transformers only.",
}


def create_protocol(session: Session, declaration: ProtocolDeclaration, *, actor: Actor = LOCAL) -> ProtocolRow:
    """The protocol of that name and those parameters, made if it is new.

    ConflictError when the name means other parameters or the parameters already have another name.
    """
    parameters = declaration.model_dump(exclude={"name", "description"}, exclude_none=True)
    try:
        protocol = Protocol.from_parameters(with_published(parameters))
    except ProtocolError as error:
        raise InvalidError(str(error)) from error
    return _store(session, declaration.name, protocol, declaration.description, actor)


def ensure_presets(session: Session) -> None:
    """Make sure that the presets of this engine revision are there, by whatever name; none of them is refused.

    A preset keeps its name, and so do the parameters that an operator has already stored under another one. Where the
    name means other parameters (those of an older revision, or an operator's), the preset takes the next free one:
    pgd-r2, pgd-r2-1 ...
    """
    for name, protocol in PRESETS.items():
        known = select(ProtocolRow.id).where(ProtocolRow.digest == protocol.digest())
        if session.scalars(known).one_or_none() is None:
            free = _free_name(session, name, protocol.engine_revision)
            _store(session, free, protocol, PRESET_DESCRIPTIONS.get(name, ""))


def load_protocol(row: ProtocolRow) -> Protocol:
    """The engine's protocol that a row holds."""
    return Protocol.from_parameters(row.parameters)


def _free_name(session: Session, name: str, revision: int) -> str:
    taken = set(session.scalars(select(ProtocolRow.name).where(ProtocolRow.name.startswith(name, autoescape=True))))
    candidates = chain([name, f"{name}-r{revision}"], (f"{name}-r{revision}-{i}" for i in count(1)))
    return next(each for each in candidates if each not in taken)


def _store(
    session: Session, name: str, protocol: Protocol, description: str, actor: Actor | None = None
) -> ProtocolRow:
    digest = protocol.digest()
    made = session.execute(
        insert(ProtocolRow)
        .values(
            name=name,
            attack=protocol.attack,
            parameters=protocol.canonical(),
            engine_revision=protocol.engine_revision,
            digest=digest,
            description=description,
        )
        .on_conflict_do_nothing()
        .returning(ProtocolRow.id)
    ).one_or_none()
    if made is not None and actor is not None:
        record_audit(session, actor, "protocol.create", name, {"digest": digest.hex()})
    row = session.scalars(select(ProtocolRow).where(ProtocolRow.name == name)).one_or_none()
    if row is None:
        same = session.scalars(select(ProtocolRow).where(ProtocolRow.digest == digest)).one()
        raise ConflictError(f"these parameters are already protocol {same.name!r}: use that name.")
    if row.digest != digest:
        raise ConflictError(f"protocol {name!r} already means other parameters: choose another name.")
    return row
