"""The map and the importance of components as tables."""

from rich.table import Table

from client.shapes import Importance, Map
from client.tables.figures import NOTHING


def map_table(found: Map) -> Table:
    """Return a row a model, by name."""
    table = Table(box=None, header_style="bold")
    table.add_column("model", overflow="fold")
    for title in ("x", "y"):
        table.add_column(title, justify="right")
    table.add_column("base")
    table.add_column("family", overflow="fold")
    for item in found["items"]:
        place = (f"{item['x']:.2f}", f"{item['y']:.2f}")
        table.add_row(item["model"], *place, item["base"] or NOTHING, item["family"] or NOTHING)
    return table


def importance_table(found: Importance) -> Table:
    """Return a row a component, the most important first; the range is over groups of models left out in turn."""
    table = Table(box=None, header_style="bold")
    table.add_column("component", overflow="fold")
    for title in ("importance", "range"):
        table.add_column(title, justify="right")
    table.add_column("notes")
    for item in found["items"]:
        if item["varies"]:
            table.add_row(
                item["component"], f"{item['importance']:.3f}", f"{item['least']:.3f} to {item['most']:.3f}", ""
            )
        else:
            table.add_row(item["component"], NOTHING, NOTHING, "the same in all models")
    return table
