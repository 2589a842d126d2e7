"""Accuracies that say that a network and the labels do not belong together."""

import numpy as np
from numpy.typing import NDArray

from sat_engine.errors import NotComputableError

# An accuracy that closes less than this share of the way from chance to 1 is "near chance".
NEAR_CHANCE = 0.1


def is_near_chance(accuracy: float, classes: int) -> bool:
    """Return whether guessing among so many classes does nearly as well."""
    chance = 1 / classes
    return accuracy < chance + NEAR_CHANCE * (1 - chance)


def require_above_chance(name: str, correct: NDArray[np.bool_], classes: int) -> None:
    """Raise NotComputableError where a network of so many outputs is right, (n,), hardly more often than by guessing.

    Its labels then mean other classes than its outputs, as those of a folder with some of ImageNet's classes do, which
    are numbered from 0; a matrix of the few images that are right by chance would say nothing.
    """
    accuracy = float(correct.mean())
    if is_near_chance(accuracy, classes):
        raise NotComputableError(
            f"{name} gets {accuracy:.1%} of {len(correct)} images right, where guessing gets {1 / classes:.1%}: check "
            "that labels and outputs are in one order of classes (read_folder takes `classes`, such as the "
            "`class_names` of a pretrained network), and the mean and std"
        )
