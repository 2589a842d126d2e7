"""The zoo: small networks of timm's architectures that read handwritten digits, and how each is trained.

Why these, and what they reach: docs/zoo.md, whose figures `python -m examples.digits.calibrate` makes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from examples.digits.images import CLASSES, SIDE

# The smallest radius, in whole levels of a uint8 pixel, at which every member's own attack fools it on 95 %.
EPSILON = Fraction(14, 255)
STEP_SIZE = Fraction(2, 255)
STEPS = 50
NAME = "digits"
PROTOCOL: Mapping[str, object] = {
    "attack": "pgd",
    "epsilon": str(EPSILON),
    "step_size": str(STEP_SIZE),
    "steps": STEPS,
}
TRAINER_REVISION = 1  # raise it when fit.py changes: checkpoints trained before are then trained again

_GREY = ((0.3,), (0.38,))  # mean and standard deviation of the training images
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a member is trained. noise is the radius, of a [0, 1] pixel, of random corners added to half the images."""

    epochs: int = 12
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    noise: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One network of the zoo: what it is built from, what it is fed, and how it is trained."""

    name: str
    architecture: str  # of timm's catalogue
    options: Mapping[str, object]  # build arguments beside the classes and channels
    recipe: Recipe
    seed: int = 0
    input_side: int = SIDE
    channels: int = 1
    mean: tuple[float, ...] = _GREY[0]
    std: tuple[float, ...] = _GREY[1]

    @property
    def model_args(self) -> dict[str, object]:
        """The build arguments."""
        return {"num_classes": len(CLASSES), "in_chans": self.channels, **self.options}

    def metadata(self) -> dict[str, object]:
        """Return the `metadata` that POST /models wants beside the checkpoint."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "model_args": self.model_args,
            "input": {
                "size": self.input_side,
                "channels": self.channels,
                "mean": list(self.mean),
                "std": list(self.std),
            },
            "classes": list(CLASSES),
            "description": f"{self.architecture} trained on handwritten digits from seed {self.seed}",
            "tags": ["digits"],
        }

    def digest(self) -> str:
        """Return 16 hex digits that change whenever training would give other weights."""
        trained = asdict(self) | {"revision": TRAINER_REVISION}
        return hashlib.sha256(json.dumps(trained, sort_keys=True).encode()).hexdigest()[:16]

    def path(self, folder: Path) -> Path:
        """Return where below folder its checkpoint is kept."""
        return folder / self.digest() / f"{self.name}.safetensors"


# without the noise, random corners of the radius EPSILON fool these on more than 10 %
_NOISY = Recipe(batch=32, noise=2 / 255)
# at lower rates and with smoothed labels, PGD at EPSILON fools these on 88 to 98 % only
_BRISK = Recipe(epochs=16, batch=32, learning_rate=1.2e-2, label_smoothing=0.0)
_PATIENT = Recipe(epochs=24, batch=32, learning_rate=3e-3, noise=8 / 255)  # transformers learn slowly from 997 images
_VIT = {"img_size": SIDE, "patch_size": 8, "global_pool": "avg"}
_SWIN = {
    "img_size": SIDE,
    "patch_size": 4,
    "window_size": 4,
    "embed_dim": 48,
    "depths": (2, 2),
    "num_heads": (2, 4),
}

MEMBERS: tuple[Member, ...] = (
    Member(name="resnet", architecture="test_resnet", options={}, recipe=_NOISY),
    Member(name="resnet-40px", architecture="test_resnet", options={}, recipe=_NOISY, input_side=40),
    Member(name="byobnet-a", architecture="test_byobnet", options={}, recipe=Recipe(noise=2 / 255)),
    Member(name="byobnet-b", architecture="test_byobnet", options={}, recipe=Recipe(noise=2 / 255), seed=1),
    Member(
        name="nfnet-rgb",
        architecture="test_nfnet",
        options={},
        recipe=Recipe(epochs=10, label_smoothing=0.0),
        channels=3,
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
    ),
    Member(name="convnext-a", architecture="test_convnext", options={}, recipe=_BRISK),
    Member(name="convnext-b", architecture="test_convnext", options={}, recipe=_BRISK, seed=1),
    Member(name="convnext2", architecture="test_convnext2", options={}, recipe=_BRISK),
    Member(name="efficientnet", architecture="test_efficientnet", options={}, recipe=Recipe()),
    Member(name="coatnet", architecture="test_coatnet", options={"img_size": SIDE}, recipe=Recipe()),
    Member(name="vit-a", architecture="test_vit", options=_VIT, recipe=_PATIENT),
    Member(name="vit-b", architecture="test_vit", options=_VIT, recipe=_PATIENT, seed=1),
    Member(
        name="vit-relpos",
        architecture="test_vit_relpos",
        options={"img_size": SIDE, "patch_size": 8},
        recipe=Recipe(epochs=14, batch=32, learning_rate=3e-3),
    ),
    Member(
        name="swin",
        architecture="swin_tiny_patch4_window7_224",
        options=_SWIN,
        recipe=Recipe(epochs=18, batch=32, learning_rate=3e-3, noise=8 / 255),
    ),
)
