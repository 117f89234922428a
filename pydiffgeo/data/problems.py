"""Problems in the record of one site: missing, impossible and contradictory values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pydiffgeo.data.form import DAY, stamp, step_of
from pydiffgeo.data.variables import FALLBACK, find_impossible, limits, variable_of

# what a record may have all the same: `data check` shows it and is content
REMARKS = (
    "minimum above maximum",
    "no temperature range",
    "no table of attributes",
    "text",
    "no fall",
    "unusual",
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one site.

    Attributes
    ----------
    kind : str
        "unreadable", "wrong unit", "missing time", "missing forcing", "impossible value", "no
        observation", "no variance", "no window", "no attributes", "missing attribute"; and those of
        `REMARKS`.
    site : str
        Site or site; "" for all.
    variable : str
        Name; "" for all.
    start, end : str
        First and last day; "" where it is not a matter of days.
    days : int
        Days, both included.
    message : str
        What is wrong and what to do.
    """

    kind: str
    site: str
    variable: str
    start: str
    end: str
    days: int
    message: str


def forcing_problems(values: Mapping[str, NDArray], site: str, days: pd.Index) -> Iterator[Problem]:
    """Return what is missing or impossible in the forcing of one site, [time] by variable, run by
    run of days.

    Parameters
    ----------
    values : mapping of str to ndarray, [time]
        By variable.
    site : str
        Its identifier.
    days : Index, [time]
        Dates.
    """
    yield from gap_problems(values, site, days)
    for name, array in values.items():
        yield from impossible_problems(name, array, site, days)
    low, high = values.get("tair_min"), values.get("tair_max")
    if low is None or high is None:
        return
    for first, last in runs(low > high):
        text = f"tair_min is {low[first]:g}, above tair_max, {high[first]:g} degC"
        yield of_days("minimum above maximum", site, "tair_min", days, first, last, text)
    known = np.isfinite(low) & np.isfinite(high)
    if known.any() and np.array_equal(low[known], high[known]):
        yield Problem(
            "no temperature range",
            site,
            "tair_min",
            "",
            "",
            0,
            f"tair_min equals tair_max on every day in site {site} (NLDAS in CAMELS-US); methods "
            "that need the daily range, such as hargreaves, cannot be used.",
        )


def gap_problems(values: Mapping[str, NDArray], site: str, days: pd.Index) -> Iterator[Problem]:
    """Return where forcing is missing, run by run of days.

    Days without any are one problem, not one for each variable.
    """
    gaps = {name: np.isnan(array) for name, array in values.items()}
    whole = np.logical_and.reduce(list(gaps.values())) if gaps else np.zeros(len(days), bool)
    for first, last in runs(whole):
        yield of_days("missing time", site, "", days, first, last, "no record of any forcing")
    for name, gap in gaps.items():
        for first, last in runs(gap & ~whole):
            yield of_days("missing forcing", site, name, days, first, last, f"{name} is missing")


def impossible_problems(
    name: str, array: NDArray, site: str, days: pd.Index, unit: str | None = None
) -> Iterator[Problem]:
    """Return where values lie outside of `variables.limits`, run by run of days.

    `array` [time] or [time, depth].
    """
    bad = find_impossible(name, array, unit)
    for first, last in runs(bad.reshape(len(bad), -1).any(1)):
        levels, wrong = np.atleast_1d(array[first]).ravel(), np.atleast_1d(bad[first]).ravel()
        level = int(wrong.argmax())
        text = _outside(name, levels[level], unit)
        text += f" in level {level + 1} of {levels.size}" if levels.size > 1 else ""
        yield of_days("impossible value", site, name, days, first, last, text)


def observed_problems(
    values: Mapping[str, NDArray],
    site: str,
    days: pd.Index,
    units: Mapping[str, str | None] | None = None,
) -> Iterator[Problem]:
    """Return what is wrong with the observations of a site, [time] or [time, depth] by variable.

    Impossible values, series that are never observed, and those that never change, by which nothing
    can be judged.
    """
    for name, array in values.items():
        known = array[np.isfinite(array)]
        if not known.size:
            yield of_days(
                "no observation", site, name, days, 0, len(days) - 1, f"{name} is never observed"
            )
        elif known.size > 1 and known.min() == known.max():
            text = f"{name} of site {site} is {known[0]:g} in all of {known.size} observations"
            yield Problem("no variance", site, name, "", "", 0,
                          f"{text}; leave the site out of training, or correct it.")  # fmt: skip
        yield from impossible_problems(name, array, site, days, (units or {}).get(name))


def attribute_problems(
    values: Mapping[str, NDArray],
    sites: Collection[str],
    wanted: Collection[str],
) -> Iterator[Problem]:
    """Return which attributes [site] are impossible, and which of the `wanted` ones are missing.

    Parameters
    ----------
    values : mapping of str to ndarray, [site]
        Attributes by name; text is only looked at for being there.
    sites : collection of str
        Identifiers.
    wanted : collection of str
        Names of those that each site must have.
    """
    missing = {name: absent(values[name]) for name in wanted}
    bad = {
        name: find_impossible(name, array.astype(float))
        for name, array in values.items()
        if array.dtype.kind in "fiu"
    }
    for row, site in enumerate(sites):
        for name, array in values.items():
            if name in wanted and missing[name][row]:
                text = (
                    f"attribute {name!r} of site {site} is missing; fill it, or leave the site "
                    "or the attribute out."
                )
                yield Problem("missing attribute", site, name, "", "", 0, text)
            elif name in bad and bad[name][row]:
                text = (
                    f"attribute {_outside(name, float(array[row]))} in site {site}; correct it, or "
                    "leave the site or the attribute out."
                )
                yield Problem("impossible value", site, name, "", "", 0, text)


def runs(flags: ArrayLike) -> list[tuple[int, int]]:
    """Return (first, last) position of each run of True."""
    known = np.asarray(flags)
    if not known.any():  # as nearly always
        return []
    edges = np.flatnonzero(np.diff(np.concatenate(([0], known.astype(np.int8), [0]))))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def absent(values: NDArray) -> NDArray:
    """Return where attributes are missing: NaN, or empty text."""
    return (
        np.isnan(values)
        if values.dtype.kind == "f"
        else (values == "" if values.dtype.kind in "UO" else values != values)
    )


def of_days(
    kind: str,
    site: str,
    name: str,
    days: pd.Index,
    first: int,
    last: int,
    text: str,
) -> Problem:
    """Return the problem of a run of days, from position `first` to `last`, with its remedy."""
    start, end, number = stamp(days[first]), stamp(days[last]), last - first + 1
    daily = isinstance(days, pd.DatetimeIndex) and step_of(days[:2]) == DAY
    unit = "days" if daily else "steps"
    when = f"on {start}" if number == 1 else f"from {start} to {end} ({number} {unit})"
    remedy = {
        "no observation": "leave the site out of training, or choose another period",
        "impossible value": "correct it, or set it to NaN",
        "minimum above maximum": "exchange them, or leave them where the daily range does not "
        "matter",
    }.get(kind, "fill it yourself, choose another period, or leave the site out")
    return Problem(kind, site, name, start, end, number, f"{text} in site {site} {when}; {remedy}.")


def _outside(name: str, value: float, unit: str | None = None) -> str:
    lower, upper = limits(name, unit)
    known = variable_of(name, unit)
    shown = "" if known is None else f" {known.unit}"
    rule = (
        "no measurement but a fill value"
        if (lower, upper) == FALLBACK
        else f"outside [{lower:g}, {upper:g}]"
    )
    return f"{name} is {value:g}{shown}, {rule}"
