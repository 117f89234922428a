"""One netCDF file with dimensions site and time; also what `write_sites` writes."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.layouts.series import series_names, time_dimension, unit_of
from pydiffgeo.data.layouts.source import (
    Column,
    Request,
    Source,
    column,
    daily_index,
    open_netcdf,
    values_of,
    wanted_sites,
)
from pydiffgeo.data.layouts.text import parse_days
from pydiffgeo.data.variables import VARIABLES, conversion, convert, daylight_mean
from pydiffgeo.errors import DataError

LABELS = ("site", "basin", "station", "gauge_id", "station_id", "catchment", "basin_id")


def recognises(path: Path) -> bool:
    """Return whether the path is a netCDF file."""
    return path.is_file() and path.suffix in (".nc", ".nc4", ".cdf", ".h5")


def open_source(path: Path, request: Request) -> Source:
    """Return a file with all sites as a source.

    Radiation that its attributes call a mean over daylight becomes the sum of the day with the day length of its latitude
    (Allen et al. 1998, FAO-56, eq. 34).

    Raises
    ------
    DataError
        The file cannot be read or has no dimensions for sites and days.
    UnitError
        A known variable has no unit, or one that does not convert.
    """
    file = open_netcdf(path)
    label = next((name for name in LABELS if name in file.dims), None)
    if label is None or label not in file.variables:
        raise DataError(
            f"{path} has no dimension for sites with identifiers; it has {', '.join(map(str, file.dims))}, and one of "
            f"{', '.join(LABELS)} is needed."
        )
    moment = time_dimension(file, str(path))
    known = [
        value.decode() if isinstance(value, bytes) else str(value) for value in file[label].values
    ]
    rows = {site: i for i, site in enumerate(known)}
    if len(rows) < len(known):
        twice = next(site for site in known if known.count(site) > 1)
        raise DataError(f"site {twice!r} occurs twice in {path}; keep one record per site.")
    sites = wanted_sites(known, request.sites, path)
    days = daily_index(parse_days(file[moment].values, str(path)), str(path))
    natives = series_names(file, label, moment)
    names = {native: request.name(native) for native in natives}
    if len(set(names.values())) < len(names):
        twice = next(n for n in names.values() if list(names.values()).count(n) > 1)
        raise DataError(
            f"two variables of {path} are {twice!r}; tell them apart with names={{...}}."
        )
    units = {native: request.unit(native, unit_of(file[native])) for native in natives}
    factors = {
        native: conversion(names[native], units[native], f"{native!r} of {path.name}")
        for native in natives
    }
    static = _attributes(file, label, path)
    # integers of a known variable are numbers all the same, packed or rounded
    flags = {
        n for n in natives if np.issubdtype(file[n].dtype, np.integer) and names[n] not in VARIABLES
    }
    series = {
        native: file[native].variable for native in natives
    }  # without coordinates, indexing is faster

    @cache
    def daylight() -> NDArray:
        return _daylight(known, static)

    def read(site: str, wanted: Collection[str]) -> pd.DataFrame:
        frame = {}
        for native in (native for native in natives if names[native] in wanted):
            values = series[native][{label: rows[site]}]
            if native in flags:
                frame[names[native]] = values_of(values, native, path)
                continue
            numbers = convert(values_of(values, native, path), *factors[native])
            if (
                names[native] == "shortwave_down"
                and units[native] != "MJ m-2 day-1"
                and daylight_mean(values.attrs)
            ):
                share = daylight()[days.dayofyear.to_numpy() - 1, rows[site]]
                if np.isnan(share).any():
                    raise DataError(
                        f"the radiation of site {site} in {path} is a mean over daylight and needs its latitude "
                        "('gauge_lat') to become the sum of the day; add it, or leave the variable or the site out."
                    )
                numbers = numbers * share
            frame[names[native]] = numbers
        return pd.DataFrame(frame, index=days)

    def span(site: str) -> tuple[pd.Timestamp, pd.Timestamp]:
        return days[0], days[-1]

    columns = {}
    for native in natives:
        given, name = file[native], names[native]
        columns[name] = column(name, units[native])
        if native in flags:
            fill = given.attrs.get("flag_values", [np.iinfo(given.dtype).min])
            columns[name] = Column(dict(given.attrs), str(given.dtype), float(np.max(fill)))
    attribute_units = {
        str(n): unit for n in static if n in file and (unit := unit_of(file[n])) is not None
    }
    attrs = {
        key: str(file.attrs[key]) for key in ("title", "source", "license") if key in file.attrs
    }
    return Source(sites, columns, read, span, static, attribute_units, attrs)


def _attributes(file: xr.Dataset, label: str, path: Path) -> pd.DataFrame:
    per_site = {
        str(n): values_of(v, str(n), path)
        for n, v in file.variables.items()
        if v.dims == (label,) and n != label
    }
    return pd.DataFrame(per_site, index=file[label].values.astype(str))


def _daylight(sites: list[str], static: pd.DataFrame) -> NDArray:
    """Return the share of daylight in each day of a leap year, [day, site]: it depends on the day of the year alone.

    NaN where the latitude is unknown.
    """
    import pyet

    named = next((name for name in ("lat", "gauge_lat") if name in static), None)
    latitude = np.full(len(sites), np.nan) if named is None else static[named].to_numpy(float)
    grid = xr.DataArray(np.deg2rad(latitude)[:, None], dims=("y", "x"))
    days = pd.date_range("2000-01-01", "2000-12-31")
    return np.asarray(pyet.daylight_hours(days, grid))[:, :, 0] / 24.0
