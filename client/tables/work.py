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
    for title in ("id", "worker", "lanes", "device", "code", "torch", "seen", "works on"):
        table.add_column(title, overflow="fold")
    for one in workers:
        table.add_row(
            str(one["id"]),
            f"{one['host']}:{one['pid']}",
            ", ".join(one["lanes"]),
            one["device"],
            one["code_version"],
            one["torch_version"],
            one["seen_at"][:19].replace("T", " "),
            _occupation(one),
        )
    return table


def _occupation(worker: Worker) -> str:
    """Return what the worker does, and what else it was asked to."""
    job = worker["job"]
    does = f"{job['kind']} {job.get('model') or ''}".strip() if job else NOTHING
    if worker["left_at"]:
        return "has left"
    return does if worker["wish"] == "run" else f"{does} (asked to {worker['wish']})"
