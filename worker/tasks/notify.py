"""notify: find out which models are measured by now, and send what webhooks are to be told."""

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any

import httpx

from registry.database import transaction
from registry.deliveries import (
    FIRST_WAIT_SECONDS,
    SIGNATURE,
    Message,
    due_messages,
    next_due,
    record_delivered,
    record_failure,
    tell,
)
from registry.destinations import Destinations
from registry.errors import RegistryError
from registry.jobs import finish_until, hold, more_urgent_waits
from registry.reads.news import comparisons_with_news, measured_in
from registry.reads.snapshot import View, read_view
from registry.webhooks import EventKind, note_measured
from worker.context import Context
from worker.lease import Lease

log = logging.getLogger(__name__)

AT_ONCE = 50
MESSAGE_SECONDS = 10.0  # name, connection, request and the answer's head together


class Notify:
    """The task, with the view that it read last: the next is read from there on."""

    def __init__(self, *, first_wait_seconds: float = FIRST_WAIT_SECONDS) -> None:
        self._first_wait_seconds = first_wait_seconds
        self._view: View | None = None

    def run(self, context: Context, lease: Lease) -> None:
        """Enter the news, send what is due, and come back when the next message is."""
        self._enter_news(context)
        destinations = Destinations(context.settings.webhook_hosts)
        unreachable: set[int] = set()
        with context.sessions.begin() as session:
            messages = due_messages(session, AT_ONCE)
        for message in messages:
            lease.check()
            # a dead receiver is tried once a turn: others, and other jobs, do not wait for it again and again
            reason = "its receiver failed just now" if message.webhook_id in unreachable else None
            counted = replace(message, attempt=message.attempt - 1) if reason else message
            reason = reason or send(message, destinations)
            if reason is not None:
                unreachable.add(message.webhook_id)
            with transaction(context.sessions, context.bell.ring) as session:
                hold(session, lease.claim)
                if reason is None:
                    record_delivered(session, message)
                else:
                    record_failure(session, counted, reason, first_wait_seconds=self._first_wait_seconds)
                if more_urgent_waits(session, lease.claim):
                    break
        with transaction(context.sessions, context.bell.ring) as session:
            hold(session, lease.claim)
            finish_until(session, lease.claim, next_due(session))

    def _enter_news(self, context: Context) -> None:
        """Enter a message for each model that has become measured since."""
        with context.sessions() as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            connection = session.connection()
            wanted = comparisons_with_news(connection)
            if not wanted:
                return
            self._view = read_view(connection, wanted, self._view)
        snapshots = {key: each for key, each in self._view.snapshots.items() if key in wanted}
        measured = measured_in(snapshots.values())
        with transaction(context.sessions, context.bell.ring) as session:
            for comparison_id, model_id in note_measured(session, measured):
                comparison = snapshots[comparison_id].comparison.name
                tell(session, EventKind.MEASURED, model_id, comparison=comparison)


def send(message: Message, destinations: Destinations) -> str | None:
    """Send it; return why it did not arrive, or None when the receiver answered that it did (2xx)."""
    try:
        status = asyncio.run(asyncio.wait_for(_post(message, destinations), MESSAGE_SECONDS))
    except TimeoutError:
        return f"the receiver did not answer within {MESSAGE_SECONDS:.0f} seconds"
    except RegistryError as error:
        return str(error)
    except (OSError, httpx.HTTPError) as error:
        return f"the receiver cannot be reached: {str(error) or type(error).__name__}"
    if httpx.codes.is_success(status):
        return None
    return f"the receiver answered {status}, not 2xx" + (" (redirects are not followed)" if 300 <= status < 400 else "")  # noqa: PLR2004  what 3xx is


async def _post(message: Message, destinations: Destinations) -> int:
    """The status of the receiver's answer; the connection goes to the address that was checked."""
    endpoint = destinations.check(message.url)
    found = await asyncio.get_running_loop().getaddrinfo(endpoint.host, endpoint.port, proto=6)  # TCP
    address = destinations.choose(endpoint.host, [str(each[4][0]) for each in found])
    url = httpx.URL(message.url)
    timestamp = int(time.time())
    headers = {
        "Host": url.netloc.decode(),
        "Content-Type": "application/json",
        "User-Agent": "sat-registry",
        "X-SAT-Event": message.event,
        "X-SAT-Delivery": str(message.delivery_id),
        SIGNATURE: message.signature(timestamp),
    }
    # the certificate is checked against the name, not the address
    extensions: dict[str, Any] = {"sni_hostname": endpoint.host}
    async with (
        httpx.AsyncClient(trust_env=False, follow_redirects=False) as http,
        http.stream(
            "POST", url.copy_with(host=address), content=message.body, headers=headers, extensions=extensions
        ) as answer,
    ):
        return answer.status_code  # what else the receiver says is not read
