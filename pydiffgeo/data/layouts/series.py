"""Time series of one basin in one file, netCDF or CSV, with a column or dimension ``date``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd
import xarray as xr

from pydiffgeo.data.layouts.base import daily_index, open_netcdf
from pydiffgeo.errors import DataError

TIMES = ("date", "time")


def read_series(file: Path, basin: str, names: Collection[str] | None = None, nrows: int | None = None) -> pd.DataFrame:
    """Return the numbers of a file by day, as they stand in it.

    Parameters
    ----------
    file : Path
        Ends in .csv, .nc or .nc4.
    basin : str
        For messages.
    names : collection of str, optional
        Variables to read, those that are there; all by default.
    nrows : int, optional
        Read only the first days.

    Raises
    ------
    DataError
        The file cannot be read, has no dates, or has them twice or out of order; basin, date and file are named.
    """
    if file.suffix == ".csv":
        try:
            frame = pd.read_csv(file, nrows=nrows, usecols=lambda name: names is None or name in names or name in TIMES)
        except (OSError, ValueError) as error:
            raise DataError(f"the series of basin {basin} cannot be read ({error}): {file}; download it again.") from error
        label = next((name for name in TIMES if name in frame), None)
        if label is None:
            raise DataError(f"{file} has no column 'date'; its columns are {', '.join(map(str, frame.columns))}.")
        times = pd.DatetimeIndex(pd.to_datetime(frame.pop(label), errors="coerce"))
    else:
        with open_netcdf(file) as opened:
            label = time_dimension(opened, str(file))
            part = opened if nrows is None else opened.isel({label: slice(nrows)})
            there = [n for n, v in part.data_vars.items() if v.dims == (label,) and (names is None or n in names)]
            frame = pd.DataFrame({str(n): part[n].values for n in there}, index=range(part.sizes[label]))
            times = pd.DatetimeIndex(part[label].values)
    return frame.set_index(daily_index(times, f"the series of basin {basin} ({file.name})"))


def ends_of_csv(file: Path) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the first and last date of a CSV file whose first column is the date, from its first and last line.

    Raises
    ------
    DataError
        There is no date.
    """
    with open(file, "rb") as stream:
        stream.readline()
        start = stream.readline()
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 8192))
        end = stream.read().strip().splitlines()[-1]
    try:
        dates = [pd.Timestamp(line.split(b",")[0].decode()).normalize() for line in (start, end)]
    except ValueError as error:
        raise DataError(f"{file} begins or ends without a date in its first column ({error}); download it again.") from error
    return dates[0], dates[1]


def time_dimension(opened: xr.Dataset, what: str) -> str:
    """Return the name of the time dimension.

    Raises
    ------
    DataError
        There is none with dates.
    """
    for name in TIMES:
        if name in opened.dims and name in opened.coords:
            if opened[name].dtype.kind == "M":
                return name
            raise DataError(f"{name!r} of {what} has no dates; give it CF units such as 'days since 1980-01-01'.")
    raise DataError(f"{what} has no dimension 'time' or 'date' with a coordinate; it has {', '.join(map(str, opened.dims))}.")


def unit_of(values: xr.DataArray) -> str | None:
    """Return the unit that an array states, or None."""
    found = values.attrs.get("units", values.attrs.get("unit"))
    return None if found is None else str(found)
