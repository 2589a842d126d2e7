"""The fault-free run: the same models, measured by the same code in this process, with nobody to disturb it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from registry.access import LOCAL
from registry.comparisons import create_comparison
from registry.database import transaction
from registry.declarations import (
    ComparisonDeclaration,
    ImageSetDeclaration,
    ModelDeclaration,
    ProtocolDeclaration,
)
from registry.image_sets import create_image_set
from registry.models import register_model
from registry.protocols import create_protocol
from registry.settings import Settings
from tests.faults.history import Measured, check_rows, read_measured
from tests.faults.zoo import PROTOCOL, Entry, image_set
from worker.app import load_tasks, make_context
from worker.context import Context
from worker.runner import drain

COMPARISON = {"image_set": "digits", "protocol": PROTOCOL["name"], "state": "measuring"}


def measure_undisturbed(database_url: str, redis_url: str, folder: Path, entries: Sequence[Entry]) -> Measured:
    """Measure the entries on a migrated, empty database; what they measure, bit for bit."""
    with working(database_url, redis_url, folder) as context:
        prepare_comparison(context, folder / "digits.safetensors")
        for entry in entries:
            register(context, entry)
        work(context)
        with context.sessions() as session:
            wrong = [str(anomaly) for anomaly in check_rows(session, [entry.name for entry in entries])]
            assert not wrong, f"without any fault: {wrong}"
            return read_measured(session)


@contextmanager
def working(database_url: str, redis_url: str, folder: Path) -> Iterator[Context]:
    """This process as a worker, with one thread as the workers of a stack, on the folder's artifacts."""
    torch.set_num_threads(1)
    settings = Settings(
        database_url=database_url, redis_url=redis_url, artifacts=str(folder / "artifacts"), cache=folder / "cache",
        device="cpu", min_free_bytes=0,
    )  # fmt: skip
    context = make_context(settings)
    try:
        yield context
    finally:
        context.bell.close()
        context.sessions.kw["bind"].dispose()


def prepare_comparison(context: Context, path: Path) -> None:
    """The image set `digits`, the protocol `quick`, and the comparison that measures; path takes the images."""
    declaration = ImageSetDeclaration.model_validate(image_set(path))
    content = context.store.put_file(path, "image-set", context.sessions)
    with context.sessions.begin() as session:
        create_image_set(session, declaration, content=content, content_path=path)
        create_protocol(session, ProtocolDeclaration.model_validate(PROTOCOL))
        create_comparison(session, ComparisonDeclaration.model_validate(COMPARISON))


def work(context: Context) -> None:
    """Do all queued work in this thread, both lanes in turn, until none is left."""
    tasks = load_tasks()
    while sum([drain(context, lane, tasks) for lane in context.settings.lanes]):
        pass


def register(context: Context, entry: Entry) -> None:
    """Register a model, as POST /models does."""
    checkpoint = context.store.put_file(entry.checkpoint, "checkpoint", context.sessions)
    with transaction(context.sessions, lambda _: None) as session:
        register_model(session, ModelDeclaration.model_validate(entry.metadata), checkpoint=checkpoint, actor=LOCAL)
