"""Logs of api and workers: one object a line on standard error, with the ids of what it is about, without secrets."""

import logging
import re
import sys
from collections.abc import Sequence
from typing import Any

import structlog
from structlog.typing import Processor, WrappedLogger

from registry.keys import hide_keys
from registry.settings import LogFormat

# The password of a database or broker in an error's text.
_CREDENTIALS = re.compile(r"(?<=://)([^\s/:@]*):([^\s/@]+)@")
_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
)
# Alembic tells of each look at the revision; Celery of each bell.
_TALKATIVE = ("alembic.runtime.migration", "celery.app.trace", "celery.worker.strategy")


def configure_logs(form: LogFormat, *, level: int = logging.INFO, more: Sequence[Processor] = ()) -> None:
    """Send structlog's and the standard library's loggers through one formatter; more: processors of this process."""
    shared = (*more, *_SHARED)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(form), _hide_secrets],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _renderer(form: LogFormat) -> Processor:
    if form == "json":
        return structlog.processors.JSONRenderer()
    render = structlog.processors.LogfmtRenderer(key_order=("timestamp", "level", "event"), drop_missing=True)
    return lambda logger, method, line: _printable(str(render(logger, method, line)))


def _printable(line: str) -> str:
    """With escapes for what a terminal would obey, or take for the end of the line; JSON has its own."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def _hide_secrets(_logger: WrappedLogger, _method: str, line: Any) -> str:
    """Of the whole line: whatever put a key or a password there."""
    return hide_keys(_CREDENTIALS.sub(r"\1:…@", line))
