"""Attacks, one a module: images that a network classifies correctly in, images that should fool it out."""

from typing import Protocol as Interface

from torch import Tensor

from sat_engine.attacks.pgd import PGD
from sat_engine.classifier import Classifier
from sat_engine.errors import ProtocolError
from sat_engine.protocol import ENGINE_REVISION, Protocol


class Attack(Interface):
    """What every attack can do."""

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Return images (n, c, h, w) in [0, 1] near the given ones, made to raise the model's loss."""
        ...


def attack_for(protocol: Protocol) -> Attack:
    """Return the attack that a protocol describes; ProtocolError when its numbers are of another engine revision."""
    if protocol.engine_revision != ENGINE_REVISION:
        raise ProtocolError(
            f"this protocol is of engine revision {protocol.engine_revision}, and this engine is revision "
            f"{ENGINE_REVISION}, whose numbers differ; make a new protocol"
        )
    return PGD(epsilon=float(protocol.epsilon), step_size=float(protocol.step_size), steps=protocol.steps)
