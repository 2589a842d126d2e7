"""What is known of each network by itself in one comparison: clean accuracies, self-fooling, and their bits."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection, Integer, case, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY

from registry.reads.zoo import Comparison
from registry.tables import AttackRow, EvaluationRow, Part


@dataclass(frozen=True, slots=True)
class Share:
    """count of n."""

    count: int
    n: int

    @property
    def rate(self) -> float:
        """The share as a number from 0 to 1; 0 of nothing is 0."""
        return self.count / self.n if self.n else 0.0


@dataclass(frozen=True, slots=True)
class SelfFooling:
    """What a network's own adversarial images, and noise, do to it, over its leading rungs."""

    rungs: int
    attacked: int
    n_fooled: int
    n_noise_fooled: int


T = TypeVar("T")
NOT_ATTACKED = SelfFooling(0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkBits:
    """A network's packed bits on each rung of the attack part: clean-correct ones, and those that noise fools."""

    correct: tuple[bytes, ...]
    noise: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Solo:
    """One network by itself; None where it is not measured yet."""

    accuracies: Mapping[Part, Share]
    evaluated_rungs: int
    attack: SelfFooling | None
    numeric_path: str | None = None

    @property
    def accuracy(self) -> Share | None:
        """On the select part, or on the attack part where the image set has no select part."""
        return self.accuracies.get(Part.SELECT) or self.accuracies.get(Part.ATTACK)


UNMEASURED = Solo(accuracies={}, evaluated_rungs=0, attack=None)


@dataclass(frozen=True, slots=True)
class SoloMeasures:
    """All networks by themselves; bits are packed. recorded: names the rows that a network's measures came from."""

    solo: Mapping[int, Solo]
    attack_bits: Mapping[int, NetworkBits]
    select_bits: Mapping[int, bytes]
    recorded: Mapping[int, str] = field(default_factory=dict)


def read_solo(connection: Connection, comparison: Comparison, networks: list[int], known: SoloMeasures) -> SoloMeasures:
    """Accuracies, self-fooling and bits of these networks; only those are read whose rows are not those in `known`."""
    recorded = _read_recorded(connection, comparison, networks)
    if known.recorded == recorded and known.solo.keys() == set(networks):
        return known
    changed = [each for each in networks if each not in known.solo or known.recorded.get(each) != recorded.get(each)]
    fresh = _read_networks(connection, comparison, changed)
    stay = set(networks) - set(changed)
    return SoloMeasures(
        solo=_replaced(known.solo, stay, fresh.solo),
        attack_bits=_replaced(known.attack_bits, stay, fresh.attack_bits),
        select_bits=_replaced(known.select_bits, stay, fresh.select_bits),
        recorded=recorded,
    )


def _replaced(known: Mapping[int, T], stay: set[int], fresh: Mapping[int, T]) -> dict[int, T]:
    return {**{network: value for network, value in known.items() if network in stay}, **fresh}


def _read_recorded(connection: Connection, comparison: Comparison, networks: list[int]) -> dict[int, str]:
    """Which evaluations and attacks each network has, by the transactions that wrote them: xmin tells of any change."""
    of_evaluations = select(
        EvaluationRow.network_id,
        func.string_agg(func.concat(EvaluationRow.part, EvaluationRow.rung, "/", literal_column("xmin")), ","),
    ).where(EvaluationRow.image_set_id == comparison.image_set_id)
    of_attacks = select(
        AttackRow.network_id, func.string_agg(func.concat("noise", AttackRow.rung, "/", literal_column("xmin")), ",")
    ).where(AttackRow.comparison_id == comparison.id)
    recorded: defaultdict[int, str] = defaultdict(str)
    asked = set(networks)
    for query in (of_evaluations, of_attacks):
        for network, rows in connection.execute(query.group_by(literal_column("network_id"))):
            if network in asked:
                # by name, as the database is free in the order of what it strings together
                recorded[network] += ",".join(sorted(rows.split(","))) + ";"
    return dict(recorded)


def _read_networks(connection: Connection, comparison: Comparison, networks: list[int]) -> SoloMeasures:
    """Everything of these networks."""
    accuracies: defaultdict[int, dict[Part, Share]] = defaultdict(dict)
    evaluated: defaultdict[int, int] = defaultdict(int)
    paths: dict[int, str] = {}
    bits: dict[_Key, bytes] = {}
    attacks: dict[int, SelfFooling] = {}
    asked = literal(networks, ARRAY(Integer))
    for row in connection.execute(
        select(
            EvaluationRow.network_id,
            EvaluationRow.part,
            EvaluationRow.rung,
            EvaluationRow.n,
            EvaluationRow.n_correct,
            EvaluationRow.numeric_path,
            # those of the report part are never looked at here
            case((EvaluationRow.part != Part.REPORT, EvaluationRow.correct)).label("correct"),
        )
        .where(EvaluationRow.image_set_id == comparison.image_set_id, EvaluationRow.network_id == func.any(asked))
        .order_by(EvaluationRow.rung)
    ):
        if row.part is Part.ATTACK and row.rung != evaluated[row.network_id]:
            continue  # what comes before it is being measured anew
        so_far = accuracies[row.network_id].get(row.part, Share(0, 0))
        accuracies[row.network_id][row.part] = Share(so_far.count + row.n_correct, so_far.n + row.n)
        evaluated[row.network_id] += row.part is Part.ATTACK
        if row.correct is not None:
            bits[row.network_id, row.part, row.rung] = row.correct
        paths[row.network_id] = row.numeric_path
    for attack in connection.execute(
        select(
            AttackRow.network_id,
            AttackRow.rung,
            AttackRow.attacked,
            AttackRow.n_fooled,
            AttackRow.n_noise_fooled,
            AttackRow.noise_fooled,
        )
        .where(AttackRow.comparison_id == comparison.id, AttackRow.network_id == func.any(asked))
        .order_by(AttackRow.rung)
    ):
        before = attacks.get(attack.network_id, NOT_ATTACKED)
        if attack.rung != before.rungs:
            continue  # as above
        attacks[attack.network_id] = SelfFooling(
            before.rungs + 1,
            before.attacked + attack.attacked,
            before.n_fooled + attack.n_fooled,
            before.n_noise_fooled + attack.n_noise_fooled,
        )
        bits[attack.network_id, "noise", attack.rung] = attack.noise_fooled
    return SoloMeasures(
        solo={
            network: Solo(
                accuracies=accuracies[network],
                evaluated_rungs=evaluated[network],
                attack=attacks.get(network),
                numeric_path=paths.get(network),
            )
            for network in networks
        },
        attack_bits={network: _bits_of(network, bits) for network in networks},
        select_bits={
            network: bits[network, Part.SELECT, 0] for network in networks if (network, Part.SELECT, 0) in bits
        },
    )


# (network, part, rung) of an evaluation, or (network, "noise", rung) of an attack
_Key = tuple[int, str, int]


def _bits_of(network: int, bits: Mapping[_Key, bytes]) -> NetworkBits:
    return NetworkBits(correct=_leading(network, Part.ATTACK, bits), noise=_leading(network, "noise", bits))


def _leading(network: int, part: str, bits: Mapping[_Key, bytes]) -> tuple[bytes, ...]:
    if (network, part, 0) not in bits:
        return ()
    return (bits[network, part, 0], *([bits[network, part, 1]] if (network, part, 1) in bits else []))
