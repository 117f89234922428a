"""The site form: dimensions, times and names that every record of sites has.

A record is an `xarray.Dataset` with the dimensions ``site`` (text) and ``time`` (regular steps of
any length, UTC), or ``point`` in place of time where there are no dates, and maybe ``depth`` (m,
positive down). Attributes are ``[site]`` or ``[site, depth]``, series ``[site, time]``, observed
series ``[site, time]`` or ``[site, time, depth]``; each has its unit in ``attrs["units"]``. A value
holds over the step that ends at its time; daily records bear the date of their day.
"""

from __future__ import annotations

import logging
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pydiffgeo.data.variables import OBSERVED
from pydiffgeo.errors import DataError

log = logging.getLogger("pydiffgeo")
DAY = pd.Timedelta(days=1)
PLACES = ("lat", "lon", "elevation")
Day = str | date | None


def axis_of(sites: xr.Dataset) -> str:
    """Return the dimension of steps: "time", or "point" for records without dates.

    Raises
    ------
    DataError
        The records are no Dataset, or have no dimension ``site``, or neither of the two.
    """
    if not isinstance(sites, xr.Dataset):
        raise DataError(
            f"records of sites are an xarray.Dataset, got {type(sites).__name__}; "
            "`pydiffgeo.open_sites(path)` gives one."
        )
    if "site" not in sites.dims or not {"time", "point"} & set(sites.dims):
        raise DataError(
            "records of sites need the dimensions 'site' and 'time' (or 'point'), these have "
            f"{', '.join(map(str, sites.dims)) or 'none'}; `pydiffgeo.open_sites` gives them, "
            ".rename does."
        )
    return "time" if "time" in sites.dims else "point"


def times_of(sites: xr.Dataset) -> pd.Index:
    """Return the times of records, or the numbers of their points."""
    if axis_of(sites) == "point":
        return pd.RangeIndex(sites.sizes["point"])
    try:
        return pd.DatetimeIndex(sites.time.values)
    except TypeError:
        raise DataError(
            "the times are no dates of the standard calendar; convert them first "
            "(xarray: .convert_calendar('standard'))."
        ) from None


def dates_of(sites: xr.Dataset, who: str) -> pd.DatetimeIndex:
    """Return the times of records; DataError, in the name of what needs them, for points."""
    times = times_of(sites)
    if not isinstance(times, pd.DatetimeIndex):
        raise DataError(f"{who} needs dates, and the records are points; leave it out.")
    return times


def step_of(times: pd.Index) -> pd.Timedelta:
    """Return the length of a step: zero for points, a day for a single date.

    Raises
    ------
    DataError
        Times are unordered, repeated or not regular; the first such time is named.
    """
    if not isinstance(times, pd.DatetimeIndex):
        return pd.Timedelta(0)
    if len(times) < 2:
        return DAY
    steps = np.diff(times.asi8)
    if (steps <= 0).any():
        late = stamp(times[int(np.flatnonzero(steps <= 0)[0]) + 1])
        if (steps < 0).any():
            late = stamp(times[int(np.flatnonzero(steps < 0)[0]) + 1])
            raise DataError(
                f"times are unordered: {late} comes after a later time; sort with .sortby('time')."
            )
        raise DataError(f"time {late} occurs twice; keep one record per step.")
    step = int(pd.Series(steps).mode().iloc[0])
    found = pd.Timedelta(step, unit=times.unit)
    bad = np.flatnonzero(steps != step)
    if bad.size:
        first, after = stamp(times[bad[0]]), stamp(times[bad[0] + 1])
        raise DataError(
            f"times are not regular: {first} is followed by {after}, most steps are {found}; "
            "reindex to every step and let missing ones be NaN."
        )
    return found


def stamp(time: Any) -> str:
    """Return a time as text.

    A date, with the time of the day where there is one, or the number of a point.
    """
    if isinstance(time, int | np.integer):
        return f"point {int(time)}"
    moment = pd.Timestamp(time)
    if moment == moment.normalize():
        return f"{moment:%Y-%m-%d}"
    return f"{moment:%Y-%m-%d %H:%M}" if not moment.second else f"{moment:%Y-%m-%d %H:%M:%S}"


def parse_moment(
    given: Day, name: str, last: bool = False, step: pd.Timedelta = DAY
) -> pd.Timestamp:
    """Return the time of the first or last step that somebody asks for, in UTC; NaT for none.

    Parameters
    ----------
    given : str or date, optional
        "2000-01-31", "2000-01-31 06:00", a date; a zone is converted.
    name : str
        "start" or "end", for the message.
    last : bool
        Whether the last step of a date is asked for, not the first.
    step : pandas.Timedelta
        Of the records. A value holds over the step that ends at its time: the steps of a day end
        after its first midnight, the last one at its second. Daily records bear the date itself.

    Raises
    ------
    DataError
        It is no date.
    """
    if given is None:
        return pd.NaT
    try:
        # as text: an integer such as 20000131 is no count of nanoseconds
        moment = pd.Timestamp(str(given))
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{name}={given!r} is no date ({error}); write it as 2000-01-31."
        ) from error
    whole = moment == moment.normalize() and ":" not in str(given)
    if moment.tzinfo is not None:
        moment = moment.tz_convert("UTC").tz_localize(None)
    if not whole:
        return moment
    if step < DAY:
        return moment + (DAY if last else step)
    return moment + DAY - pd.Timedelta(1, "us") if last else moment


def moments(start: Day, end: Day, step: pd.Timedelta) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the times between which the steps of a period end; NaT where nobody asks."""
    return parse_moment(start, "start", step=step), parse_moment(end, "end", True, step)


def positions(times: pd.Index, start: Day, end: Day, what: str = "the period") -> tuple[int, int]:
    """Return the positions of the first step and of the step after the last one of a period.

    A date without a time of day means the whole day: of records in hours, the steps that lie in it,
    which end from 01:00 until the midnight after it. A time of day is that of a step, which ends
    then. All steps where neither is given.

    Raises
    ------
    DataError
        The record does not cover the period, or has no dates.
    """
    if not isinstance(times, pd.DatetimeIndex):
        if start is None and end is None:
            return 0, len(times)
        raise DataError(
            f"{what} has dates, but the records are points without dates; leave it out."
        )
    step = step_of(times)
    first, last = moments(start, end, step)
    first = times[0] if first is pd.NaT else first
    last = times[-1] if last is pd.NaT else last
    given = (
        f"{stamp(times[0]) if start is None else start} to "
        f"{stamp(times[-1]) if end is None else end}"
    )
    # the first and the last day of a record in hours need not be whole
    if last < first or first < times[0].normalize() or last >= times[-1] + max(step, DAY):
        raise DataError(
            f"{what}, {given}, is not in the record, {stamp(times[0])} to "
            f"{stamp(times[-1])}; change the period or the data."
        )
    found = int(times.searchsorted(first)), int(times.searchsorted(last, "right"))
    if found[0] >= found[1]:
        raise DataError(f"{what}, {given}, is shorter than a step; lengthen it.")
    return found


def series_names(sites: xr.Dataset) -> tuple[str, ...]:
    """Return the series of numbers in time that are not observed: forcing, [site, time]."""
    axis = axis_of(sites)
    return tuple(
        str(name)
        for name, values in sites.data_vars.items()
        if set(values.dims) == {"site", axis}
        and values.dtype.kind == "f"
        and not is_observed(values)
    )


def observed_names(sites: xr.Dataset) -> tuple[str, ...]:
    """Return the observed series, [site, time] or [site, time, depth]."""
    axis = axis_of(sites)
    return tuple(
        str(name)
        for name, values in sites.data_vars.items()
        if {"site", axis} <= set(values.dims) and values.dtype.kind == "f" and is_observed(values)
    )


def attribute_names(sites: xr.Dataset) -> tuple[str, ...]:
    """Return the attributes that are numbers, [site] or [site, depth]."""
    return tuple(
        str(name)
        for name, values in sites.data_vars.items()
        if set(values.dims) in ({"site"}, {"site", "depth"})
        and values.dtype.kind in "fiu"
        and name != "cell"  # a name, also where it is a number
    )


def telling_attributes(sites: xr.Dataset) -> tuple[str, ...]:
    """Return the attributes that networks can learn from.

    Numbers that no site lacks and that are not all the same.

    A line of the log names those that are left out.
    """
    found: list[str] = []
    left: list[str] = []
    for name in attribute_names(sites):
        values = sites[name].transpose("site", ...).values
        known = bool(np.isfinite(values).all())
        (found if known and (values != values[:1]).any() else left).append(name)
    if left:
        log.info("left out, incomplete or the same at all sites: attributes %s", ", ".join(left))
    return tuple(found)


def is_observed(values: xr.DataArray) -> bool:
    """Return whether a series is observed.

    ``attrs["role"]`` says so, or the table of variables, or it has more than time.
    """
    role = values.attrs.get("role")
    if role is not None:
        return bool(role == "observed")
    return str(values.name) in OBSERVED or len(values.dims) > 2


def unit_of(values: xr.DataArray) -> str | None:
    """Return the unit that an array states, or None."""
    found = values.attrs.get("units", values.attrs.get("unit"))
    return None if found is None else str(found)
