"""Own CSV files: one with a column for the site, or one for each site; attributes in another."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pydiffgeo.data.form import DAY
from pydiffgeo.data.layouts.netcdf import LABELS
from pydiffgeo.data.layouts.regular_times import step_between
from pydiffgeo.data.layouts.series import has_numbers
from pydiffgeo.data.layouts.source import (
    Request,
    Source,
    base_of,
    column,
    first_readable,
    names_of,
    wanted_sites,
)
from pydiffgeo.data.layouts.tables_of_sites import join_tables, read_table
from pydiffgeo.data.layouts.text import line_of, numbers_of, parse_stamps, read_csv
from pydiffgeo.data.network import DOWNSTREAM
from pydiffgeo.data.variables import OBSERVED, VARIABLES, canonical_name, convert, unit_changes
from pydiffgeo.errors import DataError

SITES = (*LABELS, "id", "name")
TIMES = ("time", "date", "datetime", "timestamp", "time_end", "valid_time")
TABLE = re.compile(r"(^|_)(attributes|sites)(_|$)")  # names of files of attributes
HEADER = re.compile(r"^(.*?)\s*[\[(]([^\])]*)[\])]$")


class _Table(NamedTuple):
    """A file of series: its names of the columns for site and time, None where it has none, and of
    the others.
    """

    file: Path
    site: str | None
    time: str | None
    natives: list[str]


def recognises(path: Path) -> bool:
    """Return whether the path is a CSV file or a folder with some."""
    if path.is_dir():
        return any(path.glob("*.csv"))
    return path.suffix == ".csv"


def open_source(path: Path, request: Request) -> Source:
    """Return own CSV files as a source.

    A file whose name has the word "attributes" or "sites" has a row for each site; other files of
    the folder have series. A column called site, basin, station ... tells the site, else the name
    of the file does; one called time, date ... tells the time, and without one the rows are points.
    Units stand in brackets behind names ("P [mm/d]"), or in `units`. `names` may give these columns
    their names, too: ``names={"gauge": "site", "day": "time", "P": "precipitation"}``.

    Raises
    ------
    DataError
        No series, or a file that cannot be read; site, date, file and line are named.
    UnitError
        Known variables have no unit, or one that does not convert.
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    tables = [file for file in files if path.is_dir() and TABLE.search(file.stem.lower())]
    series = [file for file in files if file not in tables]
    if not series:
        raise DataError(f"{path} has no CSV file with series; attributes alone are not enough.")

    @cache
    def table_of(file: Path) -> _Table:
        return _table(file, request)

    _, first = first_readable(series, table_of)
    parts = {native: _parted(native) for native in first.natives}
    names = names_of(list(parts), Request(names={n: _name(n, request) for n in parts}), first.file)
    units = {native: _unit(native, names[native], request) for native in names}

    @cache
    def rows_of(file: Path) -> dict[str, pd.DataFrame]:
        """Return the rows of each site of a file, as text where they are not numbers."""
        table = table_of(file)
        named = [name for name in (table.site, table.time) if name is not None]
        frame = read_csv(file, f"the series in {file.name}", named)
        if table.site is None:
            return {file.stem: frame}
        if frame[table.site].isna().any():
            row = int(frame[table.site].isna().argmax())
            raise DataError(
                f"{file} has no site in line {line_of(file, row, 1)}; write it, or delete the line."
            )
        # text, with the zeros that a number would lose
        keys = frame[table.site].str.strip()
        return {str(site): rows for site, rows in frame.groupby(keys, sort=False)}

    places: dict[str, Path] = {}
    for file in series:
        # a file with one site is named by it, and read when it is needed
        found = [file.stem] if first.site is None else list(rows_of(file))
        for site in found:
            if site in places:
                raise DataError(
                    f"site {site!r} stands in {places[site].name} and {file.name}; keep it in one "
                    "file."
                )
            places[site] = file
    sites = wanted_sites(list(places), request.sites, path)
    attributes, attribute_units = _attributes(tables, places, request)
    factors = unit_changes(
        {native: base_of(name) for native, name in names.items()},
        units,
        first.file.name,
        request.river or DOWNSTREAM in attributes,
    )

    def read(site: str, wanted: Collection[str]) -> pd.DataFrame:
        file = places[site]
        table, rows = table_of(file), rows_of(file)[site]
        lines = rows.index.to_numpy()
        if rows.empty:
            raise DataError(f"{file} has a header and no rows; leave the site out.")

        def line(row: int) -> int:
            return line_of(file, int(lines[row]), 1)

        index = _index(rows, table, request, f"the series of site {site} ({file.name})", line)
        chosen = [native for native in names if names[native] in wanted]
        for native in [native for native in chosen if native not in rows]:
            # one that nobody knows may be missing at a site
            rows = rows.assign(**{native: np.nan})
            if base_of(names[native]) in VARIABLES or native in request.names:
                raise DataError(
                    f"site {site} has no column {native!r}, which {first.file.name} has: {file}; "
                    "add it, empty where it is unknown."
                )
        observed = [native for native in chosen if base_of(names[native]) in OBSERVED]
        frame = numbers_of(
            rows[chosen].reset_index(drop=True), index, f"site {site}", file, line, observed
        )
        frame = frame.assign(**{n: convert(frame[n].to_numpy(), *factors[n]) for n in chosen})
        return frame.set_index(index).rename(columns=names)

    @cache
    def span(site: str) -> tuple[pd.Timestamp, pd.Timestamp]:
        index = read(site, ()).index
        return index[0], index[-1]

    _, index = first_readable(sites, lambda site: read(site, ()).index)
    step = step_between(index) if isinstance(index, pd.DatetimeIndex) else DAY * 0
    columns = {names[native]: column(names[native], units[native]) for native in names}
    attrs = {"title": path.stem}
    return Source(sites, columns, read, span, attributes, attribute_units, attrs, step)


def _header(file: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns of a file, and those that have numbers or none at all."""
    frame = read_csv(file, f"the series in {file.name}", (), nrows=100)
    columns = tuple(map(str, frame.columns))
    numbers = (
        name
        for name in columns
        if canonical_name(_parted(name)[0]) in VARIABLES or has_numbers(frame[name])
    )
    return columns, tuple(numbers)


def _table(file: Path, request: Request) -> _Table:
    columns, numbers = _header(file)
    request.seen.update(columns, (_parted(name)[0] for name in columns))
    told = {name: native for native, name in request.names.items()}
    site = _one_of(columns, told.get("site"), SITES)
    time = _one_of(columns, told.get("time"), TIMES)
    return _Table(file, site, time, [name for name in numbers if name not in (site, time)])


def _one_of(columns: Collection[str], told: str | None, known: Collection[str]) -> str | None:
    if told in columns:
        return told
    return next((name for name in columns if name.lower() in known), None)


def _parted(native: str) -> tuple[str, str | None]:
    """Return the name and the unit in brackets of a column."""
    found = HEADER.match(native)
    return (found[1], found[2]) if found else (native, None)


def _name(native: str, request: Request) -> str:
    bare = _parted(native)[0]
    return request.names.get(native, request.names.get(bare, canonical_name(bare)))


def _unit(native: str, name: str, request: Request) -> str | None:
    bare, unit = _parted(native)
    told = (
        request.units[key] for key in (native, bare, name, base_of(name)) if key in request.units
    )
    return next(told, unit)


def _index(
    rows: pd.DataFrame, table: _Table, request: Request, what: str, line: object
) -> pd.DatetimeIndex:
    if table.time is None:
        return pd.RangeIndex(len(rows))  # type: ignore[return-value]
    stamps = parse_stamps(rows[table.time].reset_index(drop=True), what, line, zone=request.zone)  # type: ignore[arg-type]
    return request.index(stamps, what, line)  # type: ignore[arg-type]


def _attributes(
    files: Collection[Path], sites: Mapping[str, Path], request: Request
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return attributes by site, and the units in brackets behind their names."""
    table = join_tables([read_table(file, sites) for file in files], "the folder")
    parts = {str(name): _parted(str(name)) for name in table.columns}
    request.seen.update(parts, (bare for bare, _ in parts.values()))
    names = {
        name: request.names.get(name, request.names.get(bare, bare))
        for name, (bare, _) in parts.items()
    }
    units = {names[name]: _unit(name, names[name], request) for name in parts}
    table = table.rename(columns=names).replace({"": np.nan})
    return table, {name: unit for name, unit in units.items() if unit is not None}
