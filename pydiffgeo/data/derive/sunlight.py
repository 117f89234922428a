"""Light under a clear sky, where none was measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from pydiffgeo.data.derive.site_places import places_of
from pydiffgeo.data.derive.sun import sun_elevation
from pydiffgeo.data.form import dates_of, step_of

NOON = 2326.0  # umol m-2 s-1 under a sun in the zenith, as streamMetabolizer has it


def add_sunlight(sites: xr.Dataset, ahead_of_utc: float = 0.0, most: float = NOON) -> xr.Dataset:
    """Return records with ``light`` (umol m-2 s-1): `most` times the sine of the sun's height.

    It is that of the middle of each step; clouds, hills and trees are not known.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, with dates and the attributes lat and lon, degrees north and east.
    ahead_of_utc : float
        Hours by which the times of the records are ahead of UTC.
    most : float
        Light under a sun in the zenith, umol m-2 s-1.

    Raises
    ------
    DataError
        The records have no dates, or a site has no place.
    """
    times = dates_of(sites, "sunlight")
    lat, lon = places_of(sites, ("lat", "lon"), "sunlight")
    middle = times - step_of(times) / 2 - pd.Timedelta(hours=ahead_of_utc)
    height = sun_elevation(pd.DatetimeIndex(middle), lat, lon)
    light = most * np.maximum(np.sin(np.deg2rad(height)), 0.0)
    told = {"units": "umol m-2 s-1", "long_name": "light under a clear sky"}
    return sites.assign(light=(("site", "time"), light, told))
