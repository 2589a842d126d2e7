"""Ensembles and teachers as tables."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from client.shapes import Ensemble, Teachers
from client.tables.figures import NOTHING, count, decimal, interval, percent


def members_table(ensemble: Ensemble) -> Table:
    """Return a row a member, in the order they were chosen."""
    table = Table(box=None, header_style="bold")
    table.add_column("member", overflow="fold")
    table.add_column("base")
    table.add_column("family")
    for title in ("accuracy", "gain", "parameters"):
        table.add_column(title, justify="right")
    table.add_column("could be swapped for (loss)", overflow="fold")
    for one in ensemble["members"]:
        swaps = [f"{swap['model']} ({decimal(swap['loss'], 3)})" for swap in one["swaps"][:2]]
        table.add_row(
            one["model"],
            one["base"] or NOTHING,
            one["family"] or NOTHING,
            percent(one["accuracy"]),
            decimal(one["gain"], 3),
            count(one["parameters"]),
            ", ".join(swaps) or NOTHING,
        )
    return table


def evaluation_table(evaluation: dict[str, Any]) -> Table:
    """Return what the ensemble is worth on the part that choosing never reads, beside the baselines."""
    table = Table(box=None, header_style="bold")
    table.add_column(f"on {evaluation['n']} images of the {evaluation['part']} part", overflow="fold")
    table.add_column("top-1", justify="right")
    table.add_column("error reduction", justify="right")
    table.add_column("who", overflow="fold")
    for row in _evaluated(evaluation):
        table.add_row(*row)
    return table


def _evaluated(evaluation: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    low, high = evaluation["top1_interval"]
    bounds = f"95 %: {percent(low)} … {percent(high)}; all wrong on {percent(evaluation['all_wrong'])}"
    yield "this ensemble, mean of logits", percent(evaluation["top1"]), _reduction(evaluation), bounds
    probabilities = evaluation["probabilities"]
    yield "this ensemble, mean of probabilities", percent(probabilities["top1"]), _reduction(probabilities), ""
    baselines = evaluation["baselines"]
    best = baselines["best_single"]
    yield "best single model", percent(best["top1"]), NOTHING, best["model"]
    for key, title in (("top_n_by_accuracy", "the most accurate"), ("greedy_forward", "greedy forward selection")):
        one = baselines[key]
        yield title, percent(one["top1"]), _reduction(one), ", ".join(one["models"])
    drawn = baselines["random"]
    spread = f"mean of {drawn['draws']} draws, sd {percent(drawn['sd_top1'], 2)}"
    yield "at random", percent(drawn["mean_top1"]), NOTHING, spread


def _reduction(result: dict[str, Any]) -> str:
    return percent(result["error_reduction_rate"])


def teachers_table(teachers: Teachers) -> Table:
    """Return a row a teacher, the default suggestion marked."""
    table = Table(box=None, header_style="bold")
    table.add_column("")
    table.add_column("teacher", overflow="fold")
    table.add_column("base")
    for title in ("SAT", "95 % interval", "accuracy", "flips", "parameters"):
        table.add_column(title, justify="right")
    table.add_column("reason", overflow="fold", ratio=1)
    for one in teachers["items"]:
        flips = one["positive_flips"]
        table.add_row(
            "*" if one["default"] else "",
            one["model"],
            one["base"] or NOTHING,
            decimal(one["sat"]) + ("~" if one["obtained"] == "estimated" else ""),
            interval(one["interval"]),
            percent(one["accuracy"]),
            NOTHING if flips is None else f"{flips['count']} of {flips['n']}",
            count(one["parameters"]),
            one["reason"],
        )
    return table
