"""Neighbours, pairs, the matrix and clusters as tables."""

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from client.shapes import Clusters, Matrix, Pair, PairRecord, Similar
from client.tables.figures import NOTHING, decimal, interval, percent

CELL_WIDTH = 7  # columns of the terminal for one score, the space before it included
# of SAT = ln(percent): 2.3 is 10 %, 3.4 is 30 %, 4.1 is 60 %
SHADES = ((4.1, "bold red"), (3.4, "yellow"), (2.3, "green"))


def neighbours_table(similar: Similar) -> Table:
    """Return a row a neighbour, nearest (or farthest) first."""
    table = Table(box=None, header_style="bold")
    table.add_column("neighbour", overflow="fold")
    for title in ("SAT", "95 % interval", "fooled", "fools it", "fooled by it", "images"):
        table.add_column(title, justify="right")
    table.add_column("notes", overflow="fold")
    for one in similar["items"]:
        notes = [] if one["obtained"] == "measured" else [f"{one['obtained']} ({one['direction']})"]
        if one["rung"] == 0:
            notes.append("first images only")
        table.add_row(
            one["model"],
            decimal(one["sat"]),
            interval(one["interval"]),
            f"{one['percent']:.1f} %",
            percent(one["fools"]),
            percent(one["fooled_by"]),
            str(one["n"]),
            ", ".join(notes + one["flags"]),
        )
    return table


def pairs_table(pairs: Sequence[PairRecord]) -> Table:
    """Return a row a pair."""
    table = Table(box=None, header_style="bold")
    for title in ("a", "b"):
        table.add_column(title, overflow="fold")
    for title in ("SAT", "95 % interval", "a fools b", "b fools a", "images"):
        table.add_column(title, justify="right")
    table.add_column("notes", overflow="fold")
    for one in pairs:
        notes = [] if one["obtained"] == "measured" else [f"{one['obtained']} ({one['direction']})"]
        if one["rung"] == 0:
            notes.append("first images only")
        table.add_row(
            one["a"],
            one["b"],
            decimal(one["sat"]),
            interval(one["interval"]),
            percent(one["a_fools_b"]),
            percent(one["b_fools_a"]),
            str(one["n"]),
            ", ".join(notes + one["flags"]),
        )
    return table


def pair_table(pair: Pair) -> Table:
    """Return one pair in full, a row a property."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("comparison", pair["comparison"])
    if pair["sat"] is None:
        table.add_row("SAT", f"{NOTHING}  {pair['reason'] or ''}")
        return table
    table.add_row("SAT", f"{pair['sat']:.2f}  (95 %: {interval(pair['interval'])})")
    if pair["percent"] is not None:
        table.add_row("fooled", f"{pair['percent']:.1f} % of {pair['n']} images that both classify correctly")
    for side, source, target in (("a_fools_b", pair["a"], pair["b"]), ("b_fools_a", pair["b"], pair["a"])):
        fooled = pair["fooled"].get(side)
        if fooled:
            table.add_row(f"{source} fools {target}", f"{percent(fooled['rate'])} ({fooled['count']} images)")
    if pair["fooled"].get("both") is not None:
        table.add_row("both ways", f"{pair['fooled']['both']} images")
    table.add_row("obtained", " ".join(filter(None, (pair["obtained"], pair["direction"]))))
    for way, controls in (pair["controls"] or {}).items():
        if controls:
            shown = ", ".join(f"{name} {percent(rate)}" for name, rate in controls.items() if rate is not None)
            table.add_row(f"controls {way.replace('_', ' ')}", shown or NOTHING)
    for flag in pair["flags"]:
        table.add_row("note", flag)
    for maker in pair["made_by"]:
        table.add_row("made by", ", ".join(f"{name} {value}" for name, value in maker.items() if value))
    return table


def matrix_tables(matrix: Matrix, width: int) -> Iterator[Table]:
    """Yield the matrix as tables that fit the width; a column is headed by its row's number."""
    names = matrix["models"]
    name_width = min(max((len(name) for name in names), default=0), 40)
    columns = max(1, (width - name_width - len(str(len(names))) - 3) // CELL_WIDTH)
    for start in range(0, len(names), columns):
        shown = range(start, min(start + columns, len(names)))
        table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), collapse_padding=True)
        table.add_column("", justify="right", style="bold")
        table.add_column("", width=max(name_width, 1), overflow="ellipsis")
        for column in shown:
            table.add_column(str(column + 1), justify="right", width=CELL_WIDTH - 1)
        for row, name in enumerate(names):
            table.add_row(str(row + 1), name, *(_cell(matrix, row, column) for column in shown))
        yield table


def _cell(matrix: Matrix, row: int, column: int) -> Text:
    """Return a score in its shade; one-sided ones carry an asterisk, missing ones are a dot."""
    sat = matrix["sat"][row][column]
    if sat is None:
        return Text("·", style="dim")
    mark = "*" if matrix["obtained"][row][column] == "one-sided" else ""
    if row == column:
        return Text(f"{sat:.2f}", style="dim")
    style = next((style for least, style in SHADES if sat >= least), "")
    return Text(f"{sat:.2f}{mark}", style=style)


def clusters_table(clusters: Clusters, numbers: Mapping[str, int] | None = None) -> Table:
    """Return a row a cluster; numbers, if given, stand before the names."""
    table = Table(box=None, header_style="bold")
    table.add_column("cluster", justify="right")
    table.add_column("models", overflow="fold", ratio=3)
    table.add_column("keywords", overflow="fold", ratio=2)
    for one in clusters["items"]:
        names = [f"{numbers[name]} {name}" if numbers else name for name in one["models"]]
        table.add_row(str(one["cluster"]), ", ".join(names), ", ".join(one["keywords"]) or NOTHING)
    return table
