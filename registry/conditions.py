"""Conditional changes: who changes something may say in which state it was seen, and nobody's change is undone unseen.

A state is a short text of what people change of the thing; what is measured meanwhile is no part of it.
"""

import hashlib
from collections.abc import Collection

from registry.errors import StaleError

Seen = frozenset[str] | None
"""The states that whoever asks has seen; None: whatever it is."""

_DIGITS = 16


def state_of(*values: object) -> str:
    """The state that these values make up: 16 hexadecimal digits."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:_DIGITS]


def model_states(revision: int, model_id: int) -> tuple[str, str]:
    """A model's state, by two names: with its number, which tells it from a later one of its name, and without."""
    return f"{revision}~{model_id}", str(revision)


def require_seen(seen: Seen, states: Collection[str], what: str) -> None:
    """StaleError unless the caller has seen one of the states, or takes whatever there is.

    `what` begins the sentence, such as "the model". The caller holds the thing's lock.
    """
    if seen is not None and not seen & set(states):
        raise StaleError(
            f"{what} was changed since you read it. Read it again, and send the change with its new ETag in If-Match."
        )
