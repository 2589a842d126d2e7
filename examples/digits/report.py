"""What the demo prints when everything is measured: the registry's answers, and one check of the paper in small."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from rich.table import Table

from client.commands.recommend import print_ensemble, print_teachers
from client.output import console, say
from client.registry import Registry
from client.shapes import Matrix, ModelSummary
from client.tables.figures import decimal, percent
from client.tables.models import models_table
from client.tables.similarity import clusters_table, matrix_tables

NEIGHBOURS = 3  # of each model
ENSEMBLE_MEMBERS = 5
TEACHERS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedCheck:
    """The paper's Table 2 in small: are networks that differ only in their seed more alike than strangers?"""

    twins: tuple[tuple[str, str, float], ...]  # same architecture, other seed, and their SAT
    strangers: tuple[float, ...]  # SAT of the pairs of different families

    @property
    def twin_mean(self) -> float:
        """Mean SAT of the pairs of one architecture."""
        return fmean(sat for _, _, sat in self.twins)

    @property
    def stranger_mean(self) -> float:
        """Mean SAT of the pairs of different families."""
        return fmean(self.strangers)

    @property
    def holds(self) -> bool:
        """The mean over one architecture is above the mean over different families, as in the paper's table."""
        return self.twin_mean > self.stranger_mean

    @property
    def exceptions(self) -> tuple[str, ...]:
        """Pairs of one architecture that by themselves are not above the mean of different families."""
        return tuple(f"{a} and {b}" for a, b, sat in self.twins if sat <= self.stranger_mean)


def check_seeds(matrix: Matrix, kinds: Mapping[str, str], families: Mapping[str, str | None]) -> SeedCheck | None:
    """Return the check over the measured pairs; None without a pair of either sort.

    Args:
        matrix: the scores; models that are not in `kinds` are left out.
        kinds: what a model was built from (architecture and arguments), by name.
        families: each model's family, by name; a model without one is nobody's stranger.
    """
    twins, strangers = [], []
    rows = [(row, name) for row, name in enumerate(matrix["models"]) if name in kinds]
    for (row, a), (column, b) in combinations(rows, 2):
        sat = matrix["sat"][row][column]
        if sat is None:
            continue
        if kinds[a] == kinds[b]:
            twins.append((a, b, sat))
        elif families[a] and families[b] and families[a] != families[b]:
            strangers.append(sat)
    return SeedCheck(twins=tuple(twins), strangers=tuple(strangers)) if twins and strangers else None


def print_answers(registry: Registry, kinds: Mapping[str, str], comparison: Mapping[str, Any]) -> None:
    """Print all answers about the models in `kinds`, on the comparison (image_set and protocol)."""
    models = {model["name"]: model for model in registry.models(**comparison) if model["name"] in kinds}
    matrix = registry.matrix(**comparison)
    print_models(models)
    print_matrix(matrix)
    print_neighbours(registry, models, comparison)
    print_clusters(registry, matrix, comparison)
    _heading(f"Which {ENSEMBLE_MEMBERS} to ensemble: accurate on the select part, failing apart on the attack part")
    print_ensemble(registry.ensemble(n=ENSEMBLE_MEMBERS, **comparison))
    student = next((name for name in kinds if name in models and models[name]["base"] == "CNN"), None)
    if student is not None:
        _heading(f"Which teacher {student} (a CNN) should learn from")
        print_teachers(registry.teacher(student, k=TEACHERS, **comparison))
    print_check(check_seeds(matrix, kinds, {name: model["family"] for name, model in models.items()}))


def print_models(models: Mapping[str, ModelSummary]) -> None:
    """Print the models with their accuracy."""
    _heading("The models")
    console.print(models_table(models.values()))


def print_matrix(matrix: Matrix) -> None:
    """Print every pair's score."""
    _heading("SAT of every pair: ln of the percentage of adversarial images that fool the other; diagonal: itself")
    for table in matrix_tables(matrix, console.width):
        console.print(table)


def print_neighbours(registry: Registry, models: Mapping[str, ModelSummary], comparison: Mapping[str, Any]) -> None:
    """Print the nearest models of each, and the farthest one."""
    _heading("Who behaves like whom: the nearest models, and the farthest")
    table = Table(box=None, header_style="bold")
    table.add_column("model")
    table.add_column(f"nearest {NEIGHBOURS} (SAT)", overflow="fold")
    table.add_column("farthest", overflow="fold")
    for name in models:
        near = registry.similar(name, k=NEIGHBOURS, **comparison)["items"]
        far = registry.similar(name, k=1, order="farthest", **comparison)["items"]
        shown = [", ".join(f"{one['model']} ({one['sat']:.2f})" for one in found) for found in (near, far)]
        table.add_row(name, *shown)
    console.print(table)


def print_clusters(registry: Registry, matrix: Matrix, comparison: Mapping[str, Any]) -> None:
    """Print clusters with the components that set each apart."""
    _heading("Clusters, and the components that set each apart")
    clusters = registry.clusters(**comparison)
    numbers = {name: number for number, name in enumerate(matrix["models"], start=1)}
    console.print(clusters_table(clusters, numbers))
    say(
        f"{clusters['k']} clusters, as the registry suggests; stability {decimal(clusters['stability'])}, "
        f"silhouette {decimal(clusters['silhouette'])}."
    )


def print_check(check: SeedCheck | None) -> None:
    """Print both means, every pair of one architecture, and whether the paper's finding holds here."""
    _heading("The paper's Table 2, in small")
    if check is None:
        say("There is no measured pair to check it on.")
        return
    table = Table(box=None, header_style="bold")
    table.add_column("pairs")
    for title in ("mean SAT", "n"):
        table.add_column(title, justify="right")
    table.add_row("same architecture, other seed", decimal(check.twin_mean), str(len(check.twins)))
    table.add_row("different families", decimal(check.stranger_mean), str(len(check.strangers)))
    console.print(table)
    for a, b, sat in check.twins:
        above = percent(sum(sat > other for other in check.strangers) / len(check.strangers), 0)
        say(f"  {a} and {b}: {sat:.2f}, above {above} of the different-family pairs")
    means = f"{decimal(check.twin_mean)} against {decimal(check.stranger_mean)}"
    say(
        f"It holds: networks that differ in their seed alone are more alike than different families ({means})."
        if check.holds
        else f"It does not hold here: different families are as alike as other seeds of one network ({means})."
    )
    say("The zoo keeps seed pairs that fool each other at all: an illustration, no evidence (docs/zoo.md).")
    if check.exceptions:
        say(f"Not for every pair: {'; '.join(check.exceptions)} score no higher than different families on average.")


def _heading(text: str) -> None:
    console.print()
    console.print(text, style="bold cyan", soft_wrap=True)
