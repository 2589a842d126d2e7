"""Analyses: what light jobs compute for the api, asked for here and recorded here; computed in worker/tasks/analyse.py.

Parameters and results are JSON of network ids (the api turns them into names):

clusters: {"k": int or null} ->
    {"k", "suggested": whether k was chosen here, "stability", "silhouette", "networks": [ids],
     "labels": [0-based cluster of each network], "keywords": [[words] of each cluster]}
    or a failure sentence (pairs are missing, k is larger than the zoo).
map: {} -> {"networks": [ids], "coordinates": [[x, y]], "perplexity", "trustworthiness"}
importance: {} -> {"models", "pairs", "r2_fit", "r2_new_pairs", "r2_new_models",
    "components": [{"component", "importance", "least", "most", "varies"}], the largest first}
ensemble: {"members": [ids], "candidates": [ids], "n": int} ->
    {"logits": judged, "probabilities": judged,
     "baselines": {"best_single": id, "most_accurate": [ids], "forward": [ids]}}
    where judged = {"ensemble": worth, "best_single": worth, "most_accurate": worth, "forward": worth,
     "random": {"draws", "top1_mean", "top1_sd", "error_reduction_rate_mean", "error_reduction_rate_sd"}}
    and worth = {"n", "top1", "interval", "error_reduction_rate", "all_wrong", "member_top1": [in members' order]}.
"""

import hashlib
import json
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.errors import TooManyError
from registry.jobs import Claim, hold
from registry.tables import AnalysisKind, AnalysisRow, ComparisonRow, JobKind
from registry.versions import CHANNEL
from registry.wanting import want

# An ensemble is judged on immutable logits that its parameters name, so its result never grows stale.
IMMUTABLE = frozenset({AnalysisKind.ENSEMBLE})
# A full disk passes: after this, a failed analysis is tried again when somebody asks.
KEPT_FAILURE = timedelta(minutes=1)
# Of one comparison: questions that nobody asked before are refused beyond, so that a reader cannot fill the light lane.
MAX_PENDING = 64
AnalysisKey = tuple[int, AnalysisKind, bytes]  # comparison, kind, and the parameters' sha256


def key_of(comparison_id: int, kind: AnalysisKind, parameters: dict[str, Any]) -> AnalysisKey:
    """What names the analysis."""
    return comparison_id, kind, _digest(parameters)


def find_analyses(session: Session, keys: Collection[AnalysisKey]) -> dict[AnalysisKey, AnalysisRow]:
    """Those of the analyses that there are."""
    named = tuple_(AnalysisRow.comparison_id, AnalysisRow.kind, AnalysisRow.parameters_sha256)
    rows = session.scalars(select(AnalysisRow).where(named.in_(list(keys))).execution_options(populate_existing=True))
    return {(row.comparison_id, row.kind, row.parameters_sha256): row for row in rows}


def find_analysis(
    session: Session, comparison_id: int, kind: AnalysisKind, parameters: dict[str, Any]
) -> AnalysisRow | None:
    """The stored analysis with these parameters, fresh or not, or None."""
    return session.get(AnalysisRow, (comparison_id, kind, _digest(parameters)), populate_existing=True)


def is_fresh(row: AnalysisRow, version: int) -> bool:
    """Whether the row answers for this version of its comparison; a failure does so for a minute."""
    if row.failure is not None:
        return row.wanted_version >= version and datetime.now(UTC) - row.requested_at < KEPT_FAILURE
    return row.version is not None and (row.kind in IMMUTABLE or row.version >= version)


def request_analysis(
    session: Session,
    comparison_id: int,
    kind: AnalysisKind,
    parameters: dict[str, Any],
    admit: Callable[[], object] = lambda: None,
) -> AnalysisRow:
    """The analysis as it is now; if it is not fresh, a light job is asked to make it so.

    admit is called before a question that nobody asked before is entered, and may raise. TooManyError where too many
    wait already.

    The row's `version` is that of its result (None: there is none yet), `failure` says why there is none of
    `wanted_version`: an older result stays beside it.
    """
    version: int = session.execute(select(ComparisonRow.version).where(ComparisonRow.id == comparison_id)).scalar_one()
    row = find_analysis(session, comparison_id, kind, parameters)
    if row is not None and is_fresh(row, version):
        return row
    if row is None or row.wanted_version < version or row.version is None or row.failure is not None:
        if row is None:
            admit()
            _require_few_pending(session, comparison_id)
        # the job's row before the analysis's, as `record_analysis` locks them too
        want(session, JobKind.ANALYSE, comparison_id=comparison_id)
        session.execute(
            insert(AnalysisRow)
            .values(
                comparison_id=comparison_id,
                kind=kind,
                parameters_sha256=_digest(parameters),
                parameters=parameters,
                wanted_version=version,
            )
            .on_conflict_do_update(
                index_elements=[AnalysisRow.comparison_id, AnalysisRow.kind, AnalysisRow.parameters_sha256],
                set_={
                    "wanted_version": version,
                    "requested_at": func.now(),
                    "version": case((AnalysisRow.result.is_(None), None), else_=AnalysisRow.version),
                    "failure": None,
                },
            )
        )
    wanted = find_analysis(session, comparison_id, kind, parameters)
    assert wanted is not None
    return wanted


def pending_analyses(session: Session, comparison_id: int) -> list[AnalysisRow]:
    """The analyses that were asked for and are not as fresh as they were asked to be, oldest request first."""
    return list(
        session.scalars(select(AnalysisRow).where(_is_pending(comparison_id)).order_by(AnalysisRow.requested_at))
    )


def _is_pending(comparison_id: int) -> ColumnElement[bool]:
    return and_(
        AnalysisRow.comparison_id == comparison_id,
        AnalysisRow.failure.is_(None),
        or_(AnalysisRow.version.is_(None), AnalysisRow.version < AnalysisRow.wanted_version),
    )


def _require_few_pending(session: Session, comparison_id: int) -> None:
    pending = session.execute(
        select(func.count()).select_from(AnalysisRow).where(_is_pending(comparison_id))
    ).scalar_one()
    if pending >= MAX_PENDING:
        raise TooManyError(
            f"{pending} questions about this comparison wait for a worker already: ask again in a moment, or ask one "
            "that was asked before."
        )


def record_analysis(
    session: Session,
    claimed: Claim,
    row: AnalysisRow,
    *,
    version: int,
    result: dict[str, Any] | None,
    failure: str | None,
) -> None:
    """Record a result, or the reason why there is none, for the version that it was computed from.

    A failure leaves an older result as it is.
    """
    hold(session, claimed)
    stored = session.get_one(
        AnalysisRow, (row.comparison_id, row.kind, row.parameters_sha256), with_for_update=True, populate_existing=True
    )
    _settle(stored, version, result, failure)
    # the api's pollers hear of it as of any new version
    session.execute(select(func.pg_notify(CHANNEL, str(row.comparison_id))))


def fail_analyses(session: Session, comparison_id: int, reason: str) -> None:
    """Give every pending analysis of a comparison the reason why it has no result."""
    for row in pending_analyses(session, comparison_id):
        _settle(row, row.wanted_version, None, reason)
    session.flush()
    session.execute(select(func.pg_notify(CHANNEL, str(comparison_id))))


def _settle(row: AnalysisRow, version: int, result: dict[str, Any] | None, failure: str | None) -> None:
    row.failure = failure
    if failure is None or row.result is None:
        row.version, row.result = version, result


def _digest(parameters: dict[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).digest()
