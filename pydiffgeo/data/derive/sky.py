"""Radiation, humidity and clouds where only air temperature and precipitation were recorded."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from pydiffgeo.data.derive.site_places import places_of
from pydiffgeo.data.form import dates_of
from pydiffgeo.errors import DataError
from pydiffgeo.models.vapour import saturation_pressure

SKY = ("shortwave_down", "vapour_pressure", "cloud_cover")
SOLAR = 0.0820  # MJ m-2 min-1, FAO-56, eq. 21
WET = 1.0  # mm d-1: precipitation of a wet day
CLEAR = 0.75  # share of the radiation above the air, at sea level; FAO-56, eq. 37
HIDDEN = 0.65  # by which clouds lessen it, times their square; TVA (1972)


def add_sky(
    sites: xr.Dataset, humidity: float = 70.0, fair: float = 0.35, overcast: float = 0.85
) -> xr.Dataset:
    """Return records with ``shortwave_down``, ``vapour_pressure`` and ``cloud_cover`` they lack.

    A poor man's weather: clear-sky radiation of the day of the year and the latitude, less what
    clouds hide, which are told by whether it rained; a relative humidity that never changes. Take
    measured ones where there are any: those of the records stay.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, in days, with ``tair_mean``, ``precipitation`` and the latitude ``lat``.
    humidity : float
        Relative humidity, percent; SNTEMP of the National Hydrologic Model has 70.
    fair, overcast : float
        Cloud cover of days with less than 1 mm of precipitation, and with more.

    Raises
    ------
    DataError
        A series, dates or the latitude is missing.

    Notes
    -----
    Allen et al. (1998), FAO-56, eq. 11, 21-25 and 37; clouds: Tennessee Valley Authority (1972),
    Heat and mass transfer between a water surface and the atmosphere, report 0-6803.
    """
    times = dates_of(sites, "sky")
    for name in ("tair_mean", "precipitation"):
        if name not in sites.variables:
            raise DataError(f"sky needs {name!r}, which the records do not have; add it to them.")
    (latitude,) = places_of(sites, ("lat",), "sky")
    day, north = times.dayofyear.to_numpy(), np.deg2rad(latitude)[:, None]
    tilt = 0.409 * np.sin(2 * np.pi * day / 365 - 1.39)
    sunset = np.arccos(np.clip(-np.tan(north) * np.tan(tilt), -1, 1))
    shape = sunset * np.sin(north) * np.sin(tilt) + np.cos(north) * np.cos(tilt) * np.sin(sunset)
    above = 24 * 60 / np.pi * SOLAR * (1 + 0.033 * np.cos(2 * np.pi * day / 365)) * shape
    air, rain = (
        sites[k].transpose("site", "time").values.astype(float)
        for k in ("tair_mean", "precipitation")
    )
    cloud = np.where(np.isnan(rain), np.nan, np.where(rain < WET, fair, overcast))
    full = saturation_pressure(torch.from_numpy(air)).numpy()
    values = {
        "shortwave_down": (CLEAR * above * (1 - HIDDEN * cloud**2), "MJ m-2 d-1"),
        "vapour_pressure": (0.01 * humidity * full, "Pa"),
        "cloud_cover": (cloud, "1"),
    }
    dims = ("site", "time")
    return sites.assign(
        {k: (dims, v, {"units": unit}) for k, (v, unit) in values.items() if k not in sites}
    )
