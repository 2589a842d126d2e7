"""Jobs and workers as tables."""

from collections.abc import Iterable

from rich.table import Table

from client.shapes import Job, Worker
from client.tables.figures import NOTHING, percent


def jobs_table(jobs: Iterable[Job]) -> Table:
    """Return a row a job."""
    table = Table(box=None, header_style="bold")
    table.add_column("job", justify="right")
    for title in ("kind", "state", "model", "comparison"):
        table.add_column(title, overflow="fold")
    for title in ("attempt", "done"):
        table.add_column(title, justify="right")
    table.add_column("worker or failure", overflow="fold")
    for job in jobs:
        table.add_row(
            str(job["id"]),
            job["kind"],
            job["state"],
            job["model"] or job["network"] or NOTHING,
            job["comparison"] or NOTHING,
            str(job["attempt"]),
            percent(job["progress"], 0),
            job["failure"] or str(job["worker"] or ""),
        )
    return table


def workers_table(workers: Iterable[Worker]) -> Table:
    """Return a row a worker."""
    table = Table(box=None, header_style="bold")
    for title in ("worker", "lanes", "device", "code", "torch", "seen", "works on"):
        table.add_column(title, overflow="fold")
    for one in workers:
        job = one["job"]
        table.add_row(
            f"{one['host']}:{one['pid']}",
            ", ".join(one["lanes"]),
            one["device"],
            one["code_version"],
            one["torch_version"],
            one["seen_at"][:19].replace("T", " "),
            f"{job['kind']} {job.get('model') or ''}".strip() if job else NOTHING,
        )
    return table
