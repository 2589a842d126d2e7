"""`sat jobs`, `workers`, `watch`: what is going on."""

from typing import Annotated

import typer

from client.output import AsJson, Url, connect, console, print_json, say


def jobs(
    *,
    state: Annotated[str | None, typer.Option("--state", help="idle, queued, running or failed.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="prepare, evaluate, attack, transfers …")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="Show so many.")] = 50,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show jobs, how many of each kind wait, and how long they will take."""
    from client.tables.figures import duration
    from client.tables.work import jobs_table

    with connect(url) as registry:
        found = registry.jobs(state=state, kind=kind, limit=limit)
    if as_json:
        print_json(found)
        return
    if found["items"]:
        console.print(jobs_table(found["items"]))
    if found["total"] > len(found["items"]):
        say(f"{found['total'] - len(found['items'])} more are not shown: --limit, --state, --kind.")
    for counted, kinds in found["counts"].items():
        listed = ", ".join(f"{number} {name}" for name, number in kinds.items() if number)
        say(f"{counted}: {listed or 'none'}")
    if found["estimate_seconds"]:
        say(f"About {duration(found['estimate_seconds'])} left.")


def workers(*, url: Url = None, as_json: AsJson = False) -> None:
    """Show the workers, whether they are alive and what they work on."""
    from client.tables.work import workers_table

    with connect(url) as registry:
        found = list(registry.workers())
    if as_json:
        print_json({"items": found, "next": None, "total": len(found)})
        return
    alive = [one for one in found if one["alive"]]
    if alive:
        console.print(workers_table(alive))
    else:
        say("No worker is alive: `sat serve` starts some, or `python -m worker` on any host.")
    if len(found) > len(alive):
        say(f"{len(found) - len(alive)} that have gone are not shown (--json shows all).")


def watch(url: Url = None) -> None:
    """Show progress until everything is measured; Ctrl-C leaves the work running."""
    from client import watching

    with connect(url) as registry:
        try:
            last = watching.watch(registry, console)
            failures = [model["name"] for model in registry.models(state="failed")]
        except KeyboardInterrupt:
            say("The work goes on without this command; `sat watch` shows it again.")
            return
    say(watching.outcome(last, failures))
