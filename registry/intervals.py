"""Spans of time in SQL."""

from datetime import timedelta

from sqlalchemy import ColumnElement, func


def seconds(number: float) -> ColumnElement[timedelta]:
    """SQL: an interval of so many seconds."""
    return func.make_interval(0, 0, 0, 0, 0, 0, number)
