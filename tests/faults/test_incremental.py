"""What is new is measured, and nothing else: a model among n, several at once, another protocol or image set."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from registry.access import LOCAL
from registry.comparisons import create_comparison
from registry.database import transaction
from registry.declarations import ComparisonDeclaration, ImageSetDeclaration, ProtocolDeclaration
from registry.image_sets import create_image_set
from registry.models import delete_model
from registry.protocols import create_protocol
from registry.tables import (
    AttackRow,
    EvaluationRow,
    JobKind,
    JobRow,
    JobState,
    Lane,
    NetworkRow,
    PairRow,
    TransferRow,
)
from tests.faults.baseline import register, work, working
from tests.faults.zoo import PROTOCOL, Entry, image_set, make_zoo
from worker.app import load_tasks
from worker.context import Context
from worker.runner import drain
from worker.tasks import transfers

RUNGS = 2
MEASURED = (EvaluationRow, AttackRow, TransferRow, PairRow)


@pytest.fixture
def context(undisturbed: Any) -> Iterator[Context]:
    """This process as a worker on a copy of a registry of three measured models."""
    with undisturbed.copy() as (url, _), working(url, undisturbed.redis_url, undisturbed.folder) as context:
        yield context


@pytest.fixture
def newcomers(undisturbed: Any) -> list[Entry]:
    """Two networks that the registry does not have."""
    return [replace(entry, metadata=dict(entry.metadata)) for entry in make_zoo(undisturbed.folder, 5, seed=0)[3:]]


def rows(context: Context) -> dict[str, set[tuple[object, ...]]]:
    """Every result as it stands, when it was recorded included; a pair's version too."""
    with context.sessions() as session:
        return {
            table.__tablename__: {tuple(map(repr, row)) for row in session.execute(select(table.__table__))}
            for table in MEASURED
        }


def added(before: dict[str, set[tuple[object, ...]]], after: dict[str, set[tuple[object, ...]]]) -> dict[str, int]:
    """How many rows came, where none that was there has changed."""
    for table, there in before.items():
        assert there <= after[table], f"{table}: what was recorded has changed"
    return {table: len(after[table]) - len(there) for table, there in before.items()}


def test_one_model_among_n_makes_its_own_row_and_column(context: Context, newcomers: list[Entry]) -> None:
    before = rows(context)
    register(context, newcomers[0])
    work(context)
    came = added(before, rows(context))
    assert came == {"evaluations": 4, "attacks": RUNGS, "transfers": 2 * 3 * RUNGS, "pairs": 3}


def test_several_at_once_are_coalesced_by_target(
    context: Context, newcomers: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """N + k targets are loaded once a rung, for 2 n k + k (k - 1) cells; the controls load sources of other sizes."""
    loaded = []
    load_target = transfers._load_target

    def counted(*arguments: Any) -> Any:
        loaded.append(arguments[2].network.id)
        return load_target(*arguments)

    monkeypatch.setattr(transfers, "_load_target", counted)
    before = rows(context)
    for entry in newcomers:
        register(context, entry)
    work(context)
    n, k = 3, 2
    assert added(before, rows(context))["transfers"] == (2 * n * k + k * (k - 1)) * RUNGS
    assert len(loaded) == (n + k) * RUNGS
    assert len(set(loaded)) == n + k


def test_deleting_a_model_stops_its_work_and_keeps_the_results_of_others(
    context: Context, newcomers: list[Entry]
) -> None:
    before = rows(context)
    register(context, newcomers[0])
    tasks = load_tasks()
    drain(context, Lane.LIGHT, tasks)
    with context.sessions() as session:
        network_id = session.scalars(select(func.max(NetworkRow.id))).one()
        queued = session.scalars(select(JobRow).where(JobRow.state == JobState.QUEUED)).all()
    assert [(job.kind, job.network_id) for job in queued] == [(JobKind.EVALUATE, network_id)]
    with transaction(context.sessions, lambda _: None) as session:
        delete_model(session, newcomers[0].name, actor=LOCAL)
    work(context)
    assert rows(context) == before
    with context.sessions() as session:
        assert session.scalars(select(JobRow).where(JobRow.state != JobState.IDLE)).all() == []


def test_another_protocol_starts_new_records_beside_the_old(context: Context) -> None:
    before = rows(context)
    with transaction(context.sessions, lambda _: None) as session:
        create_protocol(session, ProtocolDeclaration.model_validate(dict(PROTOCOL) | {"name": "weak", "steps": 1}))
        compare(session, "digits", "weak")
    work(context)
    # what the networks say of clean images does not depend on the attack
    cells = 3 * 2 * RUNGS
    assert added(before, rows(context)) == {"evaluations": 0, "attacks": 3 * RUNGS, "transfers": cells, "pairs": 3}


def test_another_image_set_starts_new_records_beside_the_old(context: Context, undisturbed: Any) -> None:
    before = rows(context)
    path = undisturbed.folder / "shuffled.safetensors"
    declaration = ImageSetDeclaration.model_validate(image_set(path) | {"name": "shuffled", "seed": 1})
    content = context.store.put_file(path, "image-set", context.sessions)
    with transaction(context.sessions, lambda _: None) as session:
        create_image_set(session, declaration, content=content, content_path=path)
        compare(session, "shuffled", str(PROTOCOL["name"]))
    work(context)
    cells = 3 * 2 * RUNGS
    expected = {"evaluations": 3 * 4, "attacks": 3 * RUNGS, "transfers": cells, "pairs": 3}
    assert added(before, rows(context)) == expected


def compare(session: Any, images: str, protocol: str) -> None:
    declared = {"image_set": images, "protocol": protocol, "state": "measuring"}
    create_comparison(session, ComparisonDeclaration.model_validate(declared))
