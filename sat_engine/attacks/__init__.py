"""Attacks, one a module: images that a network classifies correctly in, images that should fool it out."""

from typing import Protocol as Interface
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sat_engine import attack_kinds
from sat_engine.attack_kinds import Start
from sat_engine.attacks.apgd import APGD
from sat_engine.attacks.draws import Draws
from sat_engine.attacks.low_frequency import LowFrequencyPGD
from sat_engine.attacks.momentum import MIFGSM, VMIFGSM
from sat_engine.attacks.patch_fool import PatchFool
from sat_engine.attacks.pgd import PGD
from sat_engine.classifier import Classifier
from sat_engine.errors import ProtocolError
from sat_engine.protocol import ENGINE_REVISION, Protocol, kind_of


class Attack(Interface):
    """What every attack can do."""

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Return images (n, c, h, w) in [0, 1] near the given ones, made to raise the model's loss."""
        ...


def attack_for(protocol: Protocol, positions: NDArray[np.integer] | None = None) -> Attack:
    """Return the attack that a protocol describes, for the images at these positions (n,) of the attack part.

    An attack that draws random numbers seeds them by the protocol's seed and an image's position, and needs these.
    ProtocolError when the protocol is of another engine revision, or its attack cannot be run here.
    """
    if protocol.engine_revision != ENGINE_REVISION:
        raise ProtocolError(
            f"this protocol is of engine revision {protocol.engine_revision}, and this engine is revision "
            f"{ENGINE_REVISION}, whose numbers differ; make a new protocol"
        )
    kind_of(protocol.attack)
    if positions is None:
        positions = np.empty(0, np.int64)
    return _make(protocol, Draws(protocol.seed, positions))


def _make(protocol: Protocol, draws: Draws) -> Attack:
    epsilon, step_size, steps = float(protocol.epsilon), float(protocol.step_size), protocol.steps
    options = {name: float(value) for name, value in protocol.options.items()}
    match attack_kinds.Attack(protocol.attack):
        case attack_kinds.Attack.PGD:
            return PGD(epsilon=epsilon, step_size=step_size, steps=steps)
        case attack_kinds.Attack.MI_FGSM:
            return MIFGSM(epsilon=epsilon, step_size=step_size, steps=steps, momentum=options["momentum"])
        case attack_kinds.Attack.VMI_FGSM:
            return VMIFGSM(
                epsilon=epsilon,
                step_size=step_size,
                steps=steps,
                momentum=options["momentum"],
                neighbours=int(options["neighbours"]),
                neighbourhood=options["neighbourhood"],
                draws=draws,
            )
        case attack_kinds.Attack.LOW_FREQUENCY_PGD:
            return LowFrequencyPGD(
                epsilon=epsilon, step_size=step_size, steps=steps, frequencies=options["frequencies"]
            )
        case attack_kinds.Attack.APGD:
            start = draws if protocol.start == Start.RANDOM else None
            return APGD(epsilon=epsilon, step_size=step_size, steps=steps, draws=start)
        case attack_kinds.Attack.PATCH_FOOL:
            return PatchFool(
                epsilon=epsilon,
                step_size=step_size,
                steps=steps,
                patches=int(options["patches"]),
                attention=options["attention"],
                draws=draws,
            )
        case attack_kinds.Attack.BIA:
            raise ProtocolError("the attack bia cannot be run here")  # kind_of has said why
        case unknown:
            assert_never(unknown)
