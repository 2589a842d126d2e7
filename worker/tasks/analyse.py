"""analyse: the analyses of one comparison that were asked for, each recorded as soon as it is done."""

import logging

from sqlalchemy.exc import DBAPIError

from registry.analyses import pending_analyses, record_analysis
from registry.database import transaction
from registry.errors import RegistryError
from registry.jobs import finish
from registry.tables import AnalysisKind, ComparisonRow
from sat_engine.errors import EngineError
from worker.analyses.ensemble import judge
from worker.analyses.similarity import draw_map, find_clusters, find_importance
from worker.context import Context
from worker.lease import Lease

COMPUTE = {
    AnalysisKind.CLUSTERS: find_clusters,
    AnalysisKind.ENSEMBLE: judge,
    AnalysisKind.MAP: draw_map,
    AnalysisKind.IMPORTANCE: find_importance,
}
log = logging.getLogger(__name__)


def run(context: Context, lease: Lease) -> None:
    """Compute every analysis that is less fresh than it was asked to be."""
    claimed = lease.claim
    assert claimed.comparison_id is not None
    with context.sessions.begin() as session:
        rows = pending_analyses(session, claimed.comparison_id)
    for row in rows:
        lease.check()
        with context.sessions.begin() as session:
            # before the data: what is recorded as of this version holds at least all of it
            version = session.get_one(ComparisonRow, claimed.comparison_id).version
        result, failure = None, None
        try:
            result = COMPUTE[row.kind](context, row)
        except (EngineError, RegistryError) as error:
            failure = str(error)
        except DBAPIError:
            raise
        except Exception as error:  # one broken analysis must not hold up the others
            log.exception("analysis of comparison %s", row.comparison_id)
            failure = f"it raised {type(error).__name__}; worker {context.worker_id} logged the traceback"
        with transaction(context.sessions, context.bell.ring) as session:
            record_analysis(session, claimed, row, version=version, result=result, failure=failure)
    with transaction(context.sessions, context.bell.ring) as session:
        finish(session, claimed)
