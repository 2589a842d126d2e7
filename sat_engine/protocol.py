"""How images are attacked, as a value that can be stored, compared and hashed."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from fractions import Fraction
from hashlib import sha256
from types import MappingProxyType
from typing import Self

from sat_engine.errors import ProtocolError

# Raised when the same protocol would give other numbers than before.
ENGINE_REVISION = 1
MAX_STEPS = 10_000
MAX_SEED = 2**63 - 1  # what a bigint column holds
# Bounded, so that hostile text such as "1e999999999" is never turned into an integer of a gigabyte.
_FRACTION_TEXT = re.compile(r"\d{1,9}(/\d{1,9}|\.\d{1,9})?", re.ASCII)


class Attack(StrEnum):
    """How an image is changed."""

    PGD = "pgd"


class Start(StrEnum):
    """Where the first step begins."""

    IMAGE = "image"


class Loss(StrEnum):
    """What a step raises."""

    CROSS_ENTROPY = "cross-entropy"


class Resize(StrEnum):
    """The kernel that brings images to a network's input size."""

    BILINEAR_ANTIALIAS = "bilinear-antialias"


class Rounding(StrEnum):
    """How pixels become bytes."""

    NEAREST_UINT8 = "nearest-uint8"


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """One way of attacking. epsilon and step_size are in units of a [0, 1] pixel and are exact fractions.

    seed is that of the noise control; the attack itself draws no random numbers.
    Raises ProtocolError, naming the field, where a value is out of its range.
    """

    attack: str
    epsilon: Fraction
    step_size: Fraction
    steps: int
    start: str = Start.IMAGE
    loss: str = Loss.CROSS_ENTROPY
    seed: int = 0
    resize: str = Resize.BILINEAR_ANTIALIAS
    rounding: str = Rounding.NEAREST_UINT8
    engine_revision: int = ENGINE_REVISION

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            _require_choice(name, getattr(self, name), choices)
        for name, (low, high) in _INTEGERS.items():
            _require_integer(name, getattr(self, name), low, high)
        for name in ("epsilon", "step_size"):
            if not isinstance(getattr(self, name), Fraction):
                raise ProtocolError(f"{name} must be a fraction of a [0, 1] pixel, such as 8/255")
        if not 0 <= self.epsilon <= 1:
            raise ProtocolError(f"epsilon is {self.epsilon}; it is in units of a [0, 1] pixel, so use 8/255 for 8")
        if not 0 < self.step_size <= 1:
            raise ProtocolError(f"step_size is {self.step_size}; give a fraction above 0 and up to 1, such as 2/255")

    def canonical(self) -> dict[str, object]:
        """Return every field as JSON values, fractions as text such as "8/255" in lowest terms."""
        return {
            name: str(value) if isinstance(value, Fraction | StrEnum) else value for name, value in asdict(self).items()
        }

    def digest(self) -> bytes:
        """Return the sha256 (32 bytes) of the canonical form: JSON, keys sorted, no spaces."""
        return sha256(json.dumps(self.canonical(), sort_keys=True, separators=(",", ":")).encode()).digest()

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, object]) -> Self:
        """Return the protocol that parameters (JSON values) describe, left-out fields at their defaults.

        attack, epsilon, step_size and steps must be there. Raises ProtocolError naming the field at fault.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(parameters) - set(known)):
            raise ProtocolError(f"unknown protocol field {', '.join(unknown)}; there are {', '.join(known)}")
        required = ("attack", "epsilon", "step_size", "steps")
        if missing := [name for name in required if name not in parameters]:
            raise ProtocolError(f"the protocol lacks {', '.join(missing)}")
        values = dict(parameters)
        for name in ("epsilon", "step_size"):
            values[name] = _fraction(name, values[name])
        return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks every value's type


_CHOICES: Mapping[str, type[StrEnum]] = {
    "attack": Attack,
    "start": Start,
    "loss": Loss,
    "resize": Resize,
    "rounding": Rounding,
}
_INTEGERS: Mapping[str, tuple[int, int]] = {
    "steps": (1, MAX_STEPS),
    "seed": (0, MAX_SEED),
    "engine_revision": (1, ENGINE_REVISION),
}


def _require_choice(name: str, value: object, choices: type[StrEnum]) -> None:
    if value not in list(choices):
        raise ProtocolError(f"{name} is {value!r}; this engine knows {', '.join(choices)}")


def _require_integer(name: str, value: object, low: int, high: int) -> None:
    # bool is an int in Python, but `true` steps are a mistake
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ProtocolError(f"{name} is {value!r}; give a whole number from {low} to {high}")


def _fraction(name: str, value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not _FRACTION_TEXT.fullmatch(text):
        raise ProtocolError(f"{name} is {value!r}; give a fraction such as '8/255' or a decimal such as 0.03")
    try:
        return Fraction(text)
    except ZeroDivisionError:
        raise ProtocolError(f"{name} is {value!r}, which divides by zero") from None


PRESETS: Mapping[str, Protocol] = MappingProxyType(
    {
        "pgd": Protocol(attack=Attack.PGD, epsilon=Fraction(8, 255), step_size=Fraction(2, 255), steps=50),
        # The paper's words read literally: the step exceeds 2 epsilon, so each lands on a corner of the ball.
        "pgd-paper": Protocol(attack=Attack.PGD, epsilon=Fraction(8, 255), step_size=Fraction(1, 10), steps=50),
    }
)
