"""What registering models would cost, before anything is started: device time, bytes, and when it would be done."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.comparisons import LIVE_STATES
from registry.declarations import PlannedModel
from registry.models import declared_content, declared_task
from registry.rates import GIGA, Rates, Work, measured_rates, rates_of
from registry.reads.jobs import present_workers
from registry.reads.pace import Backlog
from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Comparison, Zoo
from registry.tables import ComparisonRow, ComparisonState, ImageSetRow, ModelRow, NameRow, Part, ProtocolRow
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
    """A model that would be registered.

    same: its name is taken by the same content; None where it is free. shared: its content is there under another name,
    or comes twice in this plan, so results are shared. elsewhere: it is of another task than the comparison.
    """

    name: str
    gmacs: float
    gmacs_known: bool
    parameters: int
    checkpoint_bytes: int
    weights_bytes: int
    side: int
    rungs: int
    same: bool | None
    shared: bool
    elsewhere: bool

    @property
    def present(self) -> bool:
        """Whether the name is taken, and nothing would be done."""
        return self.same is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of some rungs: directed cells, device seconds by kind of work, and bytes by what they are.

    finish_seconds: from now until the last result, after what waits already and goes first; None while no worker is
    there.
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
    classify correctly. backlog_seconds: what waits already, None while no worker is there. also: the other comparisons
    that measure the newcomers, too, whose cost is not in this plan.
    """

    comparison: str
    newcomers: tuple[Newcomer, ...]
    against: int
    correct: float
    workers: int
    rates: Rates
    backlog_seconds: float | None
    also: tuple[str, ...]
    rung_0: Cost
    everything: Cost


def make_plan(
    session: Session, snapshot: Snapshot, models: Sequence[PlannedModel], backlog: Backlog
) -> RegistrationPlan:
    """The plan of registering these models; nothing is written."""
    devices = Counter(worker.device for worker in present_workers(session) if "compute" in worker.lanes.split(","))
    measured = measured_rates(session)
    most_common = next(iter(devices), None) or next(iter(measured), "cpu")
    device = max(devices, key=lambda each: devices[each]) if devices else most_common
    newcomers = _newcomers(session, snapshot, models)
    fleet = [(count, rates_of(each, measured)) for each, count in devices.items()]
    image_set = session.get_one(ImageSetRow, snapshot.comparison.image_set_id)
    estimate = _Estimate(snapshot, newcomers, rates_of(device, measured), fleet, image_set.channels)
    waiting = estimate.backlog_seconds(backlog)
    first_waiting = waiting and waiting * (backlog.first / backlog.passes if backlog.passes else 0.0)
    return RegistrationPlan(
        comparison=snapshot.comparison.name,
        newcomers=newcomers,
        against=len(estimate.there),
        correct=estimate.correct,
        workers=devices.total(),
        rates=estimate.rates,
        backlog_seconds=waiting,
        also=_others(session, snapshot.comparison),
        # rung 0 of the newcomers goes before rung 1 of all others
        rung_0=estimate.cost((0,), first_waiting),
        everything=estimate.cost(tuple(range(len(snapshot.comparison.rung_sizes))), waiting),
    )


class _Estimate:
    """The arithmetic: k newcomers among n, rung by rung. fleet: how many workers of each speed there are."""

    def __init__(
        self,
        snapshot: Snapshot,
        newcomers: Sequence[Newcomer],
        rates: Rates,
        fleet: Sequence[tuple[int, Rates]],
        channels: int,
    ) -> None:
        self.comparison, self.rates = snapshot.comparison, rates
        self._stored = [each for each in newcomers if not each.present and not each.shared]
        self._measured = [each for each in self._stored if not each.elsewhere]
        self._fleet, self._channels = fleet, channels
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

    def cost(self, rungs: tuple[int, ...], waiting_seconds: float | None) -> Cost:
        """Of these rungs and of the parts that are only evaluated. Preparation, on light workers, is not included."""
        comparison, new = self.comparison, self._measured
        gmacs = dict.fromkeys(Work, 0.0)
        stored = Counter(
            {
                "checkpoints": sum(each.checkpoint_bytes for each in self._stored),
                "weights": sum(each.weights_bytes for each in self._stored),
            }
        )
        self._evaluate(new, comparison.n_select + comparison.n_report, gmacs, stored)
        cells = sum(self._rung(rung, gmacs, stored) for rung in rungs)
        alone = self._fleet_seconds(gmacs)
        return Cost(
            cells=cells,
            seconds={work: amount * self.rates.seconds[work] for work, amount in gmacs.items()},
            bytes=dict(stored),
            finish_seconds=None if alone is None or waiting_seconds is None else waiting_seconds + alone,
        )

    def backlog_seconds(self, backlog: Backlog) -> float | None:
        """Until what is left is done: at the pace of the last minutes, else from the rates; None without a worker."""
        if backlog.passes <= 0 or backlog.seconds is not None:
            return (backlog.seconds or 0.0) if self._fleet else None
        gmacs = float(np.mean([each for each, _ in self.there])) if self.there else 0.0
        # an attack's gradient was counted as two passes, and its right images alone take time
        return self._fleet_seconds({Work.TRANSFER: backlog.passes * self.correct * gmacs})

    def _fleet_seconds(self, gmacs: Mapping[Work, float]) -> float | None:
        """All workers together, each at the speed of its device; None where there is none."""
        alone = [
            (count, sum(amount * rates.seconds[work] for work, amount in gmacs.items())) for count, rates in self._fleet
        ]
        if not alone:
            return None
        if not all(seconds for _, seconds in alone):
            return 0.0
        return 1 / sum(count / seconds for count, seconds in alone)

    def _evaluate(self, new: Sequence[Newcomer], images: int, gmacs: dict[Work, float], stored: Counter[str]) -> None:
        gmacs[Work.EVALUATE] += images * sum(each.gmacs for each in new)
        stored["logits"] += len(new) * images * self._classes * FLOAT_BYTES

    def _rung(self, rung: int, gmacs: dict[Work, float], stored: Counter[str]) -> int:
        """Add what the rung takes; return how many cells it has."""
        images = self.comparison.rung_sizes[rung]
        new = [each for each in self._measured if each.rungs > rung]
        there = [each for each, rungs in self.there if rungs > rung]
        self._evaluate(new, images, gmacs, stored)
        right = images * self.correct
        of_new = sum(each.gmacs for each in new)
        gmacs[Work.ATTACK] += right * self.comparison.gradients * of_new
        # onto each newcomer all others', onto each network that is there the newcomers'
        passes = of_new * (len(there) + len(new) - 1) + sum(there) * len(new)
        gmacs[Work.TRANSFER] += right * passes if new else 0.0
        stored["adversarial images"] += sum(math.ceil(right) * each.side**2 * self._channels for each in new)
        cells = 2 * len(new) * len(there) + len(new) * (len(new) - 1)
        stored["database"] += cells * (CELL_ROW_BYTES + images // 8)
        return cells


def _others(session: Session, comparison: Comparison) -> tuple[str, ...]:
    """The other comparisons of the task that measure."""
    rows = session.execute(
        select(ImageSetRow.name, ProtocolRow.name)
        .join(ComparisonRow, ComparisonRow.image_set_id == ImageSetRow.id)
        .join(ProtocolRow, ProtocolRow.id == ComparisonRow.protocol_id)
        .where(
            ImageSetRow.task_id == comparison.task_id,
            ComparisonRow.id != comparison.id,
            ComparisonRow.state == ComparisonState.MEASURING,
        )
        .order_by(ComparisonRow.id)
    )
    return tuple(f"{image_set}/{protocol}" for image_set, protocol in rows)


def _newcomers(session: Session, snapshot: Snapshot, models: Sequence[PlannedModel]) -> tuple[Newcomer, ...]:
    taken = dict(
        session.execute(
            select(NameRow.name, ModelRow.content_sha256)
            .join(ModelRow, ModelRow.id == NameRow.model_id)
            .where(NameRow.name.in_([each.name for each in models]))
        ).all()
    )
    contents = [_content(session, each) for each in models]
    known = set(
        session.scalars(
            select(ModelRow.content_sha256).where(
                ModelRow.content_sha256.in_([each for each in contents if each is not None]),
                ModelRow.deleted_at.is_(None),
                ModelRow.state.in_(LIVE_STATES),
            )
        )
    )
    newcomers = []
    for planned, content in zip(models, contents, strict=True):
        there = taken.get(planned.name)
        newcomers.append(
            _newcomer(
                snapshot.zoo,
                planned,
                same=None if there is None else there == content,
                shared=content in known,
                elsewhere=declared_task(session, planned).id != snapshot.comparison.task_id,
            )
        )
        if content is not None:
            known.add(content)
    return tuple(newcomers)


def _content(session: Session, planned: PlannedModel) -> bytes | None:
    """What tells equal models; None where the file's hash was not sent."""
    checkpoint = bytes.fromhex(planned.checkpoint_sha256) if planned.checkpoint_sha256 else None
    if checkpoint is None and planned.pretrained is None:
        return None
    return declared_content(session, planned, checkpoint)


def _newcomer(zoo: Zoo, planned: PlannedModel, *, same: bool | None, shared: bool, elsewhere: bool) -> Newcomer:
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
        # the file as it came, and the weights as they are fitted; at most: equal bytes are kept once
        checkpoint_bytes=0 if planned.pretrained else planned.checkpoint_bytes or parameters * FLOAT_BYTES,
        weights_bytes=parameters * FLOAT_BYTES or planned.checkpoint_bytes or 0,
        side=side,
        rungs=planned.last_rung + 1,
        same=same,
        shared=shared,
        elsewhere=elsewhere,
    )
