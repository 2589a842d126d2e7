"""How images are attacked, as a value that can be stored, compared and hashed."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fractions import Fraction
from hashlib import sha256
from types import MappingProxyType
from typing import Self

from sat_engine.attack_kinds import KINDS, Attack, AttackKind, Option, Start, gradients
from sat_engine.errors import ProtocolError

# Raised when the same protocol would give other numbers than before.
ENGINE_REVISION = 1
MAX_STEPS = 10_000
MAX_SEED = 2**63 - 1  # what a bigint column holds
# Bounded, so that hostile text such as "1e999999999" is never turned into an integer of a gigabyte.
_FRACTION_TEXT = re.compile(r"\d{1,9}(/\d{1,9}|\.\d{1,9})?", re.ASCII)


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

    seed is that of the noise control and of the attack's own random numbers, if it draws any. options are the numbers
    that this attack alone takes (sat_engine/attack_kinds.py); those left out get their defaults.
    Raises ProtocolError, naming the field, where a value is out of its range, or the attack cannot be run here.
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
    options: Mapping[str, Fraction] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        kind = kind_of(self.attack)
        for name, choices in _CHOICES.items():
            _require_choice(name, getattr(self, name), list(choices), "this engine knows")
        _require_choice("start", self.start, list(kind.starts), f"{self.attack} knows")
        for name, (low, high) in _INTEGERS.items():
            _require_integer(name, getattr(self, name), low, high)
        for name in ("epsilon", "step_size"):
            if not isinstance(getattr(self, name), Fraction):
                raise ProtocolError(f"{name} must be a fraction of a [0, 1] pixel, such as 8/255")
        if not 0 <= self.epsilon <= 1:
            raise ProtocolError(f"epsilon is {self.epsilon}; it is in units of a [0, 1] pixel, so use 8/255 for 8")
        # APGD's published first step is the ball's diameter, which may exceed a pixel's range
        if not 0 < self.step_size <= 2:  # noqa: PLR2004
            raise ProtocolError(f"step_size is {self.step_size}; give a fraction above 0 and up to 2, such as 2/255")
        object.__setattr__(self, "options", _complete(self.attack, kind, self.options))

    @property
    def gradients(self) -> int:
        """How many gradients an image costs; each is a forward and a backward pass."""
        return gradients(Attack(self.attack), self.steps, self.options)

    def canonical(self) -> dict[str, object]:
        """Return every field as JSON values, fractions as text such as "8/255" in lowest terms; options beside them."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "options"}
        known = KINDS[Attack(self.attack)].options
        options = {name: int(value) if known[name].whole else value for name, value in self.options.items()}
        return {
            name: str(value) if isinstance(value, Fraction | StrEnum) else value
            for name, value in (values | options).items()
        }

    def digest(self) -> bytes:
        """Return the sha256 (32 bytes) of the canonical form: JSON, keys sorted, no spaces."""
        return sha256(json.dumps(self.canonical(), sort_keys=True, separators=(",", ":")).encode()).digest()

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, object]) -> Self:
        """Return the protocol that parameters (JSON values) describe, left-out fields at their defaults.

        attack, epsilon, step_size and steps must be there. Raises ProtocolError naming the field at fault.
        """
        if missing := [name for name in _REQUIRED if name not in parameters]:
            raise ProtocolError(f"the protocol lacks {', '.join(missing)}")
        kind = kind_of(parameters["attack"])
        known = [each.name for each in fields(cls) if each.name != "options"]
        if unknown := sorted(set(parameters) - set(known) - set(kind.options)):
            shown = ", ".join(name[:40] for name in unknown[:5])
            raise ProtocolError(
                f"unknown protocol field {shown}; {parameters['attack']} takes {', '.join([*known, *kind.options])}"
            )
        values = {"start": kind.starts[0]} | {name: parameters[name] for name in known if name in parameters}
        for name in ("epsilon", "step_size"):
            values[name] = _fraction(name, values[name])
        options = {name: _fraction(name, parameters[name]) for name in kind.options if name in parameters}
        return cls(**values, options=options)  # type: ignore[arg-type]  # __post_init__ checks every value's type


def kind_of(attack: object) -> AttackKind:
    """Return the catalogue's entry for an attack's name.

    ProtocolError where there is none, or where it cannot be run, with the reason.
    """
    _require_choice("attack", attack, list(Attack), "this engine knows")
    kind = KINDS[Attack(str(attack))]
    if kind.unavailable is not None:
        raise ProtocolError(f"the attack {attack} is not available: {kind.unavailable}")
    return kind


def with_published(parameters: Mapping[str, object]) -> dict[str, object]:
    """Return the parameters with step_size and steps, where left out, as the attack was published.

    Raises ProtocolError as from_parameters does.
    """
    if "attack" not in parameters or "epsilon" not in parameters:
        return dict(parameters)
    kind = kind_of(parameters["attack"])
    step = kind.step_size(_fraction("epsilon", parameters["epsilon"]))
    return {"step_size": step, "steps": kind.steps} | dict(parameters)


_REQUIRED = ("attack", "epsilon", "step_size", "steps")
_CHOICES: Mapping[str, type[StrEnum]] = {
    "loss": Loss,
    "resize": Resize,
    "rounding": Rounding,
}
_INTEGERS: Mapping[str, tuple[int, int]] = {
    "steps": (1, MAX_STEPS),
    "seed": (0, MAX_SEED),
    "engine_revision": (1, ENGINE_REVISION),
}


def _require_choice(name: str, value: object, choices: Sequence[str], who_knows: str) -> None:
    if value not in choices:
        raise ProtocolError(f"{name} is {value!r:.60}; {who_knows} {', '.join(choices)}")


def _require_integer(name: str, value: object, low: int, high: int) -> None:
    # bool is an int in Python, but `true` steps are a mistake
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ProtocolError(f"{name} is {value!r:.60}; give a whole number from {low} to {high}")


def _complete(attack: str, kind: AttackKind, given: Mapping[str, Fraction]) -> Mapping[str, Fraction]:
    """Return all of the attack's options, the left-out ones at their defaults."""
    if unknown := sorted(set(given) - set(kind.options)):
        takes = ", ".join(kind.options) or "none"
        raise ProtocolError(f"unknown option {', '.join(unknown)}; the options of {attack} are: {takes}")
    for name, value in given.items():
        _require_option(name, value, kind.options[name])
    return {name: given.get(name, option.default) for name, option in kind.options.items()}


def _require_option(name: str, value: object, option: Option) -> None:
    sound = isinstance(value, Fraction) and option.low <= value <= option.high
    if not sound or (option.whole and isinstance(value, Fraction) and value.denominator != 1):
        what = "a whole number" if option.whole else "a number or a fraction such as 3/2"
        raise ProtocolError(f"{name} is {value!s:.60}; give {what} from {option.low} to {option.high}")


def _fraction(name: str, value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not _FRACTION_TEXT.fullmatch(text):
        raise ProtocolError(f"{name} is {value!r:.60}; give a fraction such as '8/255' or a decimal such as 0.03")
    try:
        return Fraction(text)
    except ZeroDivisionError:
        raise ProtocolError(f"{name} is {value!r:.60}, which divides by zero") from None


def _published(attack: Attack, epsilon: Fraction) -> Protocol:
    kind = KINDS[attack]
    return Protocol(
        attack=attack, epsilon=epsilon, step_size=kind.step_size(epsilon), steps=kind.steps, start=kind.starts[0]
    )


_RADIUS = Fraction(8, 255)
PRESETS: Mapping[str, Protocol] = MappingProxyType(
    {
        "pgd": Protocol(attack=Attack.PGD, epsilon=_RADIUS, step_size=Fraction(2, 255), steps=50),
        # The paper's words read literally: the step exceeds 2 epsilon, so each lands on a corner of the ball.
        "pgd-paper": Protocol(attack=Attack.PGD, epsilon=_RADIUS, step_size=Fraction(1, 10), steps=50),
        "mi-fgsm": _published(Attack.MI_FGSM, _RADIUS),
        "vmi-fgsm": _published(Attack.VMI_FGSM, _RADIUS),
        "low-frequency-pgd": _published(Attack.LOW_FREQUENCY_PGD, _RADIUS),
        "apgd": _published(Attack.APGD, _RADIUS),
        # as published, one patch may take any value
        "patch-fool": _published(Attack.PATCH_FOOL, Fraction(1)),
    }
)
