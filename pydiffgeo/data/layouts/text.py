"""Text files as they come.

Separators, dates with a zone, words in the place of numbers, and where in the file they stand.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pydiffgeo.data.form import stamp
from pydiffgeo.errors import DataError, DataWarning

SEPARATORS = (",", ";", "\t")
# 0,5, and 1,234.5 with a comma between thousands
COMMA = re.compile(r"[+-]?\d*(?:,\d+)+(?:\.\d*)?(?:[eE][+-]?\d+)?")
ZONE = re.compile(r"(?<=\d)\s*(?:Z|UTC|[+-]\d\d(?::?\d\d)?)$")
PLAIN = "write decimal points, and nothing between thousands."
Line = Callable[[int], int]


def separator_of(file: Path, usual: str = ",") -> str:
    """Return the separator of columns: the usual one, or another that the header has instead."""
    try:
        with open(file, "rb") as stream:
            header = stream.readline().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}); check its permissions and its disk."
        ) from error
    return (
        usual
        if usual in header
        else next((other for other in SEPARATORS if other in header), usual)
    )


def read_rows(file: Path, what: str, **options: Any) -> pd.DataFrame:
    """Return a text table as `pandas.read_csv` does; rows with too many fields are an error.

    Parameters
    ----------
    file : Path
        The table, UTF-8.
    what : str
        What it is, for the message.
    **options
        Of `pandas.read_csv`.

    Raises
    ------
    DataError
        It is empty, has rows that are too long, is not UTF-8, or cannot be read; `what` and the
        file are named.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(file, index_col=False, encoding="utf-8-sig", **options)
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        why = str(error).strip().splitlines()[0].rstrip(".")
        if isinstance(error, pd.errors.ParserWarning):
            why = "its rows have more fields than its header: decimal commas?"
        whole = "check that it is whole, or download it again"
        hint = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else whole
        raise DataError(f"{what} cannot be read ({why}): {file}; {hint}.") from error


def read_csv(
    file: Path,
    what: str,
    text: Collection[str],
    names: Collection[str] | None = None,
    nrows: int | None = None,
) -> pd.DataFrame:
    """Return columns of a CSV file, whatever its separator; those in `text` as text.

    Raises
    ------
    DataError
        As `read_rows`.
    """
    types: Any = dict.fromkeys(text, str)
    # all columns: with some of them pandas does not see that a row is too long
    frame = read_rows(
        file, what, sep=separator_of(file), nrows=nrows, dtype=types, skipinitialspace=True
    )
    return (
        frame if names is None else frame[[name for name in frame if name in names or name in text]]
    )


def line_of(file: Path, row: int, header: int) -> int:
    """Return the line, from 1, of a row of data, from 0, below `header` lines.

    Empty lines are no rows.
    """
    with open(file, "rb") as stream:
        full = (number for number, line in enumerate(stream, 1) if number > header and line.strip())
        return next((number for k, number in enumerate(full) if k == row), header + 1 + row)


def parse_stamps(
    values: Any,
    what: str,
    line: Line | None = None,
    strict: bool = True,
    zone: str | None = None,
) -> pd.DatetimeIndex:
    """Return dates, or text with dates, without a zone.

    As days, or in UTC where there are several on a day.

    A day is the one that the file writes: ``2000-01-01T00:00+01:00`` is the first of January,
    whatever day it is in UTC then.

    Parameters
    ----------
    values : array_like, [time]
        datetime64, or text such as 2000-01-31, 20000131, 2000-01-31 00:00:00+00:00.
    what : str
        Where they stand, for the message.
    line : callable, optional
        Gives the line of a row.
    strict : bool
        Whether text that is no date is an error; else it is NaT.
    zone : str, optional
        Time zone of times that state none, such as "America/Denver" or "-07:00"; UTC by default.

    Raises
    ------
    DataError
        A date that is none, with its line and text; times with and without a zone, or a zone that
        is none.
    """
    if getattr(values, "dtype", np.dtype(object)).kind == "M":
        return _in_utc(pd.DatetimeIndex(values), zone, what)
    given = pd.Series(values).map(
        lambda value: value.decode() if isinstance(value, bytes) else value
    )
    given = given.astype("string").str.strip()
    with_time = given.str.contains(":", na=False)
    text = given.where(~with_time, given.str.replace(ZONE, "", regex=True))
    # year first: of 01.02.2000 nobody knows whether it is in January
    found = pd.to_datetime(text, errors="coerce", format="ISO8601")
    if strict and found.isna().any():
        row = int(np.flatnonzero(found.isna())[0])
        place = f"line {line(row)}" if line else f"row {row + 1}"
        shown = (
            "no date"
            if pd.isna(given[row]) or not given[row]
            else f"the invalid date {given[row]!r}"
        )
        raise DataError(
            f"{what} has {shown} in {place}; correct the file, with dates such as 2000-01-31."
        )
    dates = pd.DatetimeIndex(found)
    stated = given.str.contains(ZONE).fillna(False) & with_time.fillna(False)
    if not stated.any() or not several_a_day(dates):
        return _in_utc(dates, zone, what)
    if not stated.all():
        raise DataError(f"{what} has times with and without a time zone; give all of them one.")
    return pd.DatetimeIndex(
        pd.to_datetime(given, utc=True, errors="coerce", format="ISO8601")
    ).tz_localize(None)


def several_a_day(times: pd.DatetimeIndex) -> bool:
    """Return whether some day has several different times."""
    return bool(times.nunique() > times.normalize().nunique())


def _in_utc(times: pd.DatetimeIndex, zone: str | None, what: str) -> pd.DatetimeIndex:
    if zone is None or not several_a_day(times):
        return times
    try:
        given: Any = zone
        if re.fullmatch(r"[+-]\d\d:?\d\d", zone):
            given = pd.Timestamp(f"2000-01-01T00:00{zone}").tzinfo
        local = times.tz_localize(given, ambiguous="infer")
    except Exception as error:  # of zoneinfo and pandas, which have no common class
        raise DataError(
            f"times of {what} cannot be read in the time zone {zone!r} ({error}); name it as "
            "America/Denver or -07:00."
        ) from error
    return local.tz_convert("UTC").tz_localize(None)


def numbers_of(
    frame: pd.DataFrame,
    days: pd.Index,
    site: str,
    file: Path,
    line: Line,
    observed: Collection[str],
) -> pd.DataFrame:
    """Return a table with text turned into numbers.

    In `observed` columns a word is a missing value, and a `DataWarning` counts them; anywhere else
    it is an error, and so are numbers with commas everywhere.

    Parameters
    ----------
    frame : DataFrame
        Rows of a file.
    days : Index, [row]
        Their times, or numbers of points.
    site, file, line
        For messages; `line` gives the line of a row.
    observed : collection of str
        Names of columns.

    Raises
    ------
    DataError
        With site, file, line and date.
    """
    changed = {}
    for name in (name for name in frame if frame[name].dtype.kind not in "fiu"):
        text = frame[name].astype("string").str.strip()
        numbers = pd.to_numeric(text, errors="coerce").astype(float)
        words = (numbers.isna() & text.notna() & (text != "")).to_numpy(bool)
        comma = text.str.fullmatch(COMMA).fillna(False).to_numpy(bool)
        changed[name] = numbers.to_numpy(float, na_value=np.nan)
        if not words.any():
            continue
        row = int(np.flatnonzero(comma if comma.any() else words)[0])
        place = f"in line {line(row)} of {file}, {stamp(days[row])}"
        if comma.any():
            raise DataError(
                f"{name} of {site} is {text[row]!r}, a number with a comma, {place}; {PLAIN}"
            )
        if name not in observed:
            raise DataError(
                f"{name} of {site} is {text[row]!r}, no number, {place}; correct it, or download "
                "it again."
            )
        count = int(words.sum())
        warnings.warn(
            f"{name} of {site} is text on {count} {'days' if count > 1 else 'day'}, first "
            f"{text[row]!r} {place}; text counts as missing.",
            DataWarning,
            stacklevel=2,
        )
    return frame.assign(**changed)
