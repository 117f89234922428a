"""Snow as a degree-day store.

Precipitation below a threshold temperature waits, and melts above it.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from pydiffgeo.errors import DataError


def degree_day(
    precipitation: xr.DataArray,
    temperature: xr.DataArray,
    threshold: float = 0.0,
    factor: float = 3.0,
) -> xr.DataArray:
    """Return the water that reaches the ground as rain and snow melt.

    Parameters
    ----------
    precipitation : xarray.DataArray
        Dimensions site, time; mm d-1.
    temperature : xarray.DataArray
        Daily mean air temperature, degC; at or below `threshold` all precipitation is snow.
    threshold : float
        degC.
    factor : float
        Melt per degree above the threshold, mm degC-1 d-1 (1.6 to 6 over open ground).

    Returns
    -------
    xarray.DataArray
        Rain and melt, mm d-1; its sum is that of precipitation less the snow left at the end.

    Notes
    -----
    Hock (2003), doi:10.1016/S0022-1694(03)00257-9, eq. 2.
    """
    fall = precipitation.transpose("site", "time").values.astype(float)
    warmth = np.maximum(temperature.transpose("site", "time").values - threshold, 0.0)
    liquid = np.empty_like(fall)
    store = np.zeros(len(fall))
    for day in range(fall.shape[1]):
        before, known = store, np.isfinite(fall[:, day] + warmth[:, day])
        frozen = warmth[:, day] <= 0.0
        store = store + np.where(frozen, fall[:, day], 0.0)
        melt = np.minimum(store, factor * warmth[:, day])
        fell = melt + np.where(frozen, 0.0, fall[:, day])
        # a day without weather is missing, and the store waits for the next
        store = np.where(known, store - melt, before)
        liquid[:, day] = np.where(known, fell, np.nan)
    result = precipitation.transpose("site", "time").copy(data=liquid)
    return result.rename("rain_and_melt").assign_attrs(
        units="mm d-1", long_name="rain and snow melt"
    )


def add_rain_and_melt(sites: xr.Dataset, threshold: float = 0.0, factor: float = 3.0) -> xr.Dataset:
    """Return records with ``rain_and_melt``, from precipitation and mean temperature.

    Raises
    ------
    DataError
        A series is missing.
    """
    for name in ("precipitation", "tair_mean"):
        if name not in sites:
            raise DataError(
                f"rain and melt need the series {name!r}, which the records do not have."
            )
    melt = degree_day(sites.precipitation, sites.tair_mean, threshold, factor)
    return sites.assign(rain_and_melt=melt)
