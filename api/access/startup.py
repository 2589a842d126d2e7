"""What must hold before an api listens: whoever can reach it needs a key, or is on this machine."""

import ipaddress
import logging
import socket

from sqlalchemy.exc import SQLAlchemyError

from registry.database import make_engine, make_sessions
from registry.keys import any_live_key
from registry.settings import LOOPBACK_HOSTS, KeyMode, Settings

_log = logging.getLogger(__name__)
NO_KEY = (
    "No API key is in the database, and this api lets nobody in without one. Make the first with `python -m registry "
    "keys create --scope admin`, or set SAT_ADMIN_KEY for `python -m registry migrate`; docs/keys.md says more. "
    "(SAT_KEYS=loopback asks for none, on 127.0.0.1 only.)"
)
NOT_LOOPBACK = (
    "SAT_KEYS=loopback asks for no keys, so the api listens on this machine alone, not on {address}: set "
    "SAT_HOST=127.0.0.1, or SAT_KEYS=required."
)
ANY_HOST = (
    "SAT_KEYS=loopback asks for no keys, so the api answers to names of this machine alone: name them in "
    "SAT_ALLOWED_HOSTS instead of `*`, or leave it out, or set SAT_KEYS=required."
)


class UnsafeError(Exception):
    """The api must not start like this; the text says what to do."""


def check_safe(settings: Settings, listener: socket.socket | None) -> None:
    """UnsafeError, unless the api may listen as it is told to. listener: where it is not on SAT_HOST."""
    if settings.keys is KeyMode.LOOPBACK:
        address = str(listener.getsockname()[0]) if listener is not None else settings.host
        if not _is_loopback(address):
            raise UnsafeError(NOT_LOOPBACK.format(address=address))
        if "*" in settings.allowed_hosts:
            raise UnsafeError(ANY_HOST)
    elif not _has_key(settings):
        raise UnsafeError(NO_KEY)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address in LOOPBACK_HOSTS


def _has_key(settings: Settings) -> bool:
    engine = make_engine(settings.database_url, application="sat-api")
    try:
        with make_sessions(engine).begin() as session:
            return any_live_key(session)
    except SQLAlchemyError:
        # it starts all the same, to say so in /readyz: whom nobody can check, nobody lets in
        _log.warning("keys cannot be read yet: the api answers nobody until the database does")
        return True
    finally:
        engine.dispose()
