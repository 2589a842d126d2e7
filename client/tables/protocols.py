"""Protocols and attacks as tables."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from client.shapes import Comparison
from client.tables.figures import NOTHING

_SHARED = frozenset(
    {"attack", "epsilon", "step_size", "steps", "start", "loss", "seed", "resize", "rounding", "engine_revision"}
)


def comparisons_table(comparisons: Iterable[Comparison]) -> Table:
    """Return a row a comparison."""
    table = Table(box=None, header_style="bold")
    table.add_column("comparison", overflow="fold")
    table.add_column("state")
    for title in ("networks", "pairs measured", "cells measured", "version"):
        table.add_column(title, justify="right")
    for one in comparisons:
        counts = one["progress"]
        table.add_row(
            one["name"] + (" (default)" if one["default"] else ""),
            one["state"],
            str(counts["networks"]),
            f"{counts['pairs_measured']} of {counts['pairs']}",
            f"{counts['cells_measured']} of {counts['cells']}",
            str(one["version"]),
        )
    return table


def protocols_table(protocols: Iterable[Mapping[str, Any]]) -> Table:
    """Return a row a protocol."""
    table = Table(box=None, header_style="bold")
    for title in ("protocol", "attack", "epsilon", "step"):
        table.add_column(title, overflow="fold")
    for title in ("steps", "gradients"):
        table.add_column(title, justify="right")
    for title in ("start", "options", "random", "digest"):
        table.add_column(title, overflow="fold")
    for one in protocols:
        numbers = one["parameters"]
        options = (f"{name} {value}" for name, value in numbers.items() if name not in _SHARED)
        table.add_row(
            one["name"],
            numbers["attack"],
            numbers["epsilon"],
            numbers["step_size"],
            str(numbers["steps"]),
            str(one["gradients"]),
            numbers["start"],
            ", ".join(options) or NOTHING,
            one["capabilities"]["randomness"],
            one["digest"][:12],
        )
    return table


def attacks_table(attacks: Iterable[Mapping[str, Any]]) -> Table:
    """Return a row an attack, with what it needs, or why it is not available."""
    table = Table(box=None, header_style="bold")
    for title in ("attack", "what", "options (default)", "notes"):
        table.add_column(title, overflow="fold")
    for one in attacks:
        options = ", ".join(f"{each['name']} ({each['default']})" for each in one["options"])
        notes = "vision transformers only" if one["capabilities"]["needs_patches"] else ""
        table.add_row(
            one["name"],
            f"{one['title']} ({one['source']})",
            options or NOTHING,
            notes if one["available"] else f"not available: {one['reason']}",
        )
    return table
