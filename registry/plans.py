"""What registering models would cost, before anything is started: device time, bytes, and when it would be done."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.declarations import PlannedModel
from registry.models import declared_content
from registry.rates import GIGA, Rates, Work, measured_rates, rates_of
from registry.reads.jobs import present_workers
from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Zoo
from registry.tables import ModelRow, NameRow, Part
from sat_engine import catalogue

# Where neither the architecture nor anything like it was measured: multiply-accumulates a parameter at 224 pixels, of
# common CNNs and ViTs (resnet50: 4.1e9 / 25.6e6 = 160; vit_base_patch16: 16.9e9 / 86.6e6 = 195).
MACS_A_PARAMETER = 180.0
USUAL_SIDE = 224
FLOAT_BYTES = 4
# A cell's row without its bits, and half of its pair's, as PostgreSQL stores them with their indexes.
CELL_ROW_BYTES = 260


@dataclass(frozen=True, kw_only=True, slots=True)
class Newcomer:
    """A model that would be registered. same: its name is taken by the same content; None where it is free."""

    name: str
    gmacs: float
    gmacs_known: bool
    parameters: int
    checkpoint_bytes: int
    side: int
    rungs: int
    same: bool | None

    @property
    def present(self) -> bool:
        """Whether the name is taken, and nothing would be done."""
        return self.same is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of some rungs: directed cells, device seconds by kind of work, and bytes by what they are.

    finish_seconds: from now until the last result, after what waits already; None while no worker is there.
    """

    cells: int
    seconds: Mapping[Work, float]
    bytes: Mapping[str, int]
    finish_seconds: float | None

    @property
    def device_seconds(self) -> float:
        """Of one worker's device."""
        return sum(self.seconds.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistrationPlan:
    """What registering would cost in one comparison: on the prefix alone, and in all.

    against: networks that the newcomers are measured against. correct: the share of images that a network is taken to
    classify correctly. backlog_seconds: what waits already, None where it cannot be told.
    """

    comparison: str
    newcomers: tuple[Newcomer, ...]
    against: int
    correct: float
    workers: int
    rates: Rates
    backlog_seconds: float | None
    rung_0: Cost
    everything: Cost


def make_plan(
    session: Session, snapshot: Snapshot, models: Sequence[PlannedModel], backlog_seconds: float | None
) -> RegistrationPlan:
    """The plan of registering these models; nothing is written."""
    devices = Counter(worker.device for worker in present_workers(session) if "compute" in worker.lanes.split(","))
    measured = measured_rates(session)
    most_common = next(iter(devices), None) or next(iter(measured), "cpu")
    device = max(devices, key=lambda each: devices[each]) if devices else most_common
    taken = dict(
        session.execute(
            select(NameRow.name, ModelRow.content_sha256)
            .join(ModelRow, ModelRow.id == NameRow.model_id)
            .where(NameRow.name.in_([each.name for each in models]))
        ).all()
    )
    newcomers = tuple(
        _newcomer(snapshot.zoo, each, same=_is_same(session, each, taken.get(each.name))) for each in models
    )
    estimate = _Estimate(
        snapshot, [each for each in newcomers if not each.present], rates_of(device, measured), devices.total(),
        backlog_seconds or 0.0,
    )  # fmt: skip
    return RegistrationPlan(
        comparison=snapshot.comparison.name,
        newcomers=newcomers,
        against=len(estimate.there),
        correct=estimate.correct,
        workers=devices.total(),
        rates=estimate.rates,
        backlog_seconds=backlog_seconds,
        rung_0=estimate.cost((0,)),
        everything=estimate.cost(tuple(range(len(snapshot.comparison.rung_sizes)))),
    )


class _Estimate:
    """The arithmetic: k newcomers among n, rung by rung."""

    def __init__(
        self, snapshot: Snapshot, newcomers: Sequence[Newcomer], rates: Rates, workers: int, backlog: float
    ) -> None:
        self.comparison, self.newcomers, self.rates = snapshot.comparison, newcomers, rates
        self._workers, self._backlog = workers, backlog
        networks = snapshot.zoo.networks
        # (GMACs, rungs) of what is there and is measured against newcomers
        self.there = [
            (networks[network].macs / GIGA, int(rungs))
            for network, rungs in zip(snapshot.cells.networks.tolist(), snapshot.wanted_rungs, strict=True)
            if rungs
        ]
        shares = [
            solo.accuracies[Part.ATTACK].rate
            for solo in snapshot.measures.solo.values()
            if Part.ATTACK in solo.accuracies
        ]
        self.correct = float(np.mean(shares)) if shares else 1.0
        self._classes = len(snapshot.zoo.tasks[snapshot.comparison.task_id].classes)

    def cost(self, rungs: tuple[int, ...]) -> Cost:
        """Of these rungs, preparation and the parts that are only evaluated included."""
        comparison, new = self.comparison, self.newcomers
        seconds = dict.fromkeys(Work, 0.0)
        stored = Counter({"checkpoints": sum(each.checkpoint_bytes for each in new)})
        evaluated = comparison.n_select + comparison.n_report
        cells = self._evaluate(new, evaluated, seconds, stored)
        for rung in rungs:
            cells += self._rung(rung, seconds, stored)
        finish = (self._backlog + sum(seconds.values())) / self._workers if self._workers else None
        if finish is not None and self._backlog:
            finish = self._backlog + sum(seconds.values()) / self._workers
        return Cost(cells=cells, seconds=seconds, bytes=dict(stored), finish_seconds=finish)

    def _evaluate(self, new: Sequence[Newcomer], images: int, seconds: dict[Work, float], stored: Counter[str]) -> int:
        seconds[Work.EVALUATE] += images * sum(each.gmacs for each in new) * self.rates.seconds[Work.EVALUATE]
        stored["logits"] += len(new) * images * self._classes * FLOAT_BYTES
        return 0

    def _rung(self, rung: int, seconds: dict[Work, float], stored: Counter[str]) -> int:
        images = self.comparison.rung_sizes[rung]
        new = [each for each in self.newcomers if each.rungs > rung]
        there = [gmacs for gmacs, rungs in self.there if rungs > rung]
        self._evaluate(new, images, seconds, stored)
        right = images * self.correct
        gmacs = sum(each.gmacs for each in new)
        seconds[Work.ATTACK] += right * self.comparison.gradients * gmacs * self.rates.seconds[Work.ATTACK]
        # onto each newcomer all others', onto each network that is there the newcomers'
        passes = gmacs * (len(there) + len(new) - 1) + sum(there) * len(new)
        seconds[Work.TRANSFER] += right * passes * self.rates.seconds[Work.TRANSFER] if new else 0.0
        stored["adversarial images"] += sum(math.ceil(right) * each.side**2 * 3 for each in new)
        cells = 2 * len(new) * len(there) + len(new) * (len(new) - 1)
        stored["database"] += cells * (CELL_ROW_BYTES + images // 8)
        return cells


def _is_same(session: Session, planned: PlannedModel, content: bytes | None) -> bool | None:
    if content is None:
        return None
    checkpoint = bytes.fromhex(planned.checkpoint_sha256) if planned.checkpoint_sha256 else None
    return declared_content(session, planned, checkpoint) == content


def _newcomer(zoo: Zoo, planned: PlannedModel, *, same: bool | None) -> Newcomer:
    entry = catalogue.find(planned.architecture)
    alike = [each for each in zoo.networks.values() if each.architecture == planned.architecture]
    side = planned.input.size if planned.input else entry.input_side or USUAL_SIDE
    if alike:
        # multiply-accumulates grow with the image's area
        nearest = min(alike, key=lambda each: abs(each.input_side - side))
        macs = nearest.macs * (side / nearest.input_side) ** 2
        parameters = nearest.parameters
    else:
        parameters = entry.parameters or 0
        macs = parameters * MACS_A_PARAMETER * (side / USUAL_SIDE) ** 2
    return Newcomer(
        name=planned.name,
        gmacs=macs / GIGA,
        gmacs_known=bool(alike),
        parameters=parameters,
        # the file as it came, and the weights as they were fitted; equal bytes are kept once
        checkpoint_bytes=planned.checkpoint_bytes or parameters * FLOAT_BYTES,
        side=side,
        rungs=planned.last_rung + 1,
        same=same,
    )
