"""Arrays into the artifact store."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray

from registry.artifacts import Artifact, write_artifact
from sat_engine.io.tensors import write_arrays
from worker.context import Context


def store_arrays(context: Context, kind: str, arrays: Mapping[str, NDArray[Any]]) -> Artifact:
    """Store named arrays as one safetensors artifact."""
    return write_artifact(context.store, context.sessions, kind, partial(write_arrays, arrays=arrays))
