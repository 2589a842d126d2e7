"""SAT_PRECISION=bfloat16: bfloat16 where a network passes its gate, one path a network, and a way to another one."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import select, update

from registry.comparisons import create_comparison
from registry.database import transaction
from registry.declarations import ComparisonDeclaration, ModelDeclaration, ProtocolDeclaration
from registry.naming import own_name
from registry.protocols import create_protocol
from registry.tables import (
    AttackRow,
    AuditRow,
    ComparisonRow,
    EvaluationRow,
    JobRow,
    ModelRow,
    ProtocolRow,
    TransferRow,
)
from sat_engine.precision import Precision, has_bfloat16, precision_of
from tests.worker.conftest import make_workshop

pytestmark = pytest.mark.skipif(
    not has_bfloat16(torch.device("cpu")), reason="this processor does not multiply bfloat16"
)


def register_changed(workshop, member, name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Register the member under another name, with its tensors changed."""
    tensors = load_file(workshop.checkpoints[member.name])
    change(tensors)
    path = workshop.folder / f"{name}.safetensors"
    save_file(tensors, path)
    workshop.register_file(ModelDeclaration.model_validate(member.metadata() | {"name": name}), path)


@pytest.fixture
def workshop(sessions, database_url, empty_redis, checkpoints, tmp_path):
    """A workshop whose images are all said to be a three, so that a network that says so is right."""
    workshop = make_workshop(sessions, database_url, empty_redis, checkpoints, tmp_path, label=3)
    yield workshop
    workshop.stop_all()


def answer_three(tensors: dict[str, torch.Tensor]) -> None:
    """Let logits be 0 or 1 whatever the image is: nothing is lost by bfloat16."""
    tensors["fc.weight"].zero_()
    tensors["fc.bias"].copy_(torch.eye(10)[3])


def answer_three_faintly(tensors: dict[str, torch.Tensor]) -> None:
    """Add 1,000 to every logit: float32 still tells them apart, and bfloat16 knows multiples of 4 there."""
    answer_three(tensors)
    tensors["fc.bias"] += 1000


def paths(workshop) -> dict[str, dict[int, set[Precision]]]:
    """The precisions by kind of result and network: its own evaluations and attack, and the transfers onto it."""
    found: dict[str, dict[int, set[Precision]]] = {}
    with workshop.sessions() as session:
        for kind, table, network in (
            ("evaluation", EvaluationRow, EvaluationRow.network_id),
            ("attack", AttackRow, AttackRow.network_id),
            ("transfers", TransferRow, TransferRow.target_id),
        ):
            found[kind] = {}
            for network_id, path in session.execute(select(network, table.numeric_path)):
                found[kind].setdefault(network_id, set()).add(precision_of(path))
    return found


def test_each_network_has_one_path_chosen_by_its_gate_until_it_is_measured_anew(workshop, members):
    worker = workshop.start_worker(SAT_PRECISION="bfloat16")
    register_changed(workshop, members[0], "sure", answer_three)
    register_changed(workshop, members[0], "unsure", answer_three_faintly)
    workshop.wait(lambda: len(workshop.measured()["pairs"]) == 1 and workshop.idle(), 250)
    with workshop.sessions() as session:
        networks = {own_name(session, model.id): model.network_id for model in session.scalars(select(ModelRow))}
    chosen = {networks["sure"]: {Precision.BFLOAT16}, networks["unsure"]: {Precision.FLOAT32}}
    assert paths(workshop) == dict.fromkeys(("evaluation", "attack", "transfers"), chosen)

    with workshop.sessions() as session:
        sure = EvaluationRow.network_id == networks["sure"]
        fast_path = session.scalars(select(EvaluationRow.numeric_path).where(sure)).first()
    measured = workshop.measured()
    worker.terminate()
    worker.wait()
    anew = subprocess.run(
        [sys.executable, "-m", "registry", "re-evaluate", "sure"],
        env=workshop.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert anew.stdout.startswith("sure: forgotten")
    assert not workshop.measured()["pairs"]
    again = subprocess.run(
        [sys.executable, "-m", "registry", "re-evaluate", "sure"],
        env=workshop.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert "is received, and only what is ready" in again.stderr
    workshop.start_worker()  # of float32
    workshop.wait(lambda: len(workshop.measured()["pairs"]) == 1 and workshop.idle(), 250)
    chosen[networks["sure"]] = {Precision.FLOAT32}
    assert paths(workshop) == dict.fromkeys(("evaluation", "attack", "transfers"), chosen)
    # logits of 0 and 1 are the same on both paths, so that everything else is as it was
    assert workshop.measured() == measured
    with workshop.sessions() as session:
        subjects = select(AuditRow.subject).where(AuditRow.action == "model.re-evaluate")
        assert session.scalars(subjects).all() == ["sure"]

    # a gate that was passed under one protocol says nothing of another one
    with transaction(workshop.sessions, lambda _: None) as session:
        unsure = EvaluationRow.network_id == networks["unsure"]
        session.execute(update(EvaluationRow).where(unsure).values(numeric_path=fast_path))
        create_protocol(
            session,
            ProtocolDeclaration.model_validate({"name": "other", "epsilon": "8/255", "step_size": "2/255", "steps": 2}),
        )
        create_comparison(
            session,
            ComparisonDeclaration.model_validate({"image_set": "digits", "protocol": "other", "state": "measuring"}),
        )

    def waits() -> bool:
        with workshop.sessions() as session:
            jobs = session.scalars(select(JobRow).where(JobRow.network_id == networks["unsure"])).all()
        return any(
            "under the protocol other that gives other results than float32" in (job.failure or "") for job in jobs
        )

    workshop.wait(waits)
    with workshop.sessions() as session:
        others = select(ComparisonRow.id).join(ProtocolRow).where(ProtocolRow.name == "other").scalar_subquery()
        of_other = (AttackRow.comparison_id == others, AttackRow.network_id == networks["unsure"])
        assert session.scalars(select(AttackRow).where(*of_other)).all() == []
