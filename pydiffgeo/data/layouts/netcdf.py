"""One netCDF file or zarr folder with dimensions for sites and times.

Also what `write_sites` writes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.form import unit_of
from pydiffgeo.data.layouts.netcdf_files import open_netcdf, values_of
from pydiffgeo.data.layouts.regular_times import step_between
from pydiffgeo.data.layouts.series import time_dimension
from pydiffgeo.data.layouts.source import (
    Column,
    Request,
    Source,
    base_of,
    column,
    names_of,
    wanted_sites,
)
from pydiffgeo.data.layouts.text import parse_stamps
from pydiffgeo.data.network import DOWNSTREAM
from pydiffgeo.data.variables import VARIABLES, convert, daylight_mean, unit_changes
from pydiffgeo.errors import DataError, UnitError, repeated
from pydiffgeo.units import conversion, same_unit

LABELS = (
    "site",
    "basin",
    "station",
    "gauge_id",
    "station_id",
    "catchment",
    "basin_id",
    "site_id",
    "pixel",
    "reach",
    "segment",
    "location",
    "curve",
    "curve_id",
)


def recognises(path: Path) -> bool:
    """Return whether the path is a netCDF file."""
    return path.is_file() and path.suffix in (".nc", ".nc4", ".cdf", ".h5")


def recognises_zarr(path: Path) -> bool:
    """Return whether the path is a zarr folder."""
    marks = (".zgroup", ".zmetadata", "zarr.json")
    return path.is_dir() and any((path / mark).is_file() for mark in marks)


def open_source(path: Path, request: Request) -> Source:
    """Return a netCDF file with all sites as a source; raises as `source_of`."""
    return source_of(open_netcdf(path), path, request)


def open_zarr(path: Path, request: Request) -> Source:
    """Return a zarr folder with all sites as a source.

    Raises as `source_of`, and DataError where zarr is not installed.
    """
    try:
        opened = xr.open_zarr(path, decode_timedelta=False, consolidated=False)
    except (ImportError, ValueError) as error:
        raise DataError(
            f"{path} is a zarr folder ({error}); install the package zarr (`pip install "
            "pydiffgeo[zarr]`), or convert it to netCDF."
        ) from error
    # text as netCDF files give it
    texts = {n: v.astype(object) for n, v in opened.variables.items() if v.dtype.kind == "T"}
    return source_of(opened.assign(texts), path, request)


def source_of(file: xr.Dataset, path: Path, request: Request) -> Source:
    """Return an opened file with all sites as a source.

    Radiation that its attributes call a mean over daylight becomes the sum of the day with the day
    length of its latitude (Allen et al. 1998, FAO-56, eq. 34). Variables with a dimension ``depth``
    (m, or a unit that converts) become profiles.

    Raises
    ------
    DataError
        The file cannot be read or has no dimensions for sites and times.
    UnitError
        Known variables have no unit, or one that does not convert.
    """
    label = next((name for name in LABELS if name in file.dims), None)
    if label is None or label not in file.variables:
        raise DataError(
            f"{path} has no dimension for sites with identifiers; it has "
            f"{', '.join(map(str, file.dims))}, and one of {', '.join(LABELS)} is needed."
        )
    moment = "point" if "point" in file.dims else time_dimension(file, str(path))
    known = [
        value.decode() if isinstance(value, bytes) else str(value) for value in file[label].values
    ]
    rows = {site: i for i, site in enumerate(known)}
    if twice := repeated(known):
        raise DataError(f"site {twice[0]!r} occurs twice in {path}; keep one record per site.")
    sites = wanted_sites(known, request.sites, path)
    times: pd.Index = pd.RangeIndex(file.sizes[moment])
    step = pd.Timedelta(0)
    if moment != "point":
        stamps = parse_stamps(file[moment].values, str(path), zone=request.zone)
        times = request.index(stamps, str(path))
        step = step_between(stamps)
    natives = [
        str(name)
        for name, values in file.data_vars.items()
        if set(values.dims) - {"depth"} == {label, moment} and values.dtype.kind in "fiu"
    ]
    names = names_of(natives, request, path)
    units = {native: request.unit(native, unit_of(file[native])) for native in natives}
    # a discharge that drives a model, of a stream, is no depth per time either
    drives = any(
        n == "discharge" and file[native].attrs.get("role") == "forcing"
        for native, n in names.items()
    )
    river = request.river or DOWNSTREAM in file.variables or drives
    factors = unit_changes(names, units, path.name, river)
    depths = _depths(file, path)
    static = _attributes(file, label, path, depths)
    # integers of a known variable are numbers all the same, packed or rounded
    flags = {
        n for n in natives if np.issubdtype(file[n].dtype, np.integer) and names[n] not in VARIABLES
    }
    # without coordinates, indexing is faster
    series = {native: file[native].variable for native in natives}
    columns: dict[str, Column] = {}
    columns_of: dict[str, list[str]] = {}
    for native in natives:
        given, name = file[native], names[native]
        own = column(name, units[native])
        if "role" in given.attrs:
            own = Column({**own.attributes, "role": given.attrs["role"]})
        if native in flags:
            fill = given.attrs.get("flag_values", [np.iinfo(given.dtype).min])
            own = Column(dict(given.attrs), str(given.dtype), float(np.max(fill)))
        columns_of[native] = (
            [f"{name}@{depth:g}" for depth in depths] if "depth" in given.dims else [name]
        )
        columns |= dict.fromkeys(columns_of[native], own)

    @cache
    def daylight() -> NDArray:
        return _daylight(known, static)

    def read(site: str, wanted: Collection[str]) -> pd.DataFrame:
        frame: dict[str, NDArray] = {}
        for native in natives:
            if not any(name in wanted for name in columns_of[native]):
                continue
            values = series[native][{label: rows[site]}].transpose(moment, ...)
            numbers = values_of(values, native, path)
            if native not in flags:
                numbers = convert(numbers, *factors[native])
            whole_day = same_unit(units[native] or "", "MJ m-2 d-1")
            if names[native] == "shortwave_down" and not whole_day and daylight_mean(values.attrs):
                share = daylight()[pd.DatetimeIndex(times).dayofyear.to_numpy() - 1, rows[site]]
                if np.isnan(share).any():
                    raise DataError(
                        f"the radiation of site {site} in {path} is a mean over daylight and needs "
                        "its latitude ('gauge_lat') to become the sum of the day; add it, or "
                        "leave the variable or the site out."
                    )
                numbers = numbers * share
            frame |= dict(zip(columns_of[native], numbers.reshape(len(times), -1).T, strict=True))
        return pd.DataFrame(frame, index=times)

    place = np.array([rows[site] for site in sites], np.int64)

    def block(
        wanted_rows: NDArray, wanted_times: pd.Index, wanted: Collection[str]
    ) -> dict[str, NDArray] | None:
        first = int(times.searchsorted(wanted_times[0]))
        span = slice(first, first + len(wanted_times))
        if not times[span].equals(wanted_times):  # times that lack, or lie in between
            return None
        found: dict[str, NDArray] = {}
        at = {label: _run_of(place[wanted_rows]), moment: span}
        for native in (native for native in natives if names[native] in wanted):
            values = values_of(series[native][at].transpose(label, moment), native, path)
            found[names[native]] = values if native in flags else convert(values, *factors[native])
        return found

    def span(site: str) -> tuple[pd.Timestamp, pd.Timestamp]:
        return times[0], times[-1]

    attribute_units = {
        base_of(str(n)): unit
        for n in static
        if base_of(str(n)) in file and (unit := unit_of(file[base_of(str(n))])) is not None
    }
    attrs = {
        key: str(file.attrs[key]) for key in ("title", "source", "license") if key in file.attrs
    }
    # profiles, and radiation that may depend on the latitude, are read site by site
    plain = not depths and "shortwave_down" not in names.values()
    source = Source(sites, columns, read, span, static, attribute_units, attrs, step)
    return replace(source, block=block) if plain else source


def _run_of(places: NDArray) -> NDArray | slice:
    """Return places in a file, as a slice where they follow each other, which is read quicker."""
    if len(places) and (np.diff(places) == 1).all():
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def _depths(file: xr.Dataset, path: Path) -> list[float]:
    """Return the depths of profiles, m; positions where the file gives none."""
    if "depth" not in file.dims:
        return []
    if "depth" not in file.coords:
        raise DataError(f"the dimension 'depth' of {path} has no coordinate; give the depths in m.")
    unit = unit_of(file.depth) or "m"
    change = conversion(unit, "m")
    if change is None:
        raise UnitError(f"the depths of {path} have unit {unit!r}, expected 'm'; convert them.")
    return [float(depth) for depth in np.abs(convert(file.depth.values, *change)).round(6)]


def _attributes(
    file: xr.Dataset, label: str, path: Path, depths: Collection[float]
) -> pd.DataFrame:
    found: dict[str, NDArray] = {}
    for n, v in file.variables.items():
        if v.dims == (label,) and n != label:
            found[str(n)] = values_of(v, str(n), path)
        elif set(v.dims) == {label, "depth"}:
            levels = values_of(v.transpose("depth", label), str(n), path)
            found |= {f"{n}@{depth:g}": one for depth, one in zip(depths, levels, strict=True)}
    return pd.DataFrame(found, index=file[label].values.astype(str))


def _daylight(sites: list[str], static: pd.DataFrame) -> NDArray:
    """Return the share of daylight in each day of a leap year, [day, site].

    It depends on the day of the year alone.

    NaN where the latitude is unknown.
    """
    import pyet

    named = next((name for name in ("lat", "gauge_lat") if name in static), None)
    latitude = np.full(len(sites), np.nan) if named is None else static[named].to_numpy(float)
    grid = xr.DataArray(np.deg2rad(latitude)[:, None], dims=("y", "x"))
    days = pd.date_range("2000-01-01", "2000-12-31")
    return np.asarray(pyet.daylight_hours(days, grid))[:, :, 0] / 24.0
