"""How fast workers compute, from the seconds that they record: seconds a GMAC, by kind of work and device.

A GMAC is 10^9 multiply-accumulates: a forward pass of one image costs the network's GMACs. Small networks cost more
seconds a GMAC than large ones, so the figures hold for what is like what was measured.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, desc, func, select
from sqlalchemy.orm import Session

from registry.protocols import load_protocol
from registry.tables import (
    AttackRow,
    ComparisonRow,
    EvaluationRow,
    NetworkRow,
    ProtocolRow,
    TransferRow,
    WorkerRow,
)

GIGA = 10**9
# The newest networks tell how fast it goes now; reading all of 1.7 million cells would tell nothing more.
RECENT_NETWORKS = 20
# Before anything is measured: float32 forward passes on one core of a server's CPU, and on a data-centre GPU, as
# orders of magnitude; an attack's gradient as three forward passes.
ASSUMED_SECONDS = {"cpu": 1 / 30, "gpu": 1 / 3000}
GRADIENT_FORWARDS = 3.0


class Work(StrEnum):
    """What takes a device's time."""

    EVALUATE = "evaluate"
    ATTACK = "attack"
    TRANSFER = "transfer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Seconds a GMAC on one worker of a device; an attack's GMACs are those of its gradients, as of one forward each.

    measured: the kinds of work that were measured on this device; the others are assumed.
    """

    device: str
    seconds: Mapping[Work, float]
    measured: frozenset[Work]


def measured_rates(session: Session) -> dict[str, dict[Work, float]]:
    """By device and kind, seconds a GMAC over the networks that were evaluated last; what is not measured is absent."""
    found: defaultdict[str, dict[Work, float]] = defaultdict(dict)
    recent = list(session.scalars(select(NetworkRow.id).order_by(desc(NetworkRow.id)).limit(RECENT_NETWORKS)))
    for device, seconds, gmacs in session.execute(_evaluations(recent)):
        found[device][Work.EVALUATE] = seconds / gmacs
    for device, seconds, gmacs in session.execute(_transfers(recent)):
        found[device][Work.TRANSFER] = seconds / gmacs
    attacks: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    gradients = {
        comparison_id: load_protocol(protocol).gradients
        for comparison_id, protocol in session.execute(
            select(ComparisonRow.id, ProtocolRow).join(ProtocolRow, ProtocolRow.id == ComparisonRow.protocol_id)
        )
    }
    for device, comparison_id, seconds, gmacs in session.execute(_attacks(recent)):
        attacks[device].append((seconds, gmacs * gradients[comparison_id]))
    for device, parts in attacks.items():
        found[device][Work.ATTACK] = sum(one for one, _ in parts) / sum(other for _, other in parts)
    return dict(found)


def rates_of(device: str, measured: Mapping[str, Mapping[Work, float]]) -> Rates:
    """The device's rates: measured where they are, else in proportion to what is, else assumed."""
    known = measured.get(device, {})
    forwards = [known[work] for work in (Work.TRANSFER, Work.EVALUATE) if work in known]
    if not forwards and Work.ATTACK in known:
        forwards = [known[Work.ATTACK] / GRADIENT_FORWARDS]
    forward = forwards[0] if forwards else ASSUMED_SECONDS["cpu" if device.startswith("cpu") else "gpu"]
    assumed = {Work.EVALUATE: forward, Work.TRANSFER: forward, Work.ATTACK: forward * GRADIENT_FORWARDS}
    return Rates(device=device, seconds=assumed | dict(known), measured=frozenset(known))


def _evaluations(networks: list[int]) -> Select[str, Any, Any]:
    gmacs = func.sum(EvaluationRow.n * NetworkRow.macs) / float(GIGA)
    return (
        select(WorkerRow.device, func.sum(EvaluationRow.seconds), gmacs)
        .join(NetworkRow, NetworkRow.id == EvaluationRow.network_id)
        .join(WorkerRow, WorkerRow.id == EvaluationRow.worker_id)
        .where(EvaluationRow.network_id.in_(networks), EvaluationRow.seconds > 0, NetworkRow.macs > 0)
        .group_by(WorkerRow.device)
    )


def _transfers(networks: list[int]) -> Select[str, Any, Any]:
    gmacs = func.sum(TransferRow.common * NetworkRow.macs) / float(GIGA)
    return (
        select(WorkerRow.device, func.sum(TransferRow.seconds), gmacs)
        .join(NetworkRow, NetworkRow.id == TransferRow.target_id)
        .join(WorkerRow, WorkerRow.id == TransferRow.worker_id)
        .where(
            TransferRow.target_id.in_(networks), TransferRow.seconds > 0, TransferRow.common > 0, NetworkRow.macs > 0
        )
        .group_by(WorkerRow.device)
    )


def _attacks(networks: list[int]) -> Select[str, int, Any, Any]:
    gmacs = func.sum(AttackRow.attacked * NetworkRow.macs) / float(GIGA)
    return (
        select(WorkerRow.device, AttackRow.comparison_id, func.sum(AttackRow.seconds), gmacs)
        .join(NetworkRow, NetworkRow.id == AttackRow.network_id)
        .join(WorkerRow, WorkerRow.id == AttackRow.worker_id)
        .where(AttackRow.network_id.in_(networks), AttackRow.seconds > 0, AttackRow.attacked > 0, NetworkRow.macs > 0)
        .group_by(WorkerRow.device, AttackRow.comparison_id)
    )
