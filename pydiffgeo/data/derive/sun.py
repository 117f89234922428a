"""The sun and the sky: height of the sun, diffuse share of radiation, long wave from the sky."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.derive.site_places import places_of
from pydiffgeo.data.form import DAY, axis_of, step_of, times_of
from pydiffgeo.errors import DataError, DataWarning
from pydiffgeo.units import ZERO_CELSIUS

SOLAR = 1361.0  # W m-2, Kopp & Lean (2011), doi:10.1029/2010GL045777
TO_WATT = 1e6 / 86400.0  # MJ m-2 d-1, the unit of global radiation in the site form
LOW_SUN = 3.0  # deg: below it all radiation counts as diffuse
NIGHT = -3.0  # deg: below it there is no light to measure
BY_NIGHT = 0.001  # share of radiation by night that tells wrong times: an hour off makes it 0.004
CLOUDS_SEEN = 15.0  # deg: above it clearness tells clouds
STEFAN = 5.670374e-8  # W m-2 K-4


def sun_elevation(times: pd.DatetimeIndex, lat: NDArray, lon: NDArray) -> NDArray:
    """Return the height of the sun above the horizon, deg, `[site, time]`.

    Without refraction; within 0.3 deg from 1950 to 2050.

    Parameters
    ----------
    times : pandas.DatetimeIndex
        UTC.
    lat, lon : ndarray, [site]
        Degrees north and east.

    Notes
    -----
    Low-precision formulas of the Astronomical Almanac (Michalsky 1988,
    doi:10.1016/0038-092X(88)90045-X).
    """
    days = ((times - pd.Timestamp("2000-01-01T12:00")) / DAY).to_numpy()  # since J2000
    anomaly = np.deg2rad(357.528 + 0.9856003 * days)
    mean = 280.460 + 0.9856474 * days
    ecliptic = np.deg2rad(mean + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    tilt = np.deg2rad(23.439 - 4e-7 * days)
    ascension = np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic))
    sine = np.sin(tilt) * np.sin(ecliptic)  # of the declination
    sidereal = 280.46062 + 360.98564737 * days  # deg, at Greenwich
    hour = np.deg2rad(sidereal + np.asarray(lon)[:, None]) - ascension
    north = np.deg2rad(np.asarray(lat))[:, None]
    height = np.sin(north) * sine + np.cos(north) * np.sqrt(1 - sine**2) * np.cos(hour)
    return np.asarray(np.rad2deg(np.arcsin(np.clip(height, -1, 1))))


def diffuse_share(clearness: NDArray) -> NDArray:
    """Return the diffuse share of global radiation from its share of that above the air.

    Erbs et al. (1982), doi:10.1016/0038-092X(82)90302-4, eq. 1.
    """
    k = np.clip(clearness, 0.0, None)
    between = 0.9511 - 0.1604 * k + 4.388 * k**2 - 16.638 * k**3 + 12.336 * k**4
    return np.where(k <= 0.22, 1 - 0.09 * k, np.where(k > 0.8, 0.165, between))  # NaN stays


def add_sun(sites: xr.Dataset, ahead_of_utc: float | str = 0.0) -> xr.Dataset:
    """Return records with ``sun_elevation`` (deg), ``diffuse_share`` and ``longwave_down``.

    The sun is that of the middle of each step. Long wave radiation, W m-2, is only computed where
    the records have none: from vapour pressure and temperature, and clouds as clearness tells them;
    by night between those of the days around it.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, in steps shorter than a day, with global radiation, and air temperature and
        vapour pressure for long wave radiation.
    ahead_of_utc : float or str
        Hours by which the times of the records are ahead of UTC, where they are in local standard
        time: -8 on the west coast of America; or the attribute of the sites that has them. Where
        light is measured by night, a DataWarning says so: these hours or the place are wrong.

    Raises
    ------
    DataError
        A series, a coordinate or the attribute is missing, or the steps are days.

    Notes
    -----
    Emissivity of a clear sky: Brutsaert (1975), doi:10.1029/WR011i005p00742; clouds: Crawford &
    Duchon (1999), doi:10.1175/1520-0450(1999)038<0474:AIPFEE>2.0.CO;2; clear global radiation:
    FAO-56, eq. 37.
    """
    times = times_of(sites) if axis_of(sites) == "time" else None
    if not isinstance(times, pd.DatetimeIndex) or (step := step_of(times)) >= DAY:
        raise DataError(
            "the height of the sun is that of steps shorter than a day, which these records do not "
            "have; take records in hours, or leave `sun` out of `derive`."
        )
    long_wave = "longwave_down" not in sites
    air = "air_temperature" if "air_temperature" in sites else "tair_mean"
    for name in ("shortwave_down", *((air, "vapour_pressure") if long_wave else ())):
        if name not in sites:
            raise DataError(f"the sun needs the series {name!r}, which the records do not have.")
    zone = (ahead_of_utc,) if isinstance(ahead_of_utc, str) else ()
    lat, lon, *own = places_of(sites, ("lat", "lon", *zone), "the height of the sun")

    def read(name: str) -> NDArray:
        return np.asarray(sites[name].transpose("site", "time").values.astype(float))

    middle = times - step / 2
    ahead = own[0] if own else np.full(sites.sizes["site"], ahead_of_utc)
    height = np.empty((len(ahead), len(times)))
    for hours in np.unique(ahead):
        here = ahead == hours
        utc = middle - pd.Timedelta(hours=float(hours))
        height[here] = sun_elevation(utc, lat[here], lon[here])
    sine = np.sin(np.deg2rad(height))
    season = 2 * np.pi * middle.dayofyear.to_numpy() / 365.25
    above = SOLAR * (1 + 0.0334 * np.cos(season)) * np.maximum(sine, 0.0)
    came = read("shortwave_down") * TO_WATT
    _look_for_light_by_night(sites.site.values, np.nan_to_num(came), height, ahead)
    clearness = came / np.maximum(above, 1.0)
    diffuse = np.where((height < LOW_SUN) & np.isfinite(came), 1.0, diffuse_share(clearness))
    found = {
        "sun_elevation": (height, "deg", "height of the sun above the horizon"),
        "diffuse_share": (diffuse, "1", "diffuse share of global radiation"),
    }
    if long_wave:
        up = np.nan_to_num(sites.elevation.values) if "elevation" in sites.coords else np.zeros(1)
        clear = (0.75 + 2e-5 * up)[:, None] * above
        cloud = np.clip(1 - came / np.maximum(clear, 1.0), 0.0, 1.0)
        cloud = _through_nights(np.where(height >= CLOUDS_SEEN, cloud, np.nan))
        kelvin = read(air) + ZERO_CELSIUS
        pressure = np.maximum(read("vapour_pressure") / 100.0, 0.0)  # hPa
        emissivity = cloud + (1 - cloud) * 1.24 * (pressure / kelvin) ** (1 / 7)
        down = np.minimum(emissivity, 1.0) * STEFAN * kelvin**4
        found["longwave_down"] = (down, "W m-2", "long wave radiation from the sky")
    return sites.assign(
        {
            name: (("site", "time"), values, {"units": unit, "long_name": text})
            for name, (values, unit, text) in found.items()
        }
    )


def _look_for_light_by_night(
    sites: NDArray, came: NDArray, height: NDArray, ahead: NDArray
) -> None:
    """Warn of radiation that comes while the sun is below the horizon."""
    whole = np.maximum(came.sum(1), 1e-9)
    night = np.where(height < NIGHT, came, 0.0).sum(1) / whole
    if (night > BY_NIGHT).any():
        k = int(night.argmax())
        warnings.warn(
            f"{100 * night[k]:.2g} % of the radiation at site {sites[k]} comes while the sun is "
            f"below the horizon, as it is where times are {ahead[k]:g} hours ahead of UTC. Correct "
            "lat, lon, or ahead_of_utc of `sun`.",
            DataWarning,
            stacklevel=4,
        )


def _through_nights(clouds: NDArray) -> NDArray:
    """Return clouds [site, time] with gaps filled between what is known; half where nothing is."""
    steps = np.arange(clouds.shape[1])
    rows = []
    for row in clouds:
        known = np.isfinite(row)
        rows.append(np.interp(steps, steps[known], row[known]) if known.any() else 0.5 + 0 * steps)
    return np.stack(rows)
