"""The one xarray form of station records, and the checks that a record must pass before it is used.

Dimensions ``station``, ``time`` (daily, increasing) and ``depth`` (m, positive down); coordinates ``lat`` and
``lon`` in degrees; every variable carries a CF ``units`` attribute.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from pydiffgeo.data.variables import SPELLINGS, VARIABLES, find_impossible, limits
from pydiffgeo.errors import DataError, UnitError

FORCING = (
    "precipitation",
    "tair_mean",
    "tair_min",
    "tair_max",
    "shortwave_down",
    "rh_mean",
    "rh_min",
    "rh_max",
)
OBSERVED = ("soil_moisture",)


def check_stations(records: xr.Dataset) -> xr.Dataset:
    """Return `records` unchanged if it has the station form and nothing impossible; missing values (NaN) are allowed here.

    Parameters
    ----------
    records : xarray.Dataset
        Dimensions station, time, depth; see `FORCING` and `OBSERVED` for variables, `variables.VARIABLES` for units and ranges.

    Raises
    ------
    DataError
        As `check_form`, or a value lies outside what nature allows; station, date and value are named.
    UnitError
        A variable is in another unit, or has none.
    """
    check_form(records)
    for name in (*FORCING, *OBSERVED):
        _check_range(records[name])
    return records


def check_form(records: xr.Dataset) -> xr.Dataset:
    """Return `records` unchanged if it has variables, dimensions, days and units of the station form, whatever its values.

    Raises
    ------
    DataError
        A variable or dimension is missing, times are unordered, repeated or not daily, or a station is listed twice.
    UnitError
        A variable is in another unit, or has none.
    """
    for name in (*FORCING, *OBSERVED):
        if name not in records:
            raise DataError(
                f"variable {name!r} is missing from the records; expected {', '.join((*FORCING, *OBSERVED))}."
            )
        if set(records[name].dims) != set(_dims(name)):
            raise DataError(
                f"{name!r} has dimensions {records[name].dims}, expected {_dims(name)}."
            )
    if "lat" not in records.coords:
        raise DataError(
            "coordinate 'lat' (degrees north, per station) is missing; radiation geometry needs it."
        )
    _check_index(records)
    for name in (*FORCING, *OBSERVED):
        check_unit(records[name], VARIABLES[name].unit)
    return records


def _dims(name: str) -> tuple[str, ...]:
    return ("station", "time", "depth") if name in OBSERVED else ("station", "time")


def _check_index(records: xr.Dataset) -> None:
    stations = pd.Index(records.station.values)
    if stations.has_duplicates:
        raise DataError(
            f"station {stations[stations.duplicated()][0]!r} occurs twice; keep one record per station."
        )
    times = pd.DatetimeIndex(records.time.values)
    if times.has_duplicates:
        day = times[times.duplicated()][0]
        raise DataError(f"date {day:%Y-%m-%d} occurs twice; keep one record per day.")
    steps = np.diff(times.values).astype("timedelta64[s]").astype(int)
    if (steps < 0).any():
        day = times[1:][steps < 0][0]
        raise DataError(
            f"times are unordered: {day:%Y-%m-%d} comes after a later date; sort with .sortby('time')."
        )
    if (steps != 86400).any():
        first = int(np.flatnonzero(steps != 86400)[0])
        raise DataError(
            f"times are not daily: {times[first]} is followed by {times[first + 1]}; "
            "reindex to every day and let missing days be NaN."
        )
    if (np.diff(records.depth.values) <= 0).any():
        raise DataError(
            f"depths {records.depth.values} are not increasing; sort with .sortby('depth')."
        )


def check_unit(values: xr.DataArray, unit: str) -> None:
    """Raise UnitError if `values` does not state `unit`, in any of its spellings."""
    found = values.attrs.get("units")
    if found not in SPELLINGS[unit]:
        what = "no unit" if found is None else f"unit {found!r}"
        raise UnitError(
            f"{values.name!r} has {what}, expected {unit!r}; convert it and set attrs['units']."
        )


def _check_range(values: xr.DataArray) -> None:
    name = str(values.name)
    ordered = values.transpose(*_dims(name))
    array = ordered.values
    bad = find_impossible(name, array)
    if bad.any():
        index = tuple(np.argwhere(bad)[0])
        lower, upper = limits(name)
        raise DataError(
            f"{name!r} is {array[index]:g} {VARIABLES[name].unit} at {place(ordered, index)}, outside "
            f"[{lower:g}, {upper:g}]; correct it, or set it to NaN if it is unknown."
        )


def place(values: xr.DataArray, index: tuple[int, ...]) -> str:
    """Return "station 03047 on 2020-02-19 at 0.05 m" for an index into `values`."""
    station, day = values.station.values[index[0]], values.time.values[index[1]]
    depth = f" at {values.depth.values[index[2]]:g} m" if len(index) > 2 else ""
    return f"station {station} on {str(day)[:10]}{depth}"


def missing_forcing(
    records: xr.Dataset, names: Iterable[str] = FORCING
) -> list[tuple[str, str, str]]:
    """Return (variable, station or basin, date) of every missing value of the forcing `names`, in that order."""
    found = []
    for name in names:
        values = records[name].transpose(site_dimension(records), "time")
        for i, j in np.argwhere(np.isnan(values.values)):
            found.append(
                (name, str(values[values.dims[0]].values[i]), str(values.time.values[j])[:10])
            )
    return found


def site_dimension(records: xr.Dataset) -> str:
    """Return "basin" for records in the basin form, "station" for those in the station form."""
    return "basin" if "basin" in records.dims else "station"


def require_complete(records: xr.Dataset, names: Iterable[str] = FORCING) -> xr.Dataset:
    """Return `records` if no value of the forcing `names` is missing.

    Raises
    ------
    DataError
        Missing values, listed by variable, station or basin, and date (the first ten), with the count of all.
    """
    missing = missing_forcing(records, names)
    if missing:
        site = site_dimension(records)
        listed = "; ".join(
            f"{name} at {site} {place} on {day}" for name, place, day in missing[:10]
        )
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise DataError(
            f"{len(missing)} forcing values are missing: {listed}{more}. Fill them yourself, allow filling "
            f"in the settings (`gaps`), or leave the {site} out."
        )
    return records


def runs(flags: ArrayLike) -> list[tuple[int, int]]:
    """Return (first, last) position of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.asarray(flags).astype(np.int8), [0]))))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]
