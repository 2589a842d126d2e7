"""Figures as text: one way to write a rate, a score, a number of parameters."""

from collections.abc import Sequence

NOTHING = "-"  # shown where there is no figure


def percent(rate: float | None, digits: int = 1) -> str:
    """Return a rate from 0 to 1 as a percentage."""
    return NOTHING if rate is None else f"{100 * rate:.{digits}f} %"


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a number with so many digits behind the point."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def interval(bounds: Sequence[float] | None) -> str:
    """Return an interval of scores as `low … high`."""
    return NOTHING if bounds is None else f"{bounds[0]:.2f} … {bounds[1]:.2f}"


def count(value: float | None) -> str:
    """Return a number in thousands or millions, as parameters are given."""
    if value is None:
        return NOTHING
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {letter}"
    return f"{value:g}"


def duration(seconds: float | None) -> str:
    """Return a time span as hours, minutes and seconds, without leading zeros."""
    if seconds is None:
        return NOTHING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
