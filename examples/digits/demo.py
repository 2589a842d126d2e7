"""`sat demo`: the whole way once, on real digits: train, register over HTTP, measure, ask."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from client.address import find_url
from client.address import home as data_folder
from client.credentials import find_key
from client.errors import ClientError, ConflictError
from client.output import Url, aside, bar, console, print_json, say
from client.registry import Registry
from client.tables.figures import duration
from client.watching import Look, look, outcome, watch
from examples.digits.zoo import EPSILON, MEMBERS, NAME, PROTOCOL, STEPS, Member

COMPARISON: dict[str, str] = {"image_set": NAME, "protocol": f"{NAME}-pgd"}
PARTS = {"attack": 500, "select": 150, "report": 150}
PREFIX = 150
PHASES = 5


class Clock:
    """Announces the phases of the demo and remembers how long each took."""

    def __init__(self) -> None:
        """Begin with no phase."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """Announce a phase, and time the block."""
        console.print()
        console.print(f"[{len(self.seconds) + 1}/{PHASES}] {title}", style="bold", soft_wrap=True)
        started = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - started

    def summary(self) -> str:
        """Return the time of each phase, and of all together."""
        each = "; ".join(f"{title.partition(':')[0].lower()} {duration(took)}" for title, took in self.seconds.items())
        return f"It took {duration(sum(self.seconds.values()))}: {each}."


def demo(
    *,
    url: Url = None,
    home: Annotated[Path | None, typer.Option("--home", help="The data folder. [SAT_HOME, else the user's]")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Listen here, or on the next free port.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the main answers as JSON; what is said goes to standard error.")
    ] = False,
) -> None:
    """Train a small zoo on handwritten digits, measure it and print what the registry answers.

    Without --url it runs the one-machine stack meanwhile, or joins the one that already runs on the data folder.

    Everything is kept: a second run recomputes nothing.
    """
    folder = data_folder(home)
    clock = Clock()
    try:
        with ExitStack() as block:
            block.enter_context(aside(as_json=as_json))
            with clock.phase("Start: the registry"):
                address, started = block.enter_context(_server(url, folder, port))
                registry = block.enter_context(Registry(address, key=find_key()))
                registry.ready()  # before minutes of training
            _whole_way(registry, folder, clock)
            _farewell(address, started=started, folder=folder, clock=clock)
            if as_json:
                print_json(answers(registry) | {"url": address, "started": started, "seconds": clock.seconds})
    except KeyboardInterrupt:
        say("Stopped. What is done is kept: run it again and it goes on from here.")
        raise typer.Exit(130) from None


@contextmanager
def _server(url: str | None, folder: Path, port: int | None) -> Iterator[tuple[str, bool]]:
    """Yield the address of a registry, and whether it was started for this block."""
    if url is not None:
        say(f"Using the registry at {url}.")
        yield find_url(url), False
        return
    from embedded.errors import EmbeddedError
    from embedded.supervisor import join_or_start

    say(f"PostgreSQL, Valkey, the api and the workers, with all their data in {folder}")
    with ExitStack() as block:
        try:
            stack = block.enter_context(join_or_start(folder, port, say=say))
        except EmbeddedError as error:
            raise ClientError(str(error)) from error
        say(f"{'It answers' if stack.started else 'Joined the one that already runs'} at {stack.url}")
        yield stack.url, stack.started


def _whole_way(registry: Registry, folder: Path, clock: Clock) -> None:
    """Train, register, measure and print; ClientError when a model failed or a pair could not be measured."""
    from examples.digits.report import print_answers

    with clock.phase(f"Train: {len(MEMBERS)} small networks on 997 handwritten digits"):
        checkpoints = train(folder)
    with clock.phase("Register: the image set, the protocol and every checkpoint, over HTTP"):
        send_image_set(registry)
        register(registry, checkpoints)
    with clock.phase("Measure: SAT of every pair"):
        last = _measure(registry)
    failed = [model for model in registry.models(state="failed") if model["name"] in checkpoints]
    if failed:
        reasons = "\n".join(f"  {model['name']}: {model['failure']}" for model in failed)
        raise ClientError(f"These models failed; when the cause is gone, run it again.\n{reasons}")
    if not last.complete:
        raise ClientError(outcome(last, []))
    with clock.phase("Ask: what the registry answers"):
        print_answers(registry, {member.name: _kind(member) for member in MEMBERS}, COMPARISON)


def train(folder: Path) -> dict[str, Path]:
    """Train the members that are not in the folder yet; return each one's checkpoint by name."""
    from examples.digits.train import Trained, TrainingError, train_zoo

    new: list[str] = []

    def ready(one: Trained) -> None:
        if one.seconds:
            new.append(one.name)
            say(f"  {one.done:2} of {one.total}  {one.name}, trained in {duration(one.seconds)}")

    try:
        checkpoints = train_zoo(folder / "zoo", ready)
    except TrainingError as error:
        raise ClientError(str(error)) from error
    if not new:
        say(f"Nothing to train: all {len(checkpoints)} networks are in {folder / 'zoo'}.")
    return checkpoints


def send_image_set(registry: Registry) -> None:
    """Send the held-out digits and the protocol, and begin to measure with them by default."""
    from safetensors.numpy import save_file

    from examples.digits import images

    squares, labels = images.held_out()
    with TemporaryDirectory(prefix="sat-demo-") as scratch:
        content = Path(scratch) / "digits.safetensors"
        save_file({"images": squares, "labels": labels}, content)
        metadata = {
            "name": NAME,
            "task": NAME,
            "classes": images.CLASSES,
            "parts": PARTS,
            "prefix": PREFIX,
            "description": "800 held-out scans of handwritten digits (scikit-learn's load_digits), 32 x 32",
        }
        registry.create_image_set(metadata, content)
    registry.create_protocol({"name": COMPARISON["protocol"], **PROTOCOL})
    registry.compare(**COMPARISON, state="measuring", default=True)
    parts = ", ".join(f"{number} {part}" for part, number in PARTS.items())
    say(f"Image set {NAME}: {len(squares)} digits that no network has seen ({parts})")
    say(f"Protocol {COMPARISON['protocol']}: {STEPS} steps of PGD, each pixel moved at most {EPSILON} of its range")


def register(registry: Registry, checkpoints: Mapping[str, Path]) -> None:
    """Register every checkpoint with POST /models; what is there already is left as it is, unless it had failed."""
    known = {model["name"] for model in registry.models()}
    with bar("registering", len(MEMBERS)) as done:
        for member in MEMBERS:
            try:
                model = registry.register(member.metadata(), checkpoints[member.name])
            except ConflictError as error:
                raise ClientError(
                    f"{error} The demo's networks have changed: `sat rm {member.name}`, then run it again."
                ) from error
            if model["state"] == "failed":
                registry.retry(member.name)
            done(1)
    new = [member.name for member in MEMBERS if member.name not in known]
    say(f"{len(new)} models registered: {', '.join(new)}" if new else f"All {len(MEMBERS)} models are there already.")


def _measure(registry: Registry) -> Look:
    name = "/".join(COMPARISON.values())
    first = look(registry, name)
    if first.complete and first.cells:
        say(f"Nothing to measure: all {first.cells} cells are there.")
        return first
    say(f"{first.cells_measured} of {first.cells} cells are there.")
    last = watch(registry, console, name=name)
    say(outcome(last, []))
    return last


def answers(registry: Registry) -> dict[str, Any]:
    """Return what the registry answers about the zoo: the matrix, one model's neighbours, and an ensemble."""
    comparison: dict[str, Any] = dict(COMPARISON)
    return {
        "matrix": registry.matrix(**comparison),
        "similar": registry.similar(MEMBERS[0].name, **comparison),
        "ensemble": registry.ensemble(**comparison),
    }


def _kind(member: Member) -> str:
    """Return what two members share that differ in their seed alone."""
    return f"{member.architecture} {sorted(member.model_args.items())} {member.input_side}"


def _farewell(address: str, *, started: bool, folder: Path, clock: Clock) -> None:
    console.print()
    say(clock.summary())
    first = MEMBERS[0].name
    if started:
        own_home = "" if folder == data_folder() else f"SAT_HOME={folder} "
        say(f"The registry stops now; its data stays in {folder}. Go on with:")
        say(f"  {own_home}make serve    # starts it again on the same data, until Ctrl-C")
    else:
        say("The registry goes on running:")
    say(f"  curl '{address}/similar/{first}?k=3'")
    say(f"  sat pair {first} {MEMBERS[1].name} --url {address}")
    say(f"Every route, to try out: {address}/docs")
