"""What enters a river between gauges."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pydiffgeo.data.network import below
from pydiffgeo.errors import DataError, nearest

LATERAL = "lateral_inflow"


def add_own_inflow(sites: xr.Dataset, discharge: str = "discharge") -> xr.Dataset:
    """Return records with ``lateral_inflow``: discharge of a site less that of the sites above it.

    At least zero; the way of the water down the river is taken for no time.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, with the attribute ``downstream``.
    discharge : str
        Series, as a volume per time.

    Raises
    ------
    DataError
        No such series, or as `pydiffgeo.data.network.below`.
    """
    if discharge not in sites or set(sites[discharge].dims) != {"site", "time"}:
        raise DataError(f"own_inflow: no series {discharge!r}{nearest(discharge, map(str, sites))}")
    flow = sites[discharge].transpose("site", "time")
    own, into = flow.values.astype(float).copy(), below(sites)
    for row in np.flatnonzero(into >= 0):
        own[into[row]] -= flow.values[row]
    told = {"units": flow.attrs.get("units", "m3 s-1"), "role": "forcing"}
    return sites.assign({LATERAL: (("site", "time"), np.maximum(own, 0.0), told)})
