"""Times of a record in its files: in order, each once, a regular step apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pydiffgeo.data.form import DAY, stamp
from pydiffgeo.data.layouts.text import Line, several_a_day
from pydiffgeo.errors import DataError


def step_between(index: pd.DatetimeIndex) -> pd.Timedelta:
    """Return the usual step of times in their order; a day where there is one time."""
    if len(index) < 2:
        return DAY
    steps = pd.Series(np.diff(index.to_numpy()))
    step = pd.Timedelta(steps.mode().iloc[0])
    return step if step < DAY else DAY


def regular_index(times: pd.DatetimeIndex, what: str, line: Line | None = None) -> pd.DatetimeIndex:
    """Return the days of time stamps; the times themselves where there are several on a day.

    Raises
    ------
    DataError
        A date is invalid, occurs twice, or comes after a later one; it is named, and its line,
        where `line` gives it.
    """

    def place(row: int) -> str:
        return f" (line {line(row)})" if line else ""

    if not len(times):
        raise DataError(f"{what} has no days; leave it out, or get it again.")
    if times.hasnans:
        row = int(np.flatnonzero(times.isna())[0])
        raise DataError(
            f"{what} has an invalid date in {f'line {line(row)}' if line else f'row {row + 1}'}; "
            "correct the file."
        )
    days = times if several_a_day(times) else times.normalize()
    if days.has_duplicates:
        row = int(np.flatnonzero(days.duplicated())[0])
        per = "time" if days is times else "day"
        raise DataError(
            f"date {stamp(days[row])} occurs twice in {what}{place(row)}; keep one row per {per}."
        )
    if not days.is_monotonic_increasing:
        row = 1 + int(np.flatnonzero(np.diff(days.asi8) < 0)[0])
        late = f"{stamp(days[row])}{place(row)} comes after a later date"
        raise DataError(f"dates are unordered in {what}: {late}; sort the file.")
    return days
