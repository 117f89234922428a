"""Time series of one site in one file, netCDF or CSV, with a column or dimension ``date``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd
import xarray as xr

from pydiffgeo.data.layouts.netcdf_files import open_netcdf, values_of
from pydiffgeo.data.layouts.source import Request
from pydiffgeo.data.layouts.text import (
    COMMA,
    line_of,
    numbers_of,
    parse_stamps,
    read_csv,
    separator_of,
)
from pydiffgeo.data.variables import VARIABLES, canonical_name
from pydiffgeo.errors import DataError, listed

TIMES = ("date", "time")


def columns_of(file: Path, site: str) -> list[str]:
    """Return the variables with numbers of a file; raises as `read_series`, as far as it reads.

    A column of a CSV file whose first hundred rows are words alone has none, unless its name is
    that of a known variable: a gauge may begin in ice. Decimal commas are numbers here, so that
    `read_series` says where they stand.
    """
    if file.suffix != ".csv":
        with open_netcdf(file) as opened:
            return series_names(opened, time_dimension(opened, str(file)))
    frame = read_csv(file, f"the series of site {site}", TIMES, nrows=100)
    return [
        str(name)
        for name in frame
        if name not in TIMES and (canonical_name(name) in VARIABLES or has_numbers(frame[name]))
    ]


def read_series(
    file: Path,
    site: str,
    names: Collection[str] | None = None,
    observed: Collection[str] = (),
    request: Request | None = None,
) -> pd.DataFrame:
    """Return the numbers of a file by time, as they stand in it.

    Parameters
    ----------
    file : Path
        Ends in .csv, .nc or .nc4.
    site : str
        For messages.
    names : collection of str, optional
        Variables to read, those that are there; all by default.
    observed : collection of str
        Variables in which text, such as "Ice", is a missing value that a `DataWarning` counts;
        elsewhere it is an error.
    request : Request, optional
        Time zone and meaning of times.

    Raises
    ------
    DataError
        The file cannot be read, has no dates, or has them twice or out of order, or has text for a
        number; site, date, file and line are named.
    """
    what = f"the series of site {site} ({file.name})"
    request = request or Request()
    if file.suffix == ".csv":
        frame = read_csv(file, f"the series of site {site}", TIMES, names)
        label = next((name for name in TIMES if name in frame), None)
        if label is None:
            raise DataError(
                f"{file} has no column 'date'; its columns are {listed(frame.columns)}."
            )
        if frame.empty:
            raise DataError(
                f"{what} has a header and no days: {file}; download it again, or leave the site "
                "out."
            )

        def line(row: int) -> int:
            return line_of(file, row, 1)

        days = request.index(
            parse_stamps(frame.pop(label), what, line, zone=request.zone), what, line
        )
        frame = numbers_of(frame, days, f"site {site}", file, line, observed)
        return frame.set_index(days)
    with open_netcdf(file) as opened:
        label = time_dimension(opened, str(file))
        there = [n for n in series_names(opened, label) if names is None or n in names]
        frame = pd.DataFrame(
            {n: values_of(opened[n], n, file) for n in there}, index=range(opened.sizes[label])
        )
        return frame.set_index(
            request.index(parse_stamps(opened[label].values, what, zone=request.zone), what)
        )


def has_numbers(values: pd.Series) -> bool:
    """Return whether some value is a number, or there is none at all."""
    given = values.dropna().astype(str).str.strip()
    return given.empty or bool(
        (pd.to_numeric(given, errors="coerce").notna() | given.str.fullmatch(COMMA)).any()
    )


def series_names(opened: xr.Dataset, *dims: str) -> list[str]:
    """Return the variables with numbers on exactly these dimensions."""
    return [
        str(n)
        for n, v in opened.data_vars.items()
        if set(v.dims) == set(dims) and v.dtype.kind in "fiu"
    ]


def ends_of_csv(file: Path) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the first and last date of a CSV file, from its first and last line.

    Raises
    ------
    DataError
        There is no date.
    """
    separator = separator_of(file)
    with open(file, "rb") as stream:
        header = [
            name.strip(b' \r\n"')
            for name in stream.readline().lstrip(b"\xef\xbb\xbf").split(separator.encode())
        ]
        start = stream.readline()
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 8192))
        lines = stream.read().strip().splitlines()
    column = next((header.index(name.encode()) for name in TIMES if name.encode() in header), 0)
    ends = [line.split(separator.encode()) for line in (start, lines[-1] if lines else b"")]
    text = [
        parts[column].strip(b' \r\n"').decode(errors="replace") if column < len(parts) else ""
        for parts in ends
    ]
    found = parse_stamps(pd.Series(text), str(file), None, strict=False)
    if found.hasnans:
        why = f"{text[0]!r}, {text[1]!r}"
        raise DataError(
            f"{file} begins or ends without a date in its column of dates ({why}); download it "
            "again."
        )
    return found[0].normalize(), found[1].normalize()


def time_dimension(opened: xr.Dataset, what: str) -> str:
    """Return the name of the time dimension.

    Raises
    ------
    DataError
        There is none with dates.
    """
    for name in TIMES:
        if name in opened.dims and name in opened.coords:
            kind, values = opened[name].dtype.kind, opened[name].values
            if kind in "MUS" or (kind == "O" and all(isinstance(value, str) for value in values)):
                return name
            if kind == "O" and hasattr(values[0], "calendar"):
                raise DataError(
                    f"{name!r} of {what} has days of the calendar {values[0].calendar!r}; convert "
                    "them to those of the standard calendar (xarray: .convert_calendar)."
                )
            raise DataError(
                f"{name!r} of {what} has no dates; give it CF units such as 'days since "
                "1980-01-01'."
            )
    raise DataError(
        f"{what} has no dimension 'time' or 'date' with a coordinate; it has "
        f"{', '.join(map(str, opened.dims))}."
    )
