"""`sat recommend`: ensembles and teachers."""

from typing import Annotated

import typer

from client.output import AsJson, ImageSetName, ProtocolName, Url, connect, console, print_json, say
from client.shapes import Ensemble, Teachers
from client.tables.figures import count, decimal

recommend = typer.Typer(no_args_is_help=True, help="Ensembles whose members fail apart; teachers for a student.")


@recommend.command()
def ensemble(
    *,
    n: Annotated[int, typer.Option("-n", min=1, help="How many members.")] = 5,
    objective: Annotated[str | None, typer.Option("--objective", help="blend, diverse or accuracy.")] = None,
    weight: Annotated[
        float | None, typer.Option("--weight", help="Of accuracy in a blend, from 0 to 1; the rest is diversity.")
    ] = None,
    include: Annotated[list[str] | None, typer.Option("--include", help="A member; may be repeated.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="No member; may be repeated.")] = None,
    min_accuracy: Annotated[float | None, typer.Option("--min-accuracy", help="From 0 to 1.")] = None,
    max_parameters: Annotated[int | None, typer.Option("--max-parameters", help="Of all members.")] = None,
    max_gmacs: Annotated[float | None, typer.Option("--max-gmacs", help="Of all members.")] = None,
    max_per_family: Annotated[int | None, typer.Option("--max-per-family", min=1)] = None,
    max_per_cluster: Annotated[
        int | None, typer.Option("--max-per-cluster", min=1, help="Of the clusters that `sat clusters` shows.")
    ] = None,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Choose models that are accurate and fail apart, and say what the ensemble is worth."""
    with connect(url) as registry:
        found = registry.ensemble(
            n=n,
            objective=objective,
            weight=weight,
            include=include,
            exclude=exclude,
            min_accuracy=min_accuracy,
            max_parameters=max_parameters,
            max_gmacs=max_gmacs,
            max_per_family=max_per_family,
            max_per_cluster=max_per_cluster,
            image_set=image_set,
            protocol=protocol,
        )
    if as_json:
        print_json(found)
    else:
        print_ensemble(found)


@recommend.command()
def teacher(
    *,
    student: Annotated[str, typer.Option("--student", help="The model, or the architecture, that shall learn.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 5,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Suggest teachers for a student, with the reasons."""
    with connect(url) as registry:
        found = registry.teacher(student, k=k, image_set=image_set, protocol=protocol)
    if as_json:
        print_json(found)
    else:
        print_teachers(found)


def print_ensemble(found: Ensemble) -> None:
    """Print members, what they cost and what the ensemble is worth."""
    from client.tables.recommendations import evaluation_table, members_table

    console.print(members_table(found))
    cost = found["manifest"]
    say(
        f"Objective {found['objective']}; mean SAT between members {decimal(found['mean_sat'])}; "
        f"{count(cost['parameters'])} parameters, {decimal(cost['gmacs'], 4)} GMACs."
    )
    if found["evaluation"] is not None:
        console.print()
        console.print(evaluation_table(found["evaluation"]))
    else:
        say(f"What it is worth: {found['failure'] or 'a worker computes it; ask again, or see `sat workers`'}.")


def print_teachers(found: Teachers) -> None:
    """Print the teachers, the rule and the strength of its evidence."""
    from client.tables.recommendations import teachers_table

    say(f"Teachers for {found['student']} (* the default suggestion):")
    console.print(teachers_table(found))
    console.print(f"Rule: {found['rule']}")
    console.print(f"Evidence: {found['evidence']}")
    for warning in found["warnings"]:
        console.print(f"Note: {warning}")
