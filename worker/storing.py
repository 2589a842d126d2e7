"""Arrays into the artifact store."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray

from registry.storage.artifacts import Artifact, write_artifact
from registry.storage.eviction import KIND, make_room
from sat_engine.io.tensors import write_arrays
from worker.context import Context

Arrays = Mapping[str, NDArray[Any]]


def store_arrays(context: Context, kind: str, arrays: Arrays) -> Artifact:
    """Store named arrays as one safetensors artifact; StorageFullError where there is no room for them."""
    if kind == KIND:
        require_room_for_images(context, sum(array.nbytes for array in arrays.values()))
    return write_artifact(context.store, context.sessions, kind, partial(write_arrays, arrays=arrays))


def require_room_for_images(context: Context, n_bytes: int) -> None:
    """Make room for so many bytes of adversarial images; StorageFullError where those that are needed leave none.

    To be asked before they are computed, too.
    """
    make_room(context.sessions, context.store.remove, n_bytes, context.store.limits.adversarial)
    context.store.require_room(n_bytes, context.sessions)
