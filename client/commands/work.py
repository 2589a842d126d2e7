"""`sat jobs`, `workers`, `watch`: what is going on; `sat pause`, `resume`, `drain`: what is to."""

from itertools import islice
from typing import Annotated, Any

import typer

from client.completion import complete_model
from client.errors import ClientError, InputError
from client.output import AsJson, Url, connect, console, print_events, print_json, say, shown_of


def jobs(
    *,
    state: Annotated[str | None, typer.Option("--state", help="idle, queued, running or failed.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="prepare, evaluate, attack, transfers …")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Show so many; left out: 50, or with --json all.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show jobs, how many of each kind wait, and how long they will take."""
    from client.tables.figures import duration
    from client.tables.work import jobs_table

    with connect(url) as registry:
        found = registry.jobs(state=state, kind=kind, limit=1)
        every = registry.all_jobs(state=state, kind=kind)
        found |= {"items": list(islice(every, shown_of(limit, as_json=as_json))), "next": None}
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


def workers(
    *,
    everyone: Annotated[bool, typer.Option("--all", help="Also those that have left.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show the workers, whether they are alive and what they work on."""
    from client.tables.work import workers_table

    with connect(url) as registry:
        found = list(registry.workers(everyone=everyone))
    if as_json:
        print_json({"items": found, "next": None, "total": len(found)})
        return
    shown = found if everyone else [one for one in found if one["alive"]]
    if shown:
        console.print(workers_table(shown))
    else:
        say("No worker is alive: `sat serve` starts some, or `python -m worker` on any host.")
    if len(found) > len(shown):
        say(f"{len(found) - len(shown)} fell silent and are not shown (--all shows them).")


Target = Annotated[
    str | None, typer.Argument(metavar="[IMAGE_SET/PROTOCOL]", help="The comparison; left out: the default one.")
]
WorkerId = Annotated[int | None, typer.Option("--worker", min=1, help="This worker instead (`sat workers`).")]


def pause(target: Target = None, *, worker: WorkerId = None, url: Url = None, as_json: AsJson = False) -> None:
    """Stop a comparison, or a worker, after the result at hand; its jobs are given back."""
    _order(target, worker, ("paused", "pause"), url=url, as_json=as_json)


def resume(target: Target = None, *, worker: WorkerId = None, url: Url = None, as_json: AsJson = False) -> None:
    """Let a comparison, or a worker, go on."""
    _order(target, worker, ("measuring", "run"), url=url, as_json=as_json)


def drain(target: Target = None, *, worker: WorkerId = None, url: Url = None, as_json: AsJson = False) -> None:
    """Let what runs finish and start nothing: a comparison's jobs, or a worker's job, after which it ends."""
    _order(target, worker, ("draining", "drain"), url=url, as_json=as_json)


def _order(target: str | None, worker: int | None, orders: tuple[str, str], *, url: str | None, as_json: bool) -> None:
    """Bring a comparison into the state, or have a worker follow the wish, that `orders` holds."""
    if target is not None and worker is not None:
        raise InputError("Name a comparison or a --worker, not both.")
    state, wish = orders
    with connect(url) as registry:
        if worker is not None:
            changed = registry.change_worker(worker, wish)
            said = f"worker {worker} on {changed['host']} was asked to {wish}."
            answer: Any = changed
        else:
            image_set, protocol = _comparison(registry, target)
            answer = registry.compare(image_set, protocol, state=state)
            said = f"{answer['name']} is {answer['state']}."
    if as_json:
        print_json(answer)
    else:
        say(said)


def _comparison(registry: Any, target: str | None) -> tuple[str, str]:
    if target is not None:
        image_set, slash, protocol = target.partition("/")
        if not slash or not image_set or not protocol:
            raise InputError(f"{target!r} must be <image set>/<protocol>, as `sat agreement` takes it, or --worker ID.")
        return image_set, protocol
    default = next((one for one in registry.comparisons() if one["default"]), None)
    if default is None:
        raise InputError("Nothing is compared yet: `sat images import --help`.")
    return default["image_set"], default["protocol"]


def watch(
    name: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Only this model.", autocompletion=complete_model)
    ] = None,
    *,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Show progress until everything, or one model, is measured; Ctrl-C leaves the work running."""
    from client import following, watching

    with connect(url) as registry:
        if as_json:
            print_events(registry.events() if name is None else registry.model_events(name))
            return
        if name is not None:
            reason = following.follow(registry, name, console)
            if reason == "failed":
                found = registry.model(name)
                raise ClientError(f"{name}: {found['failure'] or found['progress']['reason']}")
            if reason != "stopped":
                say(f"{name} is {reason}.")
            return
        try:
            last = watching.watch(registry, console)
            failures = [model["name"] for model in registry.models(state="failed")]
        except KeyboardInterrupt:
            say("The work goes on without this command; `sat watch` shows it again.")
            return
    say(watching.outcome(last, failures))
