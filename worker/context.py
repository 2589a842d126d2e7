"""What every task of a worker process needs, made once at its start."""

import threading
from dataclasses import dataclass, field

from registry.bell import Bell
from registry.database import Sessions
from registry.settings import Settings
from registry.storage.artifacts import ArtifactStore
from sat_engine.batching import Batch
from sat_engine.plan import Plan
from worker.device import Device
from worker.images import ImageSets
from worker.standing import Standing


class StoppingError(Exception):
    """The process, or this work, was asked to end: the job in hand is given back."""


@dataclass(frozen=True, slots=True)
class Context:
    """A worker process: its settings, its connections, its device, and whether it was asked to end."""

    settings: Settings
    sessions: Sessions
    store: ArtifactStore
    bell: Bell
    device: Device
    worker_id: int
    image_sets: ImageSets
    batches: dict[tuple[bytes, str], Batch] = field(default_factory=dict)
    gates: dict[tuple[bytes, bytes, bytes], bool] = field(default_factory=dict)
    plans: dict[bytes, Plan] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    standing: Standing = field(default_factory=Standing)
