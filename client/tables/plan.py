"""What registering would cost, as a table."""

from rich.console import Console
from rich.table import Table

from client.shapes import PlanCost, RegistrationPlan
from client.tables.figures import NOTHING, duration

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def print_plan(console: Console, plan: RegistrationPlan) -> None:
    """Print the costs of the first images alone and of all, and what they rest on."""
    new = [each for each in plan["models"] if not each["present"]]
    table = Table(box=None, header_style="bold")
    for title in ("", "the first images alone", "all images"):
        table.add_column(title, justify="right" if title else "left")
    first, total = plan["rung_0"], plan["total"]
    table.add_row("directed cells", f"{first['cells']:,}", f"{total['cells']:,}")
    table.add_row("device hours", hours(first["device_hours"]), hours(total["device_hours"]))
    for work in total["hours_by_work"]:
        table.add_row(f"  {work}", hours(first["hours_by_work"][work]), hours(total["hours_by_work"][work]))
    table.add_row("bytes", size(first["bytes"]), size(total["bytes"]))
    for kind in total["bytes_by_kind"]:
        table.add_row(f"  {kind}", size(first["bytes_by_kind"].get(kind, 0)), size(total["bytes_by_kind"][kind]))
    table.add_row("finished", _finish(first), _finish(total))
    console.print(f"{len(new)} models against {plan['against']} in {plan['comparison']}", soft_wrap=True)
    console.print(table)
    for line in basis(plan):
        console.print(line, soft_wrap=True)


def basis(plan: RegistrationPlan) -> list[str]:
    """Return what the figures rest on, a sentence each."""
    rates, workers = plan["rates"], plan["workers"]
    measured = ", ".join(rates["measured"])
    lines = [
        f"Rates of {rates['device']}: {f'measured for {measured}' if measured else 'assumed, nothing is measured yet'}."
    ]
    guessed = sum(not each["gmacs_known"] for each in plan["models"])
    if guessed:
        lines.append(f"The GMACs of {guessed} models are estimated from their parameters.")
    shared, elsewhere = (
        sum(each[flag] for each in plan["models"] if not each["present"]) for flag in ("shared", "elsewhere")
    )
    if shared:
        lines.append(f"{shared} of them are there under another name, and cost nothing.")
    if elsewhere:
        lines.append(f"{elsewhere} of them are of another task: what measuring them costs is not in these figures.")
    if plan["also"]:
        lines.append(f"Not in these figures: they would be measured in {', '.join(plan['also'])}, too.")
    if not workers:
        lines.append("No compute worker is there: nothing would begin.")
    elif plan["backlog_seconds"]:
        lines.append(f"{duration(plan['backlog_seconds'])} of other work waits before it.")
    return lines


def hours(number: float) -> str:
    """Return hours with as many digits as they deserve."""
    return f"{number:,.1f}" if number >= 10 else f"{number:.2g}"  # noqa: PLR2004  two digits


def size(number: int) -> str:
    """Return bytes in the unit that leaves one to three digits before the point."""
    value = float(number)
    for unit in UNITS:
        if value < 1000 or unit == UNITS[-1]:  # noqa: PLR2004  SI
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes everything")


def _finish(cost: PlanCost) -> str:
    seconds = cost["finish_seconds"]
    return NOTHING if seconds is None else f"in {duration(seconds)}"
