"""Freezing a process where it hurts: a worker in the middle of a job, an api in the middle of a transaction."""

import signal
import time
from collections.abc import Callable, Collection

import psycopg

from tests.faults.stack import API, Stack

LOOK_SECONDS = 0.02
_AT_WORK = """
select count(*) from jobs join workers on workers.id = jobs.worker_id
where jobs.state = 'running' and jobs.lease_until > now() and workers.pid = %s
"""
# its own connections come through a proxy, so they say no process id
_IN_TRANSACTION = """
select count(*) from pg_stat_activity
where application_name = 'sat-api' and state like 'idle in transaction%%' and xact_start is not null and %s > 0
"""


def freeze_at_work(stack: Stack, workers: Collection[str], seconds: float) -> tuple[str, int] | None:
    """Stop one of the workers while it holds a running job; return its name and process id, None if none did in time.

    Whether it holds one is asked after it is stopped, so that the answer cannot grow old.
    """
    return _freeze(stack, workers, _AT_WORK, seconds)


def freeze_in_transaction(stack: Stack, seconds: float) -> tuple[str, int] | None:
    """Stop the api, if possible while it has a transaction open; return as above, None where it is dead."""
    if frozen := _freeze(stack, (API,), _IN_TRANSACTION, seconds):
        return frozen
    process_id = stack.signal(API, signal.SIGSTOP)
    return None if process_id is None else (API, process_id)


def _freeze(stack: Stack, names: Collection[str], question: str, seconds: float) -> tuple[str, int] | None:
    until = time.monotonic() + seconds
    try:
        with psycopg.connect(stack.database_url.replace("+psycopg", ""), autocommit=True, connect_timeout=2) as asking:
            while time.monotonic() < until:
                for name in names:
                    if frozen := _freeze_if(
                        stack, name, lambda pid: bool(asking.execute(question, [pid]).fetchone()[0])
                    ):
                        return name, frozen
                time.sleep(LOOK_SECONDS)
    except psycopg.OperationalError:  # it is down, or goes down
        return None
    return None


def _freeze_if(stack: Stack, name: str, fits: Callable[[int], bool]) -> int | None:
    process_id = stack.signal(name, signal.SIGSTOP)
    if process_id is None:
        return None
    fitting = False
    try:
        fitting = fits(process_id)
    finally:
        if not fitting:
            thaw(stack, name, process_id)
    return process_id if fitting else None


def thaw(stack: Stack, name: str, process_id: int) -> None:
    """Let the process go on, if it is still the same one."""
    if stack.process_id(name) == process_id:
        stack.signal(name, signal.SIGCONT)
