"""What to say when the database cannot answer."""

from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from registry.errors import UnavailableError

# deadlock, failed serialisation, lock not available in time, idle in a transaction for too long; and two rules that a
# row broke which was good when it was looked at: what it refers to is gone (garbage collected), or its like has come
_CROSSED = frozenset({"40P01", "40001", "55P03", "25P03", "23503", "23505"})
# undefined table, undefined column
_OTHER_TABLES = frozenset({"42P01", "42703"})
MIGRATE = "run `python -m registry migrate`"


def explain(error: Exception) -> UnavailableError | None:
    """The 503 of a database that is down, busy, or of another version; None where the query itself is at fault."""
    sqlstate = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
    if sqlstate in _CROSSED:
        return UnavailableError("another change was in the way of this one: send the request again.")
    if sqlstate in _OTHER_TABLES:
        return UnavailableError(f"the database's tables are not those of this code: {MIGRATE} (GET /readyz says more).")
    if isinstance(error, ProgrammingError | IntegrityError):
        return None
    return UnavailableError("the database does not answer: try again in a moment. GET /readyz says when it is back.")
