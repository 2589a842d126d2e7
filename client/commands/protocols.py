"""`sat protocols` and `sat agreement`: how images are attacked, and how far two ways agree."""

from typing import Annotated

import typer

from client.errors import InputError
from client.output import AsJson, Url, connect, console, print_json, say

protocols = typer.Typer(no_args_is_help=True, help="Protocols: how images are attacked.")


@protocols.command("list")
def list_protocols(*, url: Url = None, as_json: AsJson = False) -> None:
    """Show the protocols, and the attacks that one can be made of."""
    from client.tables.protocols import attacks_table, protocols_table

    with connect(url) as registry:
        found, attacks = list(registry.protocols()), registry.attacks()
    if as_json:
        print_json({"items": found, "attacks": attacks})
        return
    console.print(protocols_table(found))
    say("Attacks, with their options:")
    console.print(attacks_table(attacks))


@protocols.command("add")
def add_protocol(
    *,
    name: Annotated[str, typer.Option("--name", help="The protocol's name.")],
    attack: Annotated[str, typer.Option("--attack", help="One of those that `sat protocols list` shows.")] = "pgd",
    epsilon: Annotated[str, typer.Option("--epsilon", help="Radius, of a [0, 1] pixel.")] = "8/255",
    step_size: Annotated[
        str | None, typer.Option("--step-size", help="Of a [0, 1] pixel; left out: as the attack was published.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Left out: as the attack was published.")] = None,
    start: Annotated[str | None, typer.Option("--start", help="image, or random where the attack knows it.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of everything that is random.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="The attack's own: momentum=1, neighbours=20 …; repeatable.")
    ] = None,
    description: Annotated[str | None, typer.Option("--description")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Add a protocol; the same again is harmless. Nothing is measured with it until something is compared by it."""
    wanted = {"step_size": step_size, "steps": steps, "start": start, "seed": seed, "description": description}
    body: dict[str, object] = {"name": name, "attack": attack, "epsilon": epsilon, **_options(option or [])}
    body |= {
        field: str(value) if field == "step_size" else value for field, value in wanted.items() if value is not None
    }
    with connect(url) as registry:
        made = registry.create_protocol(body)
    if as_json:
        print_json(made)
        return
    say(f"Protocol {made['name']}, digest {made['digest'][:12]}: {_shown(made['parameters'])}")


def comparisons(*, url: Url = None, as_json: AsJson = False) -> None:
    """List what models are compared on, and how far that is; `sat pause`, `resume` and `drain` change it."""
    from client.tables.protocols import comparisons_table

    with connect(url) as registry:
        found = list(registry.comparisons())
    if as_json:
        print_json({"items": found, "next": None, "total": len(found)})
    elif found:
        console.print(comparisons_table(found))
    else:
        say("Nothing is compared yet: `sat images import --help`.")


def agreement(
    a: Annotated[str, typer.Argument(help="A comparison: <image set>/<protocol>.")],
    b: Annotated[str, typer.Argument(help="Another one of the same task.")],
    *,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show how far two comparisons rank pairs of models alike."""
    from client.tables.figures import decimal, interval

    with connect(url) as registry:
        found = registry.agreement(a, b)
    if as_json:
        print_json(found)
        return
    if found["reason"]:
        say(f"{a} and {b}: {found['reason']}")
        return
    sample = "" if found["models"] == found["of_models"] else f" (a sample of {found['of_models']})"
    bounds, difference = interval(found["interval"]), interval(found["difference_interval"])
    say(f"{a} and {b}: {found['pairs']} pairs of {found['models']} models{sample} measured in both")
    say(f"Spearman {decimal(found['spearman'])}  (95 %: {bounds}, models resampled; Mantel p = {found['p_value']})")
    say(f"Mean SAT of the second less the first: {decimal(found['mean_difference'])}  (95 %: {difference})")


def _options(given: list[str]) -> dict[str, str]:
    """Return name=value options as a dictionary."""
    pairs = [each.partition("=") for each in given]
    if wrong := [name for name, equals, value in pairs if not (name and equals and value)]:
        raise InputError(f"--option needs name=value, such as momentum=1, not {wrong[0]!r}.")
    return {name: value for name, _, value in pairs}


def _shown(parameters: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parameters.items())
