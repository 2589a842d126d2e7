"""The scores of a comparison's trusted networks, as the engine takes them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, select

from registry.pending import trusted_networks
from registry.reads.cells import read_pairs
from registry.tables import NetworkRow, RefusalRow
from sat_engine.scores import score_many
from worker.context import Context
from worker.images import image_set_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Networks by id, and SAT (n, n) in their order: NaN on the diagonal and where a pair has no whole score."""

    ids: list[int]
    digests: list[str]
    components: list[dict[str, str | None]]
    sat: NDArray[np.float64]


def read_scores(context: Context, comparison_id: int, *, complete: bool) -> Scores:
    """The scores of all networks that some model names which is not suspect.

    complete: without the networks that have a pair which can never have a score.
    """
    with context.sessions.begin() as session:
        # a suspect model may share no correct image with another, and would make every clustering impossible
        ids = trusted_networks(session, image_set_of(session, comparison_id))
        networks = {
            network.id: network
            for network in session.execute(
                select(NetworkRow.id, NetworkRow.digest, NetworkRow.components).where(NetworkRow.id.in_(ids))
            )
        }
        refused = session.execute(
            select(RefusalRow.source_id, RefusalRow.target_id)
            # a pair that lacks only its second rung keeps the score of its first
            .where(RefusalRow.comparison_id == comparison_id, RefusalRow.rung == 0)
            .distinct()
        ).all()
        sat, empty = _read_matrix(session.connection(), comparison_id, ids)
    if complete:
        kept = without_hopeless(ids, {frozenset(pair) for pair in refused} | empty)
        where = np.searchsorted(ids, kept)
        ids, sat = kept, sat[np.ix_(where, where)]
    return _scores(ids, [networks[each] for each in ids], sat)


def _scores(ids: list[int], networks: Sequence[Row[int, bytes, dict[str, Any]]], sat: NDArray[np.float64]) -> Scores:
    return Scores(
        ids=ids, digests=[each.digest.hex() for each in networks], components=[each.components for each in networks],
        sat=sat,
    )  # fmt: skip


def _read_matrix(
    connection: Connection, comparison_id: int, ids: list[int]
) -> tuple[NDArray[np.float64], set[frozenset[int]]]:
    """SAT (n, n) in the order of ids (ascending), and the pairs that have no image in common."""
    networks, sat = np.array(ids, dtype=np.int64), np.full((len(ids), len(ids)), np.nan)
    empty: set[frozenset[int]] = set()
    for read in read_pairs(connection, comparison_id):
        rows = read[np.isin(read["a"], networks) & np.isin(read["b"], networks)]
        scores = score_many(*(rows[column].astype(np.int64) for column in ("n", "ab", "ba", "both")))
        a, b = (np.searchsorted(networks, rows[column]) for column in ("a", "b"))
        # half a pair is no score to compare by
        sat[a, b] = sat[b, a] = np.where(scores.one_sided, np.nan, scores.sat)
        nothing = rows[rows["n"] == 0]
        empty |= {frozenset(pair) for pair in zip(nothing["a"].tolist(), nothing["b"].tolist(), strict=True)}
    return sat, empty


def without_hopeless(ids: list[int], hopeless: set[frozenset[int]]) -> list[int]:
    """The networks left when those with most pairs that can never have a score are taken out, the newest of equals."""
    left = set(ids)
    while stuck := Counter(each for pair in hopeless if pair <= left for each in pair):
        left.remove(max(stuck, key=lambda each: (stuck[each], each)))
    return sorted(left)
