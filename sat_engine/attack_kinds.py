"""The catalogue of attacks: what each can do, and which numbers it takes. Needs neither torch nor numpy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType


class Attack(StrEnum):
    """How an image is changed."""

    PGD = "pgd"
    MI_FGSM = "mi-fgsm"
    VMI_FGSM = "vmi-fgsm"
    LOW_FREQUENCY_PGD = "low-frequency-pgd"
    APGD = "apgd"
    PATCH_FOOL = "patch-fool"
    BIA = "bia"


class Start(StrEnum):
    """Where the first step begins: at the image, or at a random point of the ball around it."""

    IMAGE = "image"
    RANDOM = "random"


class Randomness(StrEnum):
    """What an attack's random numbers are drawn for. Seeded by image, they depend on no batch and no order."""

    NONE = "none"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Option:
    """A number that one attack takes beside those that all take; from low to high, whole where whole is set."""

    default: Fraction
    low: Fraction
    high: Fraction
    meaning: str
    whole: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackKind:
    """One attack of the catalogue.

    unavailable: why it cannot be run here; None where it can. on_grid: with whole levels of 255 for epsilon and
    step, its images are bytes without rounding. needs_patches: only networks that cut images into patches and attend
    to them can be attacked. needs_generator: only a trained generator makes its images.
    steps and step (in units of epsilon, or of a pixel where step_of_pixel is set) are what it is published with.
    """

    title: str
    source: str
    unavailable: str | None = None
    randomness: Randomness = Randomness.NONE
    on_grid: bool = False
    needs_patches: bool = False
    needs_generator: bool = False
    starts: tuple[Start, ...] = (Start.IMAGE,)
    steps: int
    step: Fraction
    step_of_pixel: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)

    def step_size(self, epsilon: Fraction) -> Fraction:
        """Return the published step for this radius, in units of a [0, 1] pixel."""
        return self.step if self.step_of_pixel else self.step * epsilon


_MOMENTUM = Option(Fraction(1), Fraction(0), Fraction(10), "share of the former direction that each step keeps")

KINDS: Mapping[Attack, AttackKind] = MappingProxyType(
    {
        Attack.PGD: AttackKind(
            title="Projected gradient descent",
            source="Madry et al., ICLR 2018",
            on_grid=True,
            steps=50,
            step=Fraction(2, 255),
            step_of_pixel=True,
        ),
        Attack.MI_FGSM: AttackKind(
            title="Momentum iterative fast gradient sign method",
            source="Dong et al., CVPR 2018",
            steps=10,
            step=Fraction(1, 10),
            options={"momentum": _MOMENTUM},
        ),
        Attack.VMI_FGSM: AttackKind(
            title="MI-FGSM with the gradients of random neighbours (variance tuning)",
            source="Wang and He, CVPR 2021",
            randomness=Randomness.IMAGE,
            steps=10,
            step=Fraction(1, 10),
            options={
                "momentum": _MOMENTUM,
                "neighbours": Option(Fraction(20), Fraction(1), Fraction(1000), "random points a step", whole=True),
                "neighbourhood": Option(
                    Fraction(3, 2), Fraction(0), Fraction(100), "how far away they may be, in units of epsilon"
                ),
            },
        ),
        Attack.LOW_FREQUENCY_PGD: AttackKind(
            title="PGD along the gradient's low frequencies",
            source="after Guo, Frank and Weinberger, UAI 2019",
            on_grid=True,
            steps=50,
            step=Fraction(2, 255),
            step_of_pixel=True,
            options={
                "frequencies": Option(
                    Fraction(1, 2), Fraction(1, 1000), Fraction(1), "share of the lowest DCT frequencies, each axis"
                )
            },
        ),
        Attack.APGD: AttackKind(
            title="PGD that halves its own step; the first and strongest part of AutoAttack",
            source="Croce and Hein, ICML 2020",
            randomness=Randomness.IMAGE,
            starts=(Start.RANDOM, Start.IMAGE),
            steps=100,
            step=Fraction(2),
        ),
        Attack.PATCH_FOOL: AttackKind(
            title="One patch, chosen and driven by the network's own attention",
            source="Fu et al., ICLR 2022",
            randomness=Randomness.IMAGE,
            needs_patches=True,
            starts=(Start.RANDOM,),
            steps=250,
            step=Fraction(1, 20),
            step_of_pixel=True,
            options={
                "patches": Option(Fraction(1), Fraction(1), Fraction(64), "patches that may change", whole=True),
                "attention": Option(
                    Fraction(2, 1000), Fraction(0), Fraction(1000), "weight of the attention losses beside the loss"
                ),
            },
        ),
        Attack.BIA: AttackKind(
            title="Beyond ImageNet attack: images from a generator",
            source="Zhang et al., ICLR 2022",
            unavailable="it needs a generator trained on ImageNet, and no trained one comes with this registry",
            needs_generator=True,
            steps=1,
            step=Fraction(1),
        ),
    }
)


def gradients(attack: Attack, steps: int, options: Mapping[str, Fraction]) -> int:
    """Return how many gradients an image costs; each is a forward and a backward pass."""
    if attack is Attack.VMI_FGSM:
        return steps * (1 + int(options["neighbours"]))
    return steps + 1 if attack is Attack.APGD else steps
