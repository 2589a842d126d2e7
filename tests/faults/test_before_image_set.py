"""A model that came before its image set, its classes in another order, is measured as if it had not."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from registry.tables import Lane
from tests.faults.baseline import prepare_comparison, register, work, working
from tests.faults.history import Measured, read_measured
from tests.faults.zoo import Entry
from worker.app import load_tasks
from worker.runner import drain

DIGITS = list("0123456789")


def clean_bits(measured: Measured) -> list[dict[tuple[object, ...], object]]:
    """For each network, its clean bits by part and rung."""
    by_network: dict[object, dict[tuple[object, ...], object]] = defaultdict(dict)
    for (digest, *where), (_, correct, *_) in measured.evaluations:
        by_network[digest][tuple(where)] = correct
    return list(by_network.values())


def turned(entry: Entry, path: Path) -> Entry:
    """The same network with its outputs, and their names, turned round by one."""
    tensors = load_file(entry.checkpoint)
    head = {name: np.roll(tensors[name], 1, axis=0) for name in ("fc.weight", "fc.bias")}
    save_file(tensors | head, path)
    return Entry(entry.name, dict(entry.metadata) | {"classes": [DIGITS[-1], *DIGITS[:-1]]}, path)


def test_its_clean_answers_are_those_of_the_network_in_the_image_sets_order(
    servers: Any, template: str, undisturbed: Any, tmp_path: Path
) -> None:
    entry = undisturbed.entries[0]
    with servers.clone(template) as url, working(url, undisturbed.redis_url, tmp_path) as context:
        register(context, turned(entry, tmp_path / "turned.safetensors"))
        assert drain(context, Lane.LIGHT, load_tasks()) == 1, "prepared for a task of its own"
        prepare_comparison(context, tmp_path / "digits.safetensors")
        work(context)
        with context.sessions() as session:
            measured = read_measured(session)
    assert len(measured.attacks) == 2
    assert clean_bits(measured)[0] in clean_bits(undisturbed.measured)
