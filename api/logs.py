"""The api's logs: every line that is written for a request carries its id."""

from structlog.typing import EventDict, WrappedLogger

from api import problems
from registry.logs import configure_logs
from registry.settings import LogFormat


def configure_api_logs(form: LogFormat) -> None:
    """Send all loggers of this process through one formatter on standard error."""
    configure_logs(form, more=(_add_request_id,))


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    request_id = problems.request_id.get()
    return event if request_id is None else {"request_id": request_id, **event}
