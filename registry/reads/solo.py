"""What is known of each network by itself in one comparison: clean accuracies, self-fooling, and their bits."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, select, tuple_

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
    """What a network's own adversarial images, and noise, do to it, over its recorded rungs."""

    rungs: int
    attacked: int
    n_fooled: int
    n_noise_fooled: int


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
# (network, part, rung) of an evaluation, or (network, "noise", rung) of an attack
_Key = tuple[int, str, int]


@dataclass(frozen=True, slots=True)
class SoloMeasures:
    """All networks by themselves. The bits are packed; they are read again only when they were recorded again."""

    solo: Mapping[int, Solo]
    attack_bits: Mapping[int, NetworkBits]
    select_bits: Mapping[int, bytes]
    _bits: Mapping[_Key, bytes] = field(default_factory=dict)
    _recorded: Mapping[_Key, datetime] = field(default_factory=dict)


def read_solo(connection: Connection, comparison: Comparison, networks: list[int], known: SoloMeasures) -> SoloMeasures:
    """Accuracies, self-fooling and bits of these networks; `known` saves reading bits again."""
    accuracies: defaultdict[int, dict[Part, Share]] = defaultdict(dict)
    evaluated: defaultdict[int, int] = defaultdict(int)
    recorded: dict[_Key, datetime] = {}
    paths: dict[int, str] = {}
    for row in connection.execute(
        select(
            EvaluationRow.network_id,
            EvaluationRow.part,
            EvaluationRow.rung,
            EvaluationRow.n,
            EvaluationRow.n_correct,
            EvaluationRow.numeric_path,
            EvaluationRow.recorded_at,
        ).where(EvaluationRow.image_set_id == comparison.image_set_id, EvaluationRow.network_id.in_(networks))
    ):
        so_far = accuracies[row.network_id].get(row.part, Share(0, 0))
        accuracies[row.network_id][row.part] = Share(so_far.count + row.n_correct, so_far.n + row.n)
        evaluated[row.network_id] += row.part is Part.ATTACK
        if row.part is not Part.REPORT:  # its bits are never looked at here
            recorded[row.network_id, row.part, row.rung] = row.recorded_at
        paths[row.network_id] = row.numeric_path
    attacks = _read_attacks(connection, comparison, networks, recorded)
    bits = _read_bits(connection, comparison, recorded, known)
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
        _bits=bits,
        _recorded=recorded,
    )


def _read_attacks(
    connection: Connection, comparison: Comparison, networks: list[int], recorded: dict[_Key, datetime]
) -> dict[int, SelfFooling]:
    attacks: dict[int, SelfFooling] = {}
    for row in connection.execute(
        select(
            AttackRow.network_id,
            AttackRow.rung,
            AttackRow.attacked,
            AttackRow.n_fooled,
            AttackRow.n_noise_fooled,
            AttackRow.recorded_at,
        ).where(AttackRow.comparison_id == comparison.id, AttackRow.network_id.in_(networks))
    ):
        so_far = attacks.get(row.network_id, NOT_ATTACKED)
        attacks[row.network_id] = SelfFooling(
            so_far.rungs + 1,
            so_far.attacked + row.attacked,
            so_far.n_fooled + row.n_fooled,
            so_far.n_noise_fooled + row.n_noise_fooled,
        )
        recorded[row.network_id, "noise", row.rung] = row.recorded_at
    return attacks


def _read_bits(
    connection: Connection, comparison: Comparison, recorded: Mapping[_Key, datetime], known: SoloMeasures
) -> dict[_Key, bytes]:
    bits = {key: known._bits[key] for key, moment in recorded.items() if known._recorded.get(key) == moment}  # noqa: SLF001  this module's own
    unknown = [key for key in recorded if key not in bits]
    attacked = [(network, rung) for network, part, rung in unknown if part == "noise"]
    evaluated = [key for key in unknown if key[1] != "noise"]
    evaluations = select(EvaluationRow.network_id, EvaluationRow.part, EvaluationRow.rung, EvaluationRow.correct).where(
        EvaluationRow.image_set_id == comparison.image_set_id,
        tuple_(EvaluationRow.network_id, EvaluationRow.part, EvaluationRow.rung).in_(evaluated),
    )
    attacks = select(AttackRow.network_id, AttackRow.rung, AttackRow.noise_fooled).where(
        AttackRow.comparison_id == comparison.id, tuple_(AttackRow.network_id, AttackRow.rung).in_(attacked)
    )
    for network, part, rung, correct in connection.execute(evaluations) if evaluated else ():
        bits[network, part, rung] = correct
    for network, rung, fooled in connection.execute(attacks) if attacked else ():
        bits[network, "noise", rung] = fooled
    return bits


def _bits_of(network: int, bits: Mapping[_Key, bytes]) -> NetworkBits:
    return NetworkBits(correct=_leading(network, Part.ATTACK, bits), noise=_leading(network, "noise", bits))


def _leading(network: int, part: str, bits: Mapping[_Key, bytes]) -> tuple[bytes, ...]:
    if (network, part, 0) not in bits:
        return ()
    return (bits[network, part, 0], *([bits[network, part, 1]] if (network, part, 1) in bits else []))
