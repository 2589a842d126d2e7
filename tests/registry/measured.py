"""A registry whose results are written through the tables, with bytes in a real store."""

from itertools import combinations

import numpy as np

from registry.database import Sessions
from registry.storage.artifacts import Artifact, ArtifactStore, write_artifact
from registry.tables import AttackRow, EvaluationRow, PairRow, Part, TransferRow
from sat_engine import bits
from tests.registry.conftest import PREFIX, Small


def put(store: ArtifactStore, sessions: Sessions, content: bytes, kind: str = "test") -> Artifact:
    """Store these bytes."""
    return write_artifact(store, sessions, kind, lambda path: path.write_bytes(content))


def add_networks(small: Small, store: ArtifactStore, *names: str) -> list[int]:
    """Evaluated networks whose weights, checkpoints and logits are the bytes of their names, in the store."""
    put(store, small.sessions, b"images")
    for name in names:
        put(store, small.sessions, name.encode())
    return [small.add_network(name) for name in names]


def add_attack(
    small: Small, store: ArtifactStore, network_id: int, *, rung: int = 0, images: bytes | None = None
) -> bytes:
    """An attack that fools the source on every image; returns its images' sha256."""
    content = images or f"adversarial {network_id} {rung}".encode()
    artifact = put(store, small.sessions, content, "adversarial")
    with small.sessions.begin() as session:
        clean = session.get_one(EvaluationRow, (network_id, small.image_set_id, Part.ATTACK, rung))
        everything = bits.pack(np.ones(clean.n, bool))
        session.add(
            AttackRow(
                comparison_id=small.comparison_id, network_id=network_id, rung=rung, attacked=clean.n,
                fooled=everything, n_fooled=clean.n, noise_fooled=bits.pack(np.zeros(clean.n, bool)), n_noise_fooled=0,
                images=artifact.sha256, images_sha256=artifact.sha256, numeric_path="test",
                worker_id=small.worker_id, fence=1,
            )
        )  # fmt: skip
    return artifact.sha256


def add_cell(small: Small, source: int, target: int, fooled: int) -> None:
    """A rung-0 cell in which the first `fooled` images fool the target."""
    some = np.arange(PREFIX) < fooled
    with small.sessions.begin() as session:
        session.add(
            TransferRow(
                comparison_id=small.comparison_id, target_id=target, source_id=source, rung=0, common=PREFIX,
                fooled=bits.pack(some), n_fooled=fooled, floor_fooled=None, ceiling_fooled=None, numeric_path="test",
                worker_id=small.worker_id, fence=1,
            )
        )  # fmt: skip


def add_pair(small: Small, a: int, b: int) -> None:
    """Both cells of a pair, and the pair that they make."""
    add_cell(small, a, b, 5)
    add_cell(small, b, a, 3)
    with small.sessions.begin() as session:
        session.add(
            PairRow(
                comparison_id=small.comparison_id, a_id=min(a, b), b_id=max(a, b), rungs=1, n=PREFIX,
                fooled_ab=5 if a < b else 3, fooled_ba=3 if a < b else 5, fooled_both=3, version=1,
            )
        )  # fmt: skip


def add_measured(small, store, *names):
    """Networks with every attack and pair of rung 0; return their ids."""
    networks = add_networks(small, store, *names)
    for network in networks:
        add_attack(small, store, network)
    for one, other in combinations(networks, 2):
        add_pair(small, one, other)
    return networks
