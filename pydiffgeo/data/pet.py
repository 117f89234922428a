"""Potential evapotranspiration from daily weather, computed by pyet (doi:10.5194/gmd-17-7083-2024)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyet
import xarray as xr

from pydiffgeo.data.checks import require_complete
from pydiffgeo.errors import DataError, lookup


def _priestley_taylor(day: pd.DataFrame, latitude: float, elevation: float) -> pd.Series:
    return pyet.priestley_taylor(
        day.tair_mean, rs=day.shortwave_down, tmax=day.tair_max, tmin=day.tair_min,
        rhmax=day.rh_max, rhmin=day.rh_min, elevation=elevation, lat=latitude,
    )  # fmt: skip


def _penman_monteith(day: pd.DataFrame, latitude: float, elevation: float) -> pd.Series:
    # FAO-56 (p. 63) recommends 2 m/s, the average of 2000 weather stations, where wind is not measured.
    wind = pd.Series(2.0, day.index)
    return pyet.pm_fao56(
        day.tair_mean, wind, rs=day.shortwave_down, tmax=day.tair_max, tmin=day.tair_min,
        rhmax=day.rh_max, rhmin=day.rh_min, elevation=elevation, lat=latitude,
    )  # fmt: skip


def _turc(day: pd.DataFrame, latitude: float, elevation: float) -> pd.Series:
    return pyet.turc(day.tair_mean, day.shortwave_down, day.rh_mean)


def _hargreaves(day: pd.DataFrame, latitude: float, elevation: float) -> pd.Series:
    return pyet.hargreaves(day.tair_mean, day.tair_max, day.tair_min, latitude)


def _oudin(day: pd.DataFrame, latitude: float, elevation: float) -> pd.Series:
    return pyet.oudin(day.tair_mean, latitude)


PET_METHODS: dict[str, Callable[[pd.DataFrame, float, float], pd.Series]] = {
    "priestley_taylor": _priestley_taylor,
    "penman_monteith": _penman_monteith,
    "turc": _turc,
    "hargreaves": _hargreaves,
    "oudin": _oudin,
}


def potential_evapotranspiration(
    records: xr.Dataset, method: str = "priestley_taylor", elevation: float | xr.DataArray = 0.0
) -> xr.DataArray:
    """Return daily potential evapotranspiration of each station.

    The default is Priestley and Taylor (1972, doi:10.1175/1520-0493(1972)100<0081:OTAOSH>2.3.CO;2) with the
    net radiation of Allen et al. (1998, FAO-56, eq. 38-40): it uses every measured quantity (radiation,
    temperature, humidity) and none that is not measured, where FAO-56 Penman-Monteith needs a wind speed
    (``penman_monteith`` takes the 2 m/s that FAO-56 recommends), and Hargreaves and Oudin leave radiation and
    humidity unused. Without advection it is low in dry country: a crop coefficient is to be learned or set
    with it.

    Parameters
    ----------
    records : xarray.Dataset
        Station form (see `pydiffgeo.data.checks`), without gaps.
    method : str
        A name of `PET_METHODS`.
    elevation : float or DataArray of dimension station
        Metres above sea level; it changes the psychrometric constant and clear-sky radiation (about 5 % of
        the result per 1000 m). Sea level where unknown.

    Returns
    -------
    xarray.DataArray
        Dimensions station, time; mm day-1, not negative.

    Raises
    ------
    UnknownName
        No such method.
    DataError
        Forcing is missing, or the result is not finite; station and date are named.
    """
    compute = lookup(PET_METHODS, method, "potential evapotranspiration method")
    require_complete(records)
    heights = xr.zeros_like(records.lat, dtype=float) + elevation
    names = ["tair_mean", "tair_max", "tair_min", "shortwave_down", "rh_mean", "rh_max", "rh_min"]
    rows = []
    for i, station in enumerate(records.station.values):
        day = records[names].isel(station=i).to_dataframe()[names].astype(float)
        day[["rh_mean", "rh_max", "rh_min"]] = day[["rh_mean", "rh_max", "rh_min"]].clip(upper=100.0)
        pet = compute(day, float(np.deg2rad(records.lat.values[i])), float(heights.values[i])).clip(lower=0.0)
        if not np.isfinite(pet.to_numpy()).all():
            when = pet.index[~np.isfinite(pet.to_numpy())][0]
            raise DataError(
                f"potential evapotranspiration ({method}) of station {station} is not finite on "
                f"{when:%Y-%m-%d}."
            )
        rows.append(pet.to_numpy())
    return xr.DataArray(
        np.stack(rows),
        coords={"station": records.station, "time": records.time},
        dims=("station", "time"),
        name="potential_evapotranspiration",
        attrs={"units": "mm day-1", "method": method},
    )
