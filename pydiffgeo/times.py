"""One parser of times, for `solve` and for data.

Dates, durations and numbers, in whatever type they come.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.errors import DataError, lookup

SECONDS: dict[str, Fraction] = {
    "s": Fraction(1),
    "min": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
"""Seconds in each unit of time that a model may have."""
TICKS: dict[str, Fraction] = {
    "W": Fraction(604800), "D": Fraction(86400), "h": Fraction(3600), "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6), "ns": Fraction(1, 10**9), "ps": Fraction(1,
    10**12),
}  # fmt: skip
"""Seconds in each unit of NumPy's dates and durations."""
CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
"""Calendars of cftime whose days are those of datetime64."""
FORMS = {6: "%Y%m", 7: "%Y%j", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Dates that are written as integers, by the number of their digits."""
# numbers above are counts of nanoseconds or microseconds since 1970: no model runs for so long
NANOSECONDS = 1e14


def parse_times(values: Any, what: str = "times") -> NDArray:
    """Read times of any kind.

    Parameters
    ----------
    values : array-like, [time]
        Dates (datetime64, lists of `datetime` or `date`, a pandas index or series, a DataArray,
        cftime, ISO 8601 text, or numbers whose attribute `units` says "days since 2000-01-01"),
        durations (timedelta64, `timedelta`, a TimedeltaIndex), or numbers. Dates with a time zone
        are turned into UTC.
    what : str
        What they are, for the messages.

    Returns
    -------
    ndarray, [time]
        datetime64 (UTC), timedelta64 or numbers, in the unit in which they were given.

    Raises
    ------
    DataError
        A gap; text or objects that are no time; integers such as 20000101, which are dates only for
        a reader.
    """
    x = _array(values, what)
    if x.ndim != 1:
        raise DataError(f"{what} must be one-dimensional, got shape {x.shape}.")
    if np.ma.isMaskedArray(x):
        _no_gap(np.ma.getmaskarray(x), what, "masked")
        x = np.ma.getdata(x)
    if x.dtype.kind in "OUS":
        x = _from_objects(x.tolist(), what)
    if x.dtype.kind in "mM":
        return _checked(x, what)
    if x.dtype.kind not in "iuf":
        raise DataError(f"{what} are of type {x.dtype}: give dates, durations or numbers.")
    _no_gap(~np.isfinite(x), what, "not finite")
    _no_calendar(x, what)
    return x


def intervals(times: NDArray, unit: str, what: str = "times") -> NDArray[np.floating]:
    """Return the lengths `[time - 1]` of intervals between parsed times, in a unit of `SECONDS`.

    They are exact for dates however far apart: no count of nanoseconds is made of them.

    Raises
    ------
    DataError
        Times that do not increase.
    """
    if times.dtype.kind in "mM":
        step, count = np.datetime_data(times.dtype)
        ratio = TICKS[step] * count / lookup(SECONDS, unit, "unit of time")
        ticks = times.astype(np.int64)
        steps = np.diff(ticks)
        if (
            (steps > 0) != (ticks[1:] > ticks[:-1])
        ).any():  # more nanoseconds apart than an integer of 64 bits counts
            steps = np.diff(ticks.astype(object)).astype(np.float64)
        lengths = steps * float(ratio.numerator) / float(ratio.denominator)
    else:
        lengths = np.diff(times.astype(np.float64))
    if lengths.size and not lengths.min() > 0:
        i = int((lengths <= 0).argmax())
        raise DataError(
            f"{what} must increase: {what}[{i}]={times[i]} is followed by "
            f"{what}[{i + 1}]={times[i + 1]}; sort them and drop duplicates."
        )
    return lengths


def differing(given: NDArray, wanted: NDArray) -> int | None:
    """Return the first place where two equally long arrays of times differ, or None.

    Dates are compared to a microsecond.
    """
    kind = wanted.dtype.kind
    if kind in "mM":
        away = given.astype(f"{kind}8[us]") != wanted.astype(f"{kind}8[us]")
    else:
        away = ~np.isclose(given, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())
    return int(away.argmax()) if away.any() else None


def decoded(values: Any, what: str) -> Any:
    """Return dates in place of numbers whose attribute `units` says since when they count.

    As CF has it; anything else stays as it is.
    """
    attributes = getattr(values, "attrs", None) or {}
    if " since " not in str(attributes.get("units", "")) or values.dtype.kind not in "iuf":
        return values
    import xarray as xr  # half a second, for those who have such numbers

    x = np.asarray(values)
    try:
        count = xr.Variable([f"axis_{i}" for i in range(x.ndim)], x, dict(attributes))
        return xr.decode_cf(xr.Dataset({"values": count}))["values"]
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{what} have the units {attributes['units']!r}, which cannot be read: give the dates."
        ) from error


def _array(values: Any, what: str) -> NDArray:
    values = decoded(values, what)
    if hasattr(values, "detach"):  # a tensor
        return np.asarray(values.detach().cpu().numpy())
    if getattr(getattr(values, "dtype", None), "tz", None) is not None:  # pandas, with a time zone
        values = (values.dt if hasattr(values, "dt") else values).tz_convert(None)
    try:
        return np.asanyarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
    except ValueError as error:
        raise DataError(f"{what} are no array of times: {str(error).rstrip('.')}.") from error


def _from_objects(values: list[Any], what: str) -> NDArray:
    """Times from text, from Python's own and from other libraries' objects."""
    if all(isinstance(v, str) for v in values):
        days = _from_days(values)
        if days is not None:
            return days
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return np.asarray(values)
    zones, found = set(), []
    for i, value in enumerate(values):
        try:
            instant, zone = _instant(value)
        except (ValueError, OverflowError) as error:
            known = isinstance(error, DataError)
            hint = (
                str(error).rstrip(".")
                if known
                else "write dates as 2000-12-31 or 2000-12-31T18:00 (ISO 8601)"
            )
            raise DataError(f"{what}[{i}] is {value!r}, which is no date: {hint}.") from error
        zones.add(zone)
        found.append(instant)
    kinds = {v.dtype.kind for v in found}
    if len(kinds) > 1 or len(zones) > 1:
        mixed = "dates and durations" if len(kinds) > 1 else "dates with and without a time zone"
        raise DataError(f"{what} mix {mixed}: give one kind.")
    return np.array(found)


def _from_days(values: list[str]) -> NDArray | None:
    """Dates from text like 2000-12-31, which NumPy reads at once; None for any other."""
    text = np.array(values)
    if (
        text.dtype.itemsize != 40 or not (np.char.count(text, "-") == 2).all()
    ):  # ten letters of four bytes
        return None
    try:
        return text.astype("M8[D]")
    except ValueError:
        return None


def _instant(value: Any) -> tuple[Any, bool]:
    """A date or duration, and whether it came with a time zone."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return value, False
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        text = value.strip()
        value = datetime.fromisoformat(f"{text}-01" if re.fullmatch(r"\d{4}-\d\d", text) else text)
    if hasattr(value, "to_timedelta64"):  # pandas
        return value.to_timedelta64(), False
    if hasattr(value, "to_datetime64"):
        zone = value.tzinfo is not None
        return (value.tz_convert(None) if zone else value).to_datetime64(), zone
    if isinstance(value, datetime):
        zone = value.tzinfo is not None
        return np.datetime64(
            value.astimezone(UTC).replace(tzinfo=None) if zone else value, "us"
        ), zone
    if isinstance(value, date):
        return np.datetime64(value, "D"), False
    if isinstance(value, timedelta):
        return np.timedelta64(value, "us"), False
    if hasattr(value, "calendar") and hasattr(value, "isoformat"):  # cftime
        return _from_calendar(value), False
    if hasattr(value, "to_timestamp"):  # pandas
        raise DataError(
            "a Period has a start and an end; give one of them, .to_timestamp() or "
            ".to_timestamp(how='end')."
        )
    raise ValueError(f"a {type(value).__name__}")


def _from_calendar(value: Any) -> np.datetime64:
    """A date of cftime, where its calendar counts days as datetime64 does."""
    julian = value.calendar in CALENDARS[:2] and (value.year, value.month, value.day) < (
        1582,
        10,
        15,
    )
    if value.calendar not in CALENDARS or julian:
        era = " before 1582-10-15" if julian else ""
        raise DataError(
            f"the calendar {value.calendar!r}{era} has other days; give numbers since the start "
            "(cftime.date2num)."
        )
    return np.datetime64(value.isoformat(), "us")


def _checked(x: NDArray, what: str) -> NDArray:
    """Dates or durations without gaps, whose unit has a length."""
    _no_gap(np.isnat(x), what, "not a date" if x.dtype.kind == "M" else "not a duration")
    step = np.datetime_data(x.dtype)[0]
    if x.dtype.kind == "M" and step in ("Y", "M"):
        return x.astype("M8[D]")
    if step not in TICKS:
        raise DataError(
            f"{what} are durations in the unit {step!r}, whose length is not known: give days, "
            "hours or seconds."
        )
    return x


def _no_gap(bad: NDArray, what: str, reason: str) -> None:
    if bad.any():
        raise DataError(f"{what}[{int(bad.argmax())}] is {reason}.")


def _no_calendar(x: NDArray, what: str) -> None:
    """Refuse integers that a reader takes for dates.

    20000101, 2000010112, ... and counts of nanoseconds since 1970.

    Months (200012, 200101) and days of the year (2000366, 2001001) could be numbers: they are
    refused where a year ends.
    """
    if not x.size or abs(x[0]) < 1e5:
        return
    digits = len(str(int(x[0])))
    if digits in FORMS and (x == np.floor(x)).all() and _are_dates(x, digits):
        form = FORMS[digits]
        raise DataError(
            f"{what} are dates written as integers ({int(x[0])}, ...), which would be taken for "
            "numbers: give dates, "
            f'pandas.to_datetime({what}.astype(str), format="{form}"), or, if they are numbers, '
            f"{what} - {what}[0]."
        )
    if abs(x[0]) > NANOSECONDS:
        raise DataError(
            f"{what} begin with {x[0]}, by its size a count of nanoseconds or microseconds since "
            "1970: give the dates."
        )


def _are_dates(x: NDArray, digits: int) -> bool:
    """Whether all numbers read as year, month, day and so on, between the years 1500 and 2500."""
    rest = x.astype(np.int64)
    if digits == 6 and not (np.diff(rest) == 89).any():
        return False
    if digits == 7:
        years, days = np.divmod(rest, 1000)
        return bool(
            ((1 <= days) & (days <= 366) & (years >= 1500) & (years <= 2500)).all()
            and (np.diff(rest) > 600).any()
        )
    parts: list[NDArray] = []
    for _ in range((digits - 4) // 2):
        rest, part = np.divmod(rest, 100)
        parts.insert(0, part)
    limits: Iterable[tuple[int, int]] = ((1, 12), (1, 31), (0, 24), (0, 59), (0, 59))
    inside = all(
        ((low <= p) & (p <= high)).all() for p, (low, high) in zip(parts, limits, strict=False)
    )
    return bool(inside and ((rest >= 1500) & (rest <= 2500)).all())
